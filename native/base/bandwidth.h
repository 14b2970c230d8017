// Measures the speed of memory reads. It is the roof of every operation that is bound by memory, not by arithmetic.
#pragma once
#include <cstdint>
#include <span>

namespace oss {

// Bytes per second of one pass of a plain loop over `words`, divided among `threads` threads. `words` must be larger
// than the last-level cache, or the result is the speed of the cache.
double read_bandwidth(std::span<const uint64_t> words, int threads);

}  // namespace oss
