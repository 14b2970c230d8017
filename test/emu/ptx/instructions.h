// What each instruction of PTX does, as far as our kernels are compiled to it. [PTX ISA 9.0, "Instruction Set"]
#pragma once
#include <string>

#include "test/emu/ptx/program.h"

namespace oss::emu::ptx {

// By its whole name: "add.s32". A mov that makes one register of several is a "mov.b64.pack", the other way ".unpack".
// Null where it is not known here.
Execute find_instruction(const std::string& name);

}  // namespace oss::emu::ptx
