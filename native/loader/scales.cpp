#include "native/loader/scales.h"

#include <algorithm>
#include <span>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss {
namespace {

constexpr size_t kChunk = 4 << 20;  // bytes between two looks at `cancelled`: 1 ms at memory speed

bool is_sane(uint8_t scale) { return scale >= kLeastScale && scale <= kGreatestScale; }

// Without branches, so the compiler makes it vector minima and maxima: 16 bytes an instruction even with SSE2.
bool all_sane(std::span<const uint8_t> scales) {
  uint8_t least = kLeastScale, greatest = kGreatestScale;
  for (uint8_t scale : scales) {
    least = std::min(least, scale);
    greatest = std::max(greatest, scale);
  }
  return least == kLeastScale && greatest == kGreatestScale;
}

[[noreturn]] void fail(const HostTensor& tensor, size_t at) {
  const size_t blocks = size_t(tensor.shape[2]), rows = size_t(tensor.shape[1]);
  throw Error(Code::kModelFormat,
              str(tensor.file, ": tensor ", quote(tensor.name), ": expert ", at / blocks / rows, ", row ",
                  at / blocks % rows, ", block ", at % blocks, ": expected a scale in [", int(kLeastScale), ", ",
                  int(kGreatestScale), "], found ", int(tensor.as<uint8_t>()[at])));
}

}  // namespace

void check_scales(const HostTensor& scales, const std::function<bool()>& cancelled) {
  const std::span<const uint8_t> all(scales.as<uint8_t>(), scales.bytes);
  for (size_t begin = 0; begin < all.size(); begin += kChunk) {
    if (cancelled && cancelled()) throw Error(Code::kCancelled, str("loading ", scales.file, " was cancelled"));
    const auto chunk = all.subspan(begin, std::min(kChunk, all.size() - begin));
    if (!all_sane(chunk))
      fail(scales, begin + size_t(std::find_if_not(chunk.begin(), chunk.end(), is_sane) - chunk.begin()));
  }
}

}  // namespace oss
