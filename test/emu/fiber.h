// Stacks, and jumps between them: what a GPU thread is on a CPU.
#pragma once
#include <cstddef>
#include <vector>

namespace oss::emu {

// A place to continue: a stack that is not running. What ASan wants to know of each travels with it.
struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;       // lowest byte; null for the host's own stack
  bool abandoned = false;      // it has frames that nothing will return from
  void* fake_stack = nullptr;  // kept from block to block
  const void* asan_stack = nullptr;
  size_t asan_bytes = 0;
};

// `fiber` will begin in `entry`, which never returns. Whatever it was doing is forgotten.
void prepare(Fiber& fiber, void (*entry)());

// Saves what a called function must preserve, and the place; continues another.
extern "C" void oss_emu_jump(void** save_stack_pointer, void* load_stack_pointer);

// Leaves `from` where it is and continues `to`. As the last thing that a function does it is one jump.
#if defined(__SANITIZE_ADDRESS__)
void switch_fiber(Fiber& from, Fiber& to);
#else
inline void switch_fiber(Fiber& from, Fiber& to) { oss_emu_jump(&from.stack_pointer, to.stack_pointer); }
#endif

// The first line of an entry: tells ASan that the jump has arrived, and learns the bounds of the host's stack.
void arrive(Fiber& fiber, Fiber& host);

// Stacks of equal size with an unmapped page below each, kept for the next block.
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
