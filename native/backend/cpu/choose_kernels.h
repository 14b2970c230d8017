// Chooses the kernels of an engine among those that the CPU supports, by the options and the environment.
#pragma once
#include <string>

#include "kernels/cpu/dispatch.h"

namespace oss::cpu {

struct Choice {
  const Kernels& kernels;
  const Bf16Kernels* bf16;  // null: numerics "exact"
};

// numerics: "auto", "exact" or "fast". Chooses the fastest kernels, or those of the instruction set that `isa` names,
// or, where it is empty, the environment variable GPT_OSS_ISA. "auto" is "fast" where the CPU has a bf16 unit, unless
// the name is of an instruction set without one. Throws kUnsupported when the requested kernels are absent,
// kInvalidArgument for an unknown name.
Choice choose_kernels(const std::string& numerics, const std::string& isa = "");
// The unit that multiplies bf16 on a CPU with this instruction set, which this machine need not have; null: numerics
// "exact". Throws kInvalidArgument for an instruction set that is not in this build, kUnsupported for numerics that it
// lacks.
const Bf16Kernels* bf16_unit_of(const std::string& isa, const std::string& numerics);
// Throws the errors that choose_kernels() would throw because of the variable.
void check_environment();

}  // namespace oss::cpu
