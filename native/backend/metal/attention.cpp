#include "kernels/metal/attention.h"

#include "native/backend/metal/operations.h"
#include "native/base/error.h"

namespace oss::metal {
namespace {

constexpr uint32_t groups_of(int extent, int size) { return uint32_t((extent + size - 1) / size); }

}  // namespace

size_t attention_scratch_bytes(int singles, int heads) {
  return size_t(singles) * size_t(heads) * kMaxSplits * kAttentionPart * sizeof(float);
}

void attention(Encoder& encoder, const AttentionArgs& args, const StepArrays& step, const uint16_t* q, Cache cache,
               const float* sinks, float* scratch, uint16_t* out) {
  if (args.type == kKvF32 || args.head_dim != kHeadDim || args.heads > kMaxAttentionGroup * args.kv_heads)
    throw Error(Code::kInternal, "attention: these shapes have no Metal kernel");
  const size_t tokens = size_t(step.tokens), singles = size_t(step.singles), heads = size_t(args.heads);
  const size_t elements = tokens * heads * kHeadDim;
  const int group = args.heads / args.kv_heads, splits = most_splits(step.most_keys, args.window);
  const AttentionLaunch launch = {.heads = args.heads,
                                  .kv_heads = args.kv_heads,
                                  .window = args.window,
                                  .max_pages = step.max_pages,
                                  .tiles = step.tiles,
                                  .splits = splits,
                                  .factor = args.scale * kLog2E};
  const int32_t* table = step.block_tables[args.group];
  const size_t entries = size_t(step.sequences) * size_t(step.max_pages);
  const auto* elements_of_cache = static_cast<const uint8_t*>(cache.at);
  const size_t part_floats = singles * heads * size_t(splits) * kAttentionPart;

  // Parts and tiles are independent. So with several splits, only the merge waits.
  if (step.singles > 0) {
    encoder.dispatch(
        args.type == kKvFP8 ? "attention_single_fp8" : "attention_single_bf16",
        {uint32_t(step.singles), uint32_t(args.kv_heads) * groups_of(group, kAttentionHeads), uint32_t(splits)},
        kAttentionThreads,
        {bytes_of(launch), reads(step.single, singles), reads(step.positions, tokens), reads(step.sequence, tokens),
         reads(table, entries), reads(q, elements), reads(elements_of_cache, cache.bytes), reads(sinks, heads),
         splits > 1 ? writes(scratch, part_floats) : reads(sinks, heads),
         splits > 1 ? reads(q, elements) : writes(out, elements)});
  }
  if (step.tiles > 0) {
    encoder.dispatch(args.type == kKvFP8 ? "attention_tile_fp8" : "attention_tile_bf16",
                     {uint32_t(step.tiles), uint32_t(args.kv_heads), groups_of(group * kAttentionTile, kAttentionRows)},
                     kAttentionThreads,
                     {bytes_of(launch), reads(step.tile, size_t(step.tiles)), reads(step.positions, tokens),
                      reads(step.sequence, tokens), reads(table, entries), reads(q, elements),
                      reads(elements_of_cache, cache.bytes), reads(sinks, heads), writes(out, elements)});
  }
  if (step.singles > 0 && splits > 1) {
    encoder.dispatch("attention_merge", {uint32_t(step.singles), groups_of(args.heads, kAttentionThreads / 32)},
                     kAttentionThreads,
                     {bytes_of(launch), reads(step.single, singles), reads(step.positions, tokens),
                      reads(scratch, part_floats), reads(sinks, heads), writes(out, elements)});
  }
}

}  // namespace oss::metal
