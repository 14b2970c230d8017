#include "kernels/metal/linear.h"

#include "native/backend/metal/operations.h"

namespace oss::metal {
namespace {

struct Variant {
  int rows;
  const char *plain, *low;
};
constexpr Variant kFew[] = {{1, "linear_rows_1", "linear_rows_1_low"},
                            {2, "linear_rows_2", "linear_rows_2_low"},
                            {4, "linear_rows_4", "linear_rows_4_low"},
                            {kFewRows, "linear_rows_8", "linear_rows_8_low"}};
constexpr Variant kSmallTile = {kSmallTileRows, "linear_tiles_16", "linear_tiles_16_low"};
constexpr Variant kTile = {kTileRows, "linear_tiles_32", "linear_tiles_32_low"};

uint32_t divide_up(int a, int b) { return uint32_t((a + b - 1) / b); }

}  // namespace

void linear(Encoder& encoder, const LinearArgs& args, const uint16_t* x, const uint16_t* x_low, const uint16_t* w,
            const float* bias, float* y) {
  if (args.rows == 0) return;
  const LinearLaunch launch = {
      .rows = args.rows, .in = args.in, .out = args.out, .accumulate = args.accumulate, .biased = bias != nullptr};
  const size_t values = size_t(args.rows) * size_t(args.in), results = size_t(args.rows) * size_t(args.out);
  const auto dispatch = [&](const Variant& variant, Groups groups, int threads) {
    encoder.dispatch(x_low != nullptr ? variant.low : variant.plain, groups, uint32_t(threads),
                     {bytes_of(launch), reads(x, values), reads(x_low != nullptr ? x_low : x, values),
                      reads(w, size_t(args.out) * size_t(args.in)),
                      bias != nullptr ? reads(bias, size_t(args.out)) : reads(x, values),
                      args.accumulate != 0 ? updates(y, results) : writes(y, results)});
  };
  for (const Variant& few : kFew) {
    if (args.rows <= few.rows) return dispatch(few, {divide_up(args.out, few_rows_outputs(few.rows))}, kFewThreads);
  }
  const Variant& tile = args.rows <= kSmallTileRows ? kSmallTile : kTile;
  dispatch(tile, {divide_up(args.rows, tile.rows), divide_up(args.out, kTileOutputs)}, kTileThreads);
}

}  // namespace oss::metal
