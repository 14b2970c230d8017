// The instruction sets in this build that this CPU can use.
#pragma once
#include <span>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/kernels.h"

namespace oss::cpu {

// Compiled in and supported by this CPU, fastest first. "scalar" is always the last.
std::span<const Kernels* const> available_kernels();
// The same for units that multiply bf16; there may be none. They work beside the first of available_kernels().
std::span<const Bf16Kernels* const> available_bf16_kernels();

// Every instruction set in this build, and the reason if it cannot be used, fastest first.
struct IsaStatus {
  const char* isa;
  bool available;
  const char* numerics;     // its purpose: "fast" with a unit for bf16, else "exact"
  const char* reason;       // "" when available
  const Kernels* kernels;   // for "exact"
  const Bf16Kernels* bf16;  // for "fast"
};
std::span<const IsaStatus> isa_status();

}  // namespace oss::cpu
