// The shared arrays that kernels declare as variables. They are thread-locals of the host, found by their names in the
// program's symbol table: a block must not find in them what another left behind, nor zeros.
#pragma once
#include <span>
#include <vector>

namespace oss::emu {

// Those of the calling thread. Empty where the program was stripped, and with ASan, which has them as plain statics.
std::vector<std::span<unsigned char>> static_shared_memory();

}  // namespace oss::emu
