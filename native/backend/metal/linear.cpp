#include "kernels/metal/linear.h"

#include "kernels/common/q8.h"
#include "native/backend/metal/operations.h"

namespace oss::metal {
namespace {

struct Variant {
  int rows;
  const char *plain, *low, *q8, *low_q8;
};
#define OSS_VARIANT(rows, name) {rows, name, name "_low", name "_q8", name "_low_q8"}
constexpr Variant kFew[] = {OSS_VARIANT(1, "linear_rows_1"), OSS_VARIANT(2, "linear_rows_2"),
                            OSS_VARIANT(4, "linear_rows_4"), OSS_VARIANT(kFewRows, "linear_rows_8")};
constexpr Variant kSmallTile = OSS_VARIANT(kSmallTileRows, "linear_tiles_16");
constexpr Variant kTile = OSS_VARIANT(kTileRows, "linear_tiles_32");
#undef OSS_VARIANT

uint32_t divide_up(int a, int b) { return uint32_t((a + b - 1) / b); }

}  // namespace

void linear(Encoder& encoder, const LinearArgs& args, const uint16_t* x, const uint16_t* x_low, const Rows& w,
            const float* bias, float* y) {
  if (args.rows == 0) return;
  const LinearLaunch launch = {
      .rows = args.rows, .in = args.in, .out = args.out, .accumulate = args.accumulate, .biased = bias != nullptr};
  const size_t values = size_t(args.rows) * size_t(args.in), results = size_t(args.rows) * size_t(args.out);
  const size_t weights = size_t(args.out) * size_t(args.in);
  const auto dispatch = [&](const Variant& variant, Groups groups, int threads) {
    const Argument high = reads(x, values), low = x_low != nullptr ? reads(x_low, values) : high;
    const Argument biases = bias != nullptr ? reads(bias, size_t(args.out)) : high;
    const Argument to = args.accumulate != 0 ? updates(y, results) : writes(y, results);
    if (w.is_q8()) {
      encoder.dispatch(
          x_low != nullptr ? variant.low_q8 : variant.q8, groups, uint32_t(threads),
          {bytes_of(launch), high, low, reads(w.codes, weights), reads(w.scales, weights / kQ8Block), biases, to});
    } else {
      encoder.dispatch(x_low != nullptr ? variant.low : variant.plain, groups, uint32_t(threads),
                       {bytes_of(launch), high, low, reads(w.bf16, weights), biases, to});
    }
  };
  for (const Variant& few : kFew) {
    if (args.rows <= few.rows) return dispatch(few, {divide_up(args.out, few_rows_outputs(few.rows))}, kFewThreads);
  }
  const Variant& tile = args.rows <= kSmallTileRows ? kSmallTile : kTile;
  dispatch(tile, {divide_up(args.rows, tile.rows), divide_up(args.out, kTileOutputs)}, kTileThreads);
}

}  // namespace oss::metal
