#include "native/loader/scales.h"

#include <algorithm>
#include <mutex>
#include <span>
#include <vector>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss {
namespace {

constexpr int64_t kGrain = 4 << 20;
constexpr size_t kChunk = 64 << 10;  // read into a buffer that nearly fits the L1 cache

struct Range {
  uint8_t least = 255, greatest = 0;
  bool sane() const { return least >= kLeastScale && greatest <= kGreatestScale; }
};

bool is_sane(uint8_t scale) { return scale >= kLeastScale && scale <= kGreatestScale; }

// Has no branches, so that the compiler vectorizes it: 16 bytes per instruction even with SSE2.
Range range_of(std::span<const uint8_t> scales) {
  uint8_t least = 255, greatest = 0;
  for (uint8_t scale : scales) {
    least = std::min(least, scale);
    greatest = std::max(greatest, scale);
  }
  return {least, greatest};
}

[[noreturn]] void fail(const HostTensor& tensor, size_t at, uint8_t scale) {
  const size_t blocks = size_t(tensor.shape[2]), rows = size_t(tensor.shape[1]);
  throw_bad_scale(tensor, at / blocks / rows, at / blocks % rows, at % blocks, scale);
}

}  // namespace

void throw_bad_scale(const HostTensor& tensor, size_t expert, size_t row, size_t block, uint8_t scale) {
  throw Error(Code::kModelFormat,
              str(tensor.file, ": tensor ", quote(tensor.name), ": expert ", expert, ", row ", row, ", block ", block,
                  ": expected a scale in [", int(kLeastScale), ", ", int(kGreatestScale), "], found ", int(scale)));
}

uint8_t check_scales(const HostTensor& scales, ThreadPool& pool, const std::function<bool()>& cancelled) {
  if (cancelled && cancelled()) throw Error(Code::kCancelled, str("loading ", scales.file, " was cancelled"));
  std::mutex mutex;
  uint8_t greatest = 0;
  size_t wrong = scales.bytes;  // the index of the first wrong scale, and its value
  uint8_t wrong_scale = 0;
  pool.parallel_for(int64_t(scales.bytes), kGrain, [&](int64_t begin, int64_t end, int) {
    std::vector<uint8_t> buffer(kChunk);  // not on the stack: a caller's thread may have a small one
    uint8_t* const chunk = buffer.data();
    uint8_t most = 0;
    for (size_t at = size_t(begin); at < size_t(end); at += kChunk) {
      const std::span<const uint8_t> here(chunk, std::min(kChunk, size_t(end) - at));
      scales.read(at, here.size(), chunk);
      const Range range = range_of(here);
      most = std::max(most, range.greatest);
      if (range.sane()) continue;
      const auto found = std::find_if_not(here.begin(), here.end(), is_sane);
      std::lock_guard lock(mutex);
      if (at + size_t(found - here.begin()) >= wrong) break;
      wrong = at + size_t(found - here.begin());
      wrong_scale = *found;
      break;
    }
    std::lock_guard lock(mutex);
    greatest = std::max(greatest, most);
  });
  if (wrong < scales.bytes) fail(scales, wrong, wrong_scale);
  return greatest;
}

}  // namespace oss
