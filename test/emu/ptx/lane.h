// Runs the compiled PTX of a kernel in place of the kernel: each fiber of block.h executes PTX.
#pragma once
#include <bit>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "test/emu/block.h"
#include "test/emu/ptx/program.h"

namespace oss::emu::ptx {

// The memory that a kernel may access besides shared memory, by ascending address.
using Memory = std::vector<std::span<const char>>;

// Bytes of shared memory that a block needs, including `dynamic`.
inline size_t shared_bytes(const Kernel& kernel, size_t dynamic) {
  return (kernel.static_shared_bytes + 127) / 128 * 128 + dynamic;
}

// The function that each thread of a launch runs. The arguments are read before this returns.
std::function<void()> thread_body(const Kernel&, const Arguments&, Memory);

// The position of the last running thread, "few_experts.ptx:1215"; valid while its kernel exists.
std::string last_place();

struct Launch {
  const Kernel* kernel;
  std::vector<unsigned char> parameters;
  Memory memory;
};

// The state of one thread, for its instructions.
class Lane {
 public:
  Lane(const Launch& launch, uint64_t* registers) : registers_(registers), launch_(launch) {}
  void run();

  template <typename T>
  T in(const Instruction& i, int operand) const {
    const uint64_t bits = registers_[i.operands[operand]];
    if constexpr (std::same_as<T, float>)
      return std::bit_cast<float>(uint32_t(bits));
    else if constexpr (std::same_as<T, double>)
      return std::bit_cast<double>(bits);
    else
      return T(bits);
  }
  template <typename T>
  void out(const Instruction& i, int operand, T value) {
    uint64_t& bits = registers_[i.operands[operand]];
    if constexpr (std::same_as<T, float>)
      bits = std::bit_cast<uint32_t>(value);
    else if constexpr (std::same_as<T, double>)
      bits = std::bit_cast<uint64_t>(value);
    else
      bits = uint64_t(value);
  }

  // The address [operand + offset] of `bytes` bytes. An invalid or misaligned address is a fault.
  void* global(const Instruction&, int operand, size_t bytes, size_t alignment) const;
  void* shared(const Instruction&, int operand, size_t bytes, size_t alignment) const;
  const void* parameter(const Instruction&, int operand, size_t bytes) const;

  void jump(uint32_t to) { next_ = to; }
  void end() { next_ = uint32_t(launch_.kernel->code.size()); }
  [[noreturn]] void fail(int status, const char* what) const;

  bool carry = false;

 private:
  uint64_t* registers_;
  const Launch& launch_;
  mutable std::span<const char> within_;  // the memory that holds the last address
  uint32_t next_ = 0;
};

}  // namespace oss::emu::ptx
