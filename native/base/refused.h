// Errors for refusals of the system. They name the limit that applies and the remedy.
#pragma once
#include <cstdint>
#include <string>

#include "native/base/error.h"

namespace oss {

// The limits that are set for this process, in words: "ulimit -u is 64 for this user; pids.max is 100, 98 in use
// (FILE)". Empty when there are none.
std::string thread_limits();
std::string memory_limits();

// kResourceLimit: the system refused a thread for `what`.
Error refused_thread(const std::string& what, int error);

bool is_file_limit(int error);  // a limit of this process or of the system
// The error that `error` (errno) stands for: kResourceLimit, kOutOfMemory, or kModelNotFound.
Error refused_file(const char* what, const std::string& path, int error);

// kOutOfMemory: the system refused `bytes` for `what`.
Error refused_memory(uint64_t bytes, const std::string& what, int error);

}  // namespace oss
