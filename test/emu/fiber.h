// Stacks and jumps between them, which emulate GPU threads on a CPU.
#pragma once
#include <cstddef>
#include <vector>

namespace oss::emu {

// A place to continue: a stack that is not running, together with ASan's data about it.
struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;       // lowest byte; null for the host's own stack
  bool abandoned = false;      // it has frames that will never return
  void* fake_stack = nullptr;  // reused for the next block
  const void* asan_stack = nullptr;
  size_t asan_bytes = 0;
};

// `fiber` will begin in `entry`, which must never return. Its previous state is dropped.
void prepare(Fiber& fiber, void (*entry)());

// Saves the callee-saved registers and the current place, and continues another fiber.
extern "C" void oss_emu_jump(void** save_stack_pointer, void* load_stack_pointer);

// Suspends `from` and continues `to`. As the last statement of a function it compiles to one jump.
#if defined(__SANITIZE_ADDRESS__)
void switch_fiber(Fiber& from, Fiber& to);
#else
inline void switch_fiber(Fiber& from, Fiber& to) { oss_emu_jump(&from.stack_pointer, to.stack_pointer); }
#endif

// The first line of an entry: it reports the end of the jump to ASan, and records the bounds of the host's stack.
void arrive(Fiber& fiber, Fiber& host);

// Stacks of equal size with an unmapped page below each, reused for the next block.
class Stacks {
 public:
  Stacks() = default;
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  char* at(size_t index);

 private:
  struct Mapping {
    char* memory;
    size_t bytes;
  };
  std::vector<Mapping> mappings_;
  std::vector<char*> stacks_;
};

}  // namespace oss::emu
