// The problem of the GPUs' attention tests: tokens of sequences, their queries, keys and values, and the cache's pages.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels/common/args.h"

namespace oss::test::attention {

struct Token {
  int sequence, position;
};

// One token in each of some sequences.
std::vector<Token> at_positions(const std::vector<int>& positions);
// The tokens at `from` to `to`, both included, of one more sequence.
void add_prefill(std::vector<Token>& tokens, int from, int to);

// Tokens of sequences with scrambled pages in a cache full of NaN. Only keys and values that some token of a sequence
// sees are written. Only pages with such keys are in the block table. The first `shared` pages of sequence 1 are those
// of sequence 0.
struct Scene {
  AttentionArgs args{};
  std::vector<Token> tokens;
  int shared = 0;
  std::vector<double> q, sinks;           // [tokens, heads, 64], [heads]
  std::vector<std::vector<double>> k, v;  // of each sequence [keys, kv_heads, 64]

  struct Shape {
    int heads, kv_heads;
    int window = 0;
    KvType type = kKvBF16;
    KvGroup group = kKvFull;
  };
  Scene(Shape shape, std::vector<Token> of, int shared_pages = 0);

  std::string name() const;
  int num_sequences() const;
  std::vector<int> all() const;                   // the number of each token
  std::pair<int, int> range(int sequence) const;  // of the keys that its tokens see
  std::vector<int32_t> block_table() const;
  std::vector<uint8_t> cache() const;
};

// The result in double, and how far bf16 may be from it:
//   - each p is rounded, by 2^-8 of itself at most, in numerator and denominator alike: out moves by the weighted
//     distance of that value from out. Independent errors add like squares; 3 · 2^-8 is five deviations of one.
//   - out is rounded: 2^-8 of itself.
//   - `raw` inputs are rounded too: v, and by q and k the scores.
// Errors of float32 sums are a hundredth of these.
struct Expected {
  std::vector<double> out, bound;
};
Expected expected(const Scene& scene, bool raw = false);

// Errors relative to the permitted errors.
void check_within(const std::string& what, const std::vector<uint16_t>& actual, const Expected& expected);

}  // namespace oss::test::attention
