// What the system refuses, as errors that name the limit it comes from and what to do.
#pragma once
#include <cstdint>
#include <string>

#include "native/base/error.h"

namespace oss {

// Limits of this process that are set, in words: "ulimit -u is 64 for this user; pids.max is 100, 98 in use (FILE)". Empty
// when none is.
std::string thread_limits();
std::string memory_limits();

// kResourceLimit: one more thread, `what` for, was refused.
Error refused_thread(const std::string& what, int error);

bool is_file_limit(int error);  // of this process, or of the system
// What `error` (errno) means for a file: kResourceLimit, kOutOfMemory, or kModelNotFound.
Error refused_file(const char* what, const std::string& path, int error);

// kOutOfMemory: `bytes` for `what` were refused.
Error refused_memory(uint64_t bytes, const std::string& what, int error);

}  // namespace oss
