// Which instruction sets this process can use, and the ones it does.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/kernels.h"

namespace oss::cpu {

// What is compiled in and supported by this CPU, fastest first. "scalar" is always there, last.
std::span<const Kernels* const> available_kernels();
// The same of units that multiply bf16; there may be none. They work beside the first of available_kernels().
std::span<const Bf16Kernels* const> available_bf16_kernels();

struct Choice {
  const Kernels& kernels;
  const Bf16Kernels* bf16;  // null: numerics "exact"
};

// numerics: "auto", "exact" or "fast". The fastest, or what the environment variable GPT_OSS_ISA names; "auto" is "fast"
// where there is a unit for it, unless that variable names an instruction set without. Throws kUnsupported when what is
// asked for is not there, kInvalidArgument when the variable names nothing that is known.
Choice choose_kernels(const std::string& numerics);
// Throws what the variable would make choose_kernels() throw.
void check_environment();

// For people: everything in this build, and why it can or cannot be used, fastest first.
struct IsaStatus {
  const char* isa;
  bool available;
  const char* numerics;  // that it is for
  const char* reason;    // "" when available
};
std::vector<IsaStatus> isa_status();

}  // namespace oss::cpu
