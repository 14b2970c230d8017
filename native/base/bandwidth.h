// How fast memory can be read: the roof of what has more to read than to compute.
#pragma once
#include <cstdint>
#include <span>

namespace oss {

// Bytes per second of one pass of a plain loop over `words`, divided among `threads` threads. Past the last-level cache it
// is the memory that is measured.
double read_bandwidth(std::span<const uint64_t> words, int threads);

}  // namespace oss
