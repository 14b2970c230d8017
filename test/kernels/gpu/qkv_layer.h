// Queries, keys and values of a layer on a GPU: inputs, the reference in double, the comparisons.
#pragma once
#include <string>
#include <vector>

#include "kernels/common/args.h"
#include "test/kernels/gpu/low_rank.h"

namespace oss::test {

struct QkvLayer {
  int hidden, heads, kv_heads;
  std::vector<float> w, bias;  // [(heads + 2 * kv_heads) * 64, hidden]: q, k, v

  int rows() const { return (heads + 2 * kv_heads) * kHeadDim; }
};
QkvLayer random_qkv_layer(int hidden, int heads, int kv_heads);

// Tokens of several sequences, with all inputs of their step.
struct QkvStep {
  KvType type = kKvBF16;
  KvGroup group = kKvFull;
  std::vector<int32_t> positions, sequence;
  std::vector<int32_t> block_table;  // [sequences, max_pages]
  int max_pages = 0, num_pages = 0;
  std::vector<float> rope;  // [tokens, 2, 32]
  std::vector<float> x;     // [tokens, hidden]
  StepAdapters adapters;    // the terms of q, k and v follow number 1; no tokens: no adapters

  int size() const { return int(positions.size()); }
  int page(int t) const { return block_table[sequence[t] * max_pages + positions[t] / kPageTokens]; }
  bool adapted() const { return !adapters.of_token.empty(); }
  size_t cache_bytes(const QkvLayer&) const;
  // The tokens [first, first + count).
  QkvStep part(int first, int count) const;
};
// Three sequences around the borders of pages. Their tokens alternate; their pages are in no order.
QkvStep random_qkv_step(const QkvLayer&, int tokens, KvType type = kKvBF16, KvGroup group = kKvFull);

struct QkvResult {
  std::vector<uint16_t> q;     // [room for tokens, heads * 64]
  std::vector<uint8_t> cache;  // bytes of [page][k, v][kv_head][kPageTokens][64]
};

// Compares with the reference, and checks that nothing else was written. tolerance: of a sum, relative to the largest
// result. Rotation doubles it at most.
void check_qkv(const std::string& what, const QkvLayer&, const QkvStep&, const QkvResult& actual, double tolerance);

// A part of a step, from its token `first` on, must have the same bits as the whole step.
void check_qkv_part(const std::string& what, const QkvLayer&, const QkvStep& part, const QkvResult& actual, int first,
                    const QkvResult& of_all);

// A step with an adapter of all matrices, one of k alone, and tokens without one.
QkvStep adapted_qkv_step(const QkvLayer&, int tokens, KvType type);

// Results of that step and of the same step without adapters must differ exactly where there is a term.
void check_qkv_terms(const std::string& what, const QkvLayer&, const QkvStep&, const QkvResult& adapted,
                     const QkvResult& plain);

// The same in a cache of each type. run(step): the result on a device.
template <typename Run>
void check_qkv_low_rank(const std::string& what, const QkvLayer& layer, int tokens, double tolerance, const Run& run) {
  for (const KvType type : {kKvBF16, kKvFP8}) {
    const QkvStep step = adapted_qkv_step(layer, tokens, type);
    const QkvResult adapted = run(step);
    check_qkv(what, layer, step, adapted, tolerance);
    check_qkv_terms(what, layer, step, adapted, run(random_qkv_step(layer, tokens, type)));
  }
}

// The last golden rotations, those of the largest positions. All angles come from the step.
struct GoldenRotations {
  QkvLayer layer;
  QkvStep step;
  std::vector<double> q;

  explicit GoldenRotations(int count);
  static int all();
  void check(const std::string& what, const QkvResult& actual) const;
};

}  // namespace oss::test
