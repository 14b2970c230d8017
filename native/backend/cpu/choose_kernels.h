// The kernels that an engine computes with: of those that the CPU can use, by the options and the environment.
#pragma once
#include <string>

#include "kernels/cpu/dispatch.h"

namespace oss::cpu {

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

}  // namespace oss::cpu
