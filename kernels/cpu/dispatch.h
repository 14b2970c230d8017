// Which instruction sets this process can use, and the one it does.
#pragma once
#include <span>

#include "kernels/cpu/kernels.h"

namespace oss::cpu {

// What is compiled in and supported by this CPU, fastest first. "scalar" is always there, last.
std::span<const Kernels* const> available_kernels();

// The fastest, or the one that the environment variable GPT_OSS_ISA names; kUnsupported when that one is not available.
const Kernels& choose_kernels();

}  // namespace oss::cpu
