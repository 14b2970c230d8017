// The shared arrays that kernels declare as variables. They are thread-locals of the host, found by their names in the
// program's symbol table. The emulator poisons them, so that a block finds neither another block's values nor zeros.
#pragma once
#include <span>
#include <vector>

namespace oss::emu {

// The arrays of the calling thread. Empty if the program was stripped, and with ASan, where they are plain statics.
std::vector<std::span<unsigned char>> static_shared_memory();

}  // namespace oss::emu
