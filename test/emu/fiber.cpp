#include "test/emu/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace oss::emu {
namespace {

constexpr size_t kPage = 4096;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 << 10;  // red zones make frames several times as large
#else
constexpr size_t kStackBytes = 64 << 10;
#endif
constexpr size_t kStacksPerMapping = 64;

#if defined(__x86_64__)
asm(R"(
.pushsection .text
.hidden oss_emu_jump
.globl oss_emu_jump
.type oss_emu_jump, @function
oss_emu_jump:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size oss_emu_jump, . - oss_emu_jump
.popsection
)");

void* first_frame(char* top, void (*entry)()) {
  void** frame = reinterpret_cast<void**>(top);
  *--frame = nullptr;  // the return address of entry: unwinders stop here
  *--frame = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; ++saved) *--frame = nullptr;
  return frame;
}
#elif defined(__aarch64__)
asm(R"(
.pushsection .text
.hidden oss_emu_jump
.globl oss_emu_jump
.type oss_emu_jump, %function
oss_emu_jump:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size oss_emu_jump, . - oss_emu_jump
.popsection
)");

void* first_frame(char* top, void (*entry)()) {
  void** frame = reinterpret_cast<void**>(top) - 20;
  for (int saved = 0; saved < 20; ++saved) frame[saved] = nullptr;
  frame[11] = reinterpret_cast<void*>(entry);  // x30
  return frame;
}
#else
#error "the emulator knows how to switch stacks on x86-64 and aarch64"
#endif

}  // namespace

void prepare(Fiber& fiber, void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
  // Poison that is left over: anywhere on the stack after a fault, else only in the frames of the entry.
  const size_t frames = fiber.abandoned ? kStackBytes : 2 * kPage;
  __asan_unpoison_memory_region(fiber.stack + kStackBytes - frames, frames);
  fiber.abandoned = false;
  fiber.asan_stack = fiber.stack;
  fiber.asan_bytes = kStackBytes;
#endif
  // Stack tops at different distances from the end of a page; otherwise all stacks would compete for the same cache
  // sets.
  const size_t color = reinterpret_cast<uintptr_t>(fiber.stack) / (kStackBytes + kPage) % 16 * 256;
  fiber.stack_pointer = first_frame(fiber.stack + kStackBytes - color, entry);
}

#if defined(__SANITIZE_ADDRESS__)
void switch_fiber(Fiber& from, Fiber& to) {
  __sanitizer_start_switch_fiber(&from.fake_stack, to.asan_stack, to.asan_bytes);
  oss_emu_jump(&from.stack_pointer, to.stack_pointer);
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
}
#endif

void arrive([[maybe_unused]] Fiber& fiber, [[maybe_unused]] Fiber& host) {
#if defined(__SANITIZE_ADDRESS__)
  // The first fiber of a block is entered from the host's stack, and learns its bounds here. Later ones do not need
  // them.
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &bottom, &bytes);
  if (host.asan_stack == nullptr) {
    host.asan_stack = bottom;
    host.asan_bytes = bytes;
  }
#endif
}

Stacks::~Stacks() {
  for (const Mapping& mapping : mappings_) munmap(mapping.memory, mapping.bytes);
}

char* Stacks::at(size_t index) {
  while (stacks_.size() <= index) {
    const size_t stride = kStackBytes + kPage, bytes = stride * kStacksPerMapping;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mappings_.push_back({static_cast<char*>(memory), bytes});
    for (size_t i = 0; i < kStacksPerMapping; ++i) {
      char* guard = mappings_.back().memory + i * stride;
      mprotect(guard, kPage, PROT_NONE);
      stacks_.push_back(guard + kPage);
    }
  }
  return stacks_[index];
}

}  // namespace oss::emu
