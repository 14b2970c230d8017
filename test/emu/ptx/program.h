// Compiled kernels in PTX: parsed once, run by lane.cpp.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace oss::emu::ptx {

class Lane;
struct Instruction;

// Executes one instruction for one thread.
using Execute = void (*)(const Instruction&, Lane&);

constexpr int kMostOperands = 16;

using Register = uint16_t;
struct Instruction {
  Execute execute = nullptr;
  Register guard = 0;  // the instruction runs only where its lowest bit is not `unless`
  bool unless = false;
  uint8_t num_operands = 0;
  Register operands[kMostOperands] = {};  // in the order of the text; constants have registers, too
  int32_t offset = 0;                     // of its address
  uint32_t target = 0;                    // of a branch
  uint32_t line = 0;
};

// Values that a thread can read about itself, in registers of these numbers. kAlways holds a one.
enum : Register {
  kAlways,
  kDynamicShared,  // address
  kThreadX,
  kThreadY,
  kThreadZ,
  kThreadsX,
  kThreadsY,
  kThreadsZ,
  kBlockX,
  kBlockY,
  kBlockZ,
  kBlocksX,
  kBlocksY,
  kBlocksZ,
  kNumSpecials,
};

struct Parameter {
  uint32_t offset, bytes;
};

struct Kernel {
  std::string mangled;  // with g++'s name of the anonymous namespace
  std::string file;     // without its folder
  std::vector<Parameter> parameters;
  uint32_t parameter_bytes = 0;
  uint32_t most_threads = 1024;      // of a block
  uint32_t static_shared_bytes = 0;  // dynamic shared memory follows
  std::vector<std::pair<Register, uint64_t>> constants;
  uint32_t num_registers = kNumSpecials;  // of 64 bits, for every type
  std::vector<Instruction> code;
};

// The offset of a block's shared memory in the window of its addresses: sm_90 reserves the bytes before it.
constexpr uint32_t kSharedWindow = 1024;

struct Program {
  int architecture = 0;  // 90 of sm_90a
  std::vector<Kernel> kernels;
};

// Parses a .ptx file. Throws std::runtime_error with file and line for anything unknown.
Program read_program(const std::string& path);

}  // namespace oss::emu::ptx
