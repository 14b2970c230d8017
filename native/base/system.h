// What the operating system says about memory.
#pragma once
#include <cstdint>

namespace oss {

// Bytes that this process can still use without swapping: the system's estimate, lowered by the cgroup's limit.
uint64_t available_memory();

}  // namespace oss
