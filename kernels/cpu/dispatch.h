// Which instruction sets this build has and this CPU can use.
#pragma once
#include <span>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/kernels.h"

namespace oss::cpu {

// What is compiled in and supported by this CPU, fastest first. "scalar" is always there, last.
std::span<const Kernels* const> available_kernels();
// The same of units that multiply bf16; there may be none. They work beside the first of available_kernels().
std::span<const Bf16Kernels* const> available_bf16_kernels();

// Everything in this build, and why it can or cannot be used, fastest first.
struct IsaStatus {
  const char* isa;
  bool available;
  const char* numerics;     // that it is for: "fast" with a unit for bf16, else "exact"
  const char* reason;       // "" when available
  const Kernels* kernels;   // of "exact"
  const Bf16Kernels* bf16;  // of "fast"
};
std::span<const IsaStatus> isa_status();

}  // namespace oss::cpu
