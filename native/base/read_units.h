// Reads any range of bytes of a tensor whose bytes are made in units, such as the 16 bytes of an MXFP4 block.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace oss {

// Calls make(first_unit, count, to) for at most `most` units at a time; a unit at an edge of the range is made aside, and
// its part is copied.
template <typename Make>
void read_units(uint64_t first, uint64_t bytes, uint64_t unit, uint64_t most, void* to, const Make& make) {
  auto* out = static_cast<std::byte*>(to);
  std::vector<std::byte> edge;
  while (bytes > 0) {
    const uint64_t skip = first % unit;
    uint64_t done;
    if (skip != 0 || bytes < unit) {
      edge.resize(unit);
      make(first / unit, uint64_t(1), edge.data());
      done = std::min(unit - skip, bytes);
      std::memcpy(out, edge.data() + skip, done);
    } else {
      const uint64_t count = std::min(bytes / unit, most);
      make(first / unit, count, out);
      done = count * unit;
    }
    first += done;
    bytes -= done;
    out += done;
  }
}

}  // namespace oss
