#include "kernels/metal/qkv.h"

#include <algorithm>

#include "kernels/common/q8.h"
#include "native/backend/metal/low_rank.h"
#include "native/backend/metal/operations.h"
#include "native/base/error.h"

namespace oss::metal {
namespace {

struct Variant {
  int rows;
  const char *plain, *q8, *plain_terms, *q8_terms;
};
#define OSS_VARIANT(rows, name) {rows, name, name "_q8", name "_terms", name "_q8_terms"}
constexpr Variant kFew[] = {OSS_VARIANT(1, "qkv_rows_1"), OSS_VARIANT(2, "qkv_rows_2"), OSS_VARIANT(4, "qkv_rows_4"),
                            OSS_VARIANT(kFewRows, "qkv_rows_8")};
constexpr Variant kSmallTile = OSS_VARIANT(kSmallTileRows, "qkv_tiles_16");
constexpr Variant kTile = OSS_VARIANT(kTileRows, "qkv_tiles_32");
#undef OSS_VARIANT

// adapters: those whose terms lie in memory; null: none
void multiply(Encoder& encoder, const QkvArgs& args, const StepArrays& step, const LowRankStep* adapters,
              const uint16_t* x, const QkvMatrices& w, uint16_t* q, Cache cache) {
  const size_t tokens = size_t(args.tokens), hidden = size_t(args.hidden);
  const size_t q_rows = size_t(args.heads) * kHeadDim, kv_rows = size_t(args.kv_heads) * kHeadDim;
  const Rows* const matrices[] = {&w.q, &w.k, &w.v};
  const int first_heads[] = {0, args.heads, args.heads + args.kv_heads, args.heads + 2 * args.kv_heads};

  // Matrices [first, end), which are all Q8 or all bf16. In the place of the others, one of them is bound.
  const auto dispatch_of = [&](const Variant& variant, uint32_t groups_of_head, int threads, int first, int end) {
    const QkvLaunch launch = {.tokens = args.tokens,
                              .hidden = args.hidden,
                              .heads = args.heads,
                              .kv_heads = args.kv_heads,
                              .max_pages = step.max_pages,
                              .fp8 = args.type == kKvFP8,
                              .first_head = first_heads[first]};
    const Groups groups = {groups_of_head, uint32_t(first_heads[end] - first_heads[first])};
    const auto bound = [&](int matrix) { return std::clamp(matrix, first, end - 1); };
    const auto size = [&](int matrix) { return (matrix == 0 ? q_rows : kv_rows) * hidden; };
    const auto values = [&](int matrix) { return reads(matrices[bound(matrix)]->bf16, size(bound(matrix))); };
    const auto codes = [&](int matrix) { return reads(matrices[bound(matrix)]->codes, size(bound(matrix))); };
    const auto scales = [&](int matrix) {
      return reads(matrices[bound(matrix)]->scales, size(bound(matrix)) / kQ8Block);
    };
    const Argument in = reads(x, tokens * hidden);
    const Argument q_bias = reads(w.q_bias, q_rows), k_bias = reads(w.k_bias, kv_rows),
                   v_bias = reads(w.v_bias, kv_rows);
    const Argument positions = reads(step.positions, tokens), sequence = reads(step.sequence, tokens);
    const Argument pages = reads(step.block_tables[args.group], size_t(step.sequences) * size_t(step.max_pages));
    const Argument rope = reads(step.rope, tokens * kHeadDim), to_q = writes(q, tokens * q_rows);
    const Argument to_cache = writes(static_cast<char*>(cache.at), cache.bytes);
    const bool is_q8 = matrices[first]->is_q8();
    if (adapters == nullptr && is_q8) {
      encoder.dispatch(variant.q8, groups, uint32_t(threads),
                       {bytes_of(launch), in, codes(0), codes(1), codes(2), q_bias, k_bias, v_bias, positions, sequence,
                        pages, rope, to_q, to_cache, scales(0), scales(1), scales(2)});
      return;
    }
    if (adapters == nullptr) {
      encoder.dispatch(variant.plain, groups, uint32_t(threads),
                       {bytes_of(launch), in, values(0), values(1), values(2), q_bias, k_bias, v_bias, positions,
                        sequence, pages, rope, to_q, to_cache});
      return;
    }
    const Argument place = reads(adapters->place, tokens);
    const Argument terms = reads(adapters->terms, size_t(end_of_places(*adapters)) * (q_rows + 2 * kv_rows));
    if (is_q8) {
      encoder.dispatch(variant.q8_terms, groups, uint32_t(threads),
                       {bytes_of(launch), in, codes(0), codes(1), codes(2), q_bias, k_bias, v_bias, positions, sequence,
                        pages, rope, to_q, to_cache, scales(0), scales(1), scales(2), place, terms});
    } else {
      encoder.dispatch(variant.plain_terms, groups, uint32_t(threads),
                       {bytes_of(launch), in, values(0), values(1), values(2), q_bias, k_bias, v_bias, positions,
                        sequence, pages, rope, to_q, to_cache, place, terms});
    }
  };
  const auto dispatch = [&](const Variant& variant, uint32_t groups_of_head, int threads) {
    for (int first = 0; first < 3;) {
      int end = first + 1;
      while (end < 3 && matrices[end]->is_q8() == matrices[first]->is_q8()) ++end;
      dispatch_of(variant, groups_of_head, threads, first, end);
      first = end;
    }
  };
  for (const Variant& few : kFew) {
    if (args.tokens <= few.rows) return dispatch(few, uint32_t(kHeadDim / few_rows_outputs(few.rows)), kFewThreads);
  }
  const Variant& tile = args.tokens <= kSmallTileRows ? kSmallTile : kTile;
  dispatch(tile, uint32_t((args.tokens + tile.rows - 1) / tile.rows), kTileThreads);
}

void check(const QkvArgs& args) {
  if (args.head_dim != kHeadDim || args.type == kKvF32) throw Error(Code::kInternal, "qkv: no kernel of this kind");
}

}  // namespace

void qkv(Encoder& encoder, const QkvArgs& args, const StepArrays& step, const uint16_t* x, const QkvMatrices& w,
         uint16_t* q, Cache cache) {
  check(args);
  if (args.tokens > 0) multiply(encoder, args, step, nullptr, x, w, q, cache);
}

void qkv_low_rank(Encoder& encoder, const QkvArgs& args, const StepArrays& step, const LowRankStep& adapters,
                  int number, const uint16_t* x, const QkvMatrices& w, uint16_t* q, Cache cache) {
  if (adapters.adapters.empty()) return qkv(encoder, args, step, x, w, q, cache);
  check(args);
  const LowRankProducts of = {.number = number, .per_row = 3};
  low_rank_sums(encoder, adapters, of, {.x = x, .x_low = nullptr, .in = args.hidden, .rows = args.tokens});
  low_rank_terms(encoder, adapters, of, args.heads * kHeadDim, args.kv_heads * kHeadDim);
  multiply(encoder, args, step, &adapters, x, w, q, cache);
}

}  // namespace oss::metal
