// Where the packed weights of a checkpoint are kept: a name that changes with the content, and folders to try in turn.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "native/checkpoint/checkpoint.h"

namespace oss {

// A hash of the names, sizes and times of the files, their headers, and a few bytes of each tensor in them. Two
// checkpoints with the same shapes differ in it; moving one does not change it. Throws the errors of MappedFile::read.
uint64_t fingerprint(const Checkpoint& checkpoint);

// Returns full paths, best first. `wanted` is "auto" (beside the checkpoint, else in the user's cache folder), "memory"
// (no path) or a folder. Returns no path for a checkpoint without files.
std::vector<std::string> packed_places(const Checkpoint& checkpoint, const std::string& wanted);

}  // namespace oss
