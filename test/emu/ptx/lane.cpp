#include "test/emu/ptx/lane.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "native/base/str.h"

namespace oss::emu::ptx {
namespace {

const Kernel* running = nullptr;
const Instruction* last = nullptr;

// The registers of each thread of a block, reused by the next block. An unset register holds another thread's old
// value.
std::vector<std::vector<uint64_t>> register_files;

uint64_t* registers_for(const Kernel& kernel) {
  const Index &at = current->index, &threads = running_block.grid->threads;
  const Index &block = running_block.index, &blocks = running_block.grid->blocks;
  const size_t thread = (size_t(at.z) * threads.y + at.y) * threads.x + at.x;
  if (register_files.size() <= thread) register_files.resize(thread + 1);
  std::vector<uint64_t>& file = register_files[thread];
  if (file.size() < kernel.num_registers) file.resize(kernel.num_registers);
  for (const auto& [which, value] : kernel.constants) file[which] = value;
  file[kAlways] = 1;
  file[kDynamicShared] = kSharedWindow + shared_bytes(kernel, 0);
  const unsigned specials[] = {at.x,    at.y,    at.z,    threads.x, threads.y, threads.z,
                               block.x, block.y, block.z, blocks.x,  blocks.y,  blocks.z};
  for (uint32_t i = 0; i < std::size(specials); ++i) file[kThreadX + i] = specials[i];
  return file.data();
}

}  // namespace

std::function<void()> thread_body(const Kernel& kernel, const Arguments& arguments, Memory memory) {
  auto launch =
      std::make_shared<Launch>(Launch{&kernel, std::vector<unsigned char>(kernel.parameter_bytes), std::move(memory)});
  if (arguments.size() != kernel.parameters.size())
    throw std::runtime_error(str(kernel.mangled, " takes other arguments"));
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto [offset, bytes] = kernel.parameters[i];
    if (arguments[i].size() != bytes)
      throw std::runtime_error(
          str(kernel.mangled, ": argument ", i, " has ", arguments[i].size(), " bytes here and ", bytes, " there"));
    std::memcpy(launch->parameters.data() + offset, arguments[i].data(), bytes);
  }
  return [launch] { Lane(*launch, registers_for(*launch->kernel)).run(); };
}

std::string last_place() { return last == nullptr ? "" : str(running->file, ":", last->line); }

void Lane::run() {
  const std::vector<Instruction>& code = launch_.kernel->code;
  running = launch_.kernel;
  while (next_ < code.size()) {
    const Instruction& instruction = code[next_++];
    if (((registers_[instruction.guard] & 1) != 0) == instruction.unless) continue;
    last = &instruction;
    instruction.execute(instruction, *this);
  }
}

void Lane::fail(int status, const char* what) const { fault(status, what, Where{}); }

void* Lane::global(const Instruction& i, int operand, size_t bytes, size_t alignment) const {
  const uint64_t address = in<uint64_t>(i, operand) + uint64_t(i.offset);
  const auto* at = reinterpret_cast<const char*>(address);
  if (address % alignment != 0) fail(kMisalignedAddress, "misaligned address");
  if (at < within_.data() || at + bytes > within_.data() + within_.size()) {
    const auto after = std::upper_bound(launch_.memory.begin(), launch_.memory.end(), at,
                                        [](const char* a, const std::span<const char>& b) { return a < b.data(); });
    if (after != launch_.memory.begin()) within_ = *std::prev(after);
    if (after == launch_.memory.begin() || at + bytes > within_.data() + within_.size())
      fail(kIllegalAddress, "an address outside of all memory that the device knows");
  }
  return const_cast<char*>(at);
}

void* Lane::shared(const Instruction& i, int operand, size_t bytes, size_t alignment) const {
  const uint32_t address = in<uint32_t>(i, operand) + uint32_t(i.offset), at = address - kSharedWindow;
  if (address % alignment != 0) fail(kMisalignedAddress, "misaligned address in shared memory");
  if (address < kSharedWindow || at + bytes > running_block.grid->shared_bytes)
    fail(kIllegalAddress, "an address outside of the block's shared memory");
  return running_block.dynamic_shared + at;
}

const void* Lane::parameter(const Instruction& i, int operand, size_t bytes) const {
  const uint64_t at = in<uint64_t>(i, operand) + uint64_t(i.offset);
  if (at + bytes > launch_.parameters.size()) fail(kIllegalAddress, "a parameter that is not there");
  return launch_.parameters.data() + at;
}

}  // namespace oss::emu::ptx
