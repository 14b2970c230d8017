#include "kernels/metal/qkv.h"

#include "native/backend/metal/operations.h"
#include "native/base/error.h"

namespace oss::metal {
namespace {

struct Variant {
  int rows;
  const char* name;
};
constexpr Variant kFew[] = {{1, "qkv_rows_1"}, {2, "qkv_rows_2"}, {4, "qkv_rows_4"}, {kFewRows, "qkv_rows_8"}};
constexpr Variant kSmallTile = {kSmallTileRows, "qkv_tiles_16"};
constexpr Variant kTile = {kTileRows, "qkv_tiles_32"};

}  // namespace

void qkv(Encoder& encoder, const QkvArgs& args, const StepArrays& step, const uint16_t* x, const QkvMatrices& w,
         uint16_t* q, Cache cache) {
  if (args.head_dim != kHeadDim || args.type == kKvF32) throw Error(Code::kInternal, "qkv: no kernel of this kind");
  if (args.tokens == 0) return;
  const QkvLaunch launch = {.tokens = args.tokens,
                            .hidden = args.hidden,
                            .heads = args.heads,
                            .kv_heads = args.kv_heads,
                            .max_pages = step.max_pages,
                            .fp8 = args.type == kKvFP8};
  const size_t tokens = size_t(args.tokens), hidden = size_t(args.hidden);
  const size_t q_rows = size_t(args.heads) * kHeadDim, kv_rows = size_t(args.kv_heads) * kHeadDim;
  const auto dispatch = [&](const char* kernel, uint32_t groups_of_head, int threads) {
    encoder.dispatch(
        kernel, {groups_of_head, uint32_t(args.heads + 2 * args.kv_heads)}, uint32_t(threads),
        {bytes_of(launch), reads(x, tokens * hidden), reads(w.q, q_rows * hidden), reads(w.k, kv_rows * hidden),
         reads(w.v, kv_rows * hidden), reads(w.q_bias, q_rows), reads(w.k_bias, kv_rows), reads(w.v_bias, kv_rows),
         reads(step.positions, tokens), reads(step.sequence, tokens),
         reads(step.block_tables[args.group], size_t(step.sequences) * size_t(step.max_pages)),
         reads(step.rope, tokens * kHeadDim), writes(q, tokens * q_rows),
         writes(static_cast<char*>(cache.at), cache.bytes)});
  };
  for (const Variant& few : kFew) {
    if (args.tokens <= few.rows)
      return dispatch(few.name, uint32_t(kHeadDim / few_rows_outputs(few.rows)), kFewThreads);
  }
  const Variant& tile = args.tokens <= kSmallTileRows ? kSmallTile : kTile;
  dispatch(tile.name, uint32_t((args.tokens + tile.rows - 1) / tile.rows), kTileThreads);
}

}  // namespace oss::metal
