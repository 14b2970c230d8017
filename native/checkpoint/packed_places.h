// Where the packed weights of a checkpoint are kept: a name that changes with what was packed, in folders to try in turn.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "native/checkpoint/checkpoint.h"

namespace oss {

// Of names, sizes and times of its files, their headers, and a few bytes of each tensor. Two checkpoints of the same shapes
// differ in it; moving one does not change it. Throws as MappedFile::read.
uint64_t fingerprint(const Checkpoint& checkpoint);

// Full paths, best first. `wanted`: "auto", beside the checkpoint, else in the user's cache folder; "memory", none; else a
// folder. None for a checkpoint without files.
std::vector<std::string> packed_places(const Checkpoint& checkpoint, const std::string& wanted);

}  // namespace oss
