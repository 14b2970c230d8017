// The effect of each PTX instruction that our kernels compile to. [PTX ISA 9.0, "Instruction Set"]
#pragma once
#include <string>

#include "test/emu/ptx/program.h"

namespace oss::emu::ptx {

// Finds an instruction by its full name: "add.s32". A mov that joins registers is "mov.b64.pack", the reverse
// ".unpack". Null where it is unknown.
Execute find_instruction(const std::string& name);

}  // namespace oss::emu::ptx
