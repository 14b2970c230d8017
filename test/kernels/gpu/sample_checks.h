// What a GPU's kernels read for a batch of draws, and the comparison of their results with the CPU's. Each GPU has
// types of its own for both, whose fields have the same names.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "native/backend/cpu/sample_row.h"
#include "native/base/str.h"
#include "test/kernels/gpu/sample_batch.h"
#include "test/native/check.h"

namespace oss::test::sampling {

// The parameters of each draw, and the lists of all draws that they refer to. The GPUs find allowed tokens in different
// ways, so their tests fill in that field.
template <class Row, class Seen, class Bias>
struct Lists {
  std::vector<Row> rows;
  std::vector<Seen> seen;
  std::vector<Bias> bias;

  explicit Lists(const Batch& batch) {
    for (const Draw& draw : batch.draws) {
      Row row{};
      row.args = draw.args;
      row.row = draw.row;
      row.seen_begin = int(seen.size());
      row.bias_begin = int(bias.size());
      for (const auto& [token, in_completion] : draw.seen) seen.push_back({token, in_completion});
      for (const auto& [token, value] : draw.bias) bias.push_back({token, value});
      row.seen_end = int(seen.size());
      row.bias_end = int(bias.size());
      row.top_logprobs = draw.top;
      rows.push_back(row);
    }
  }
};

template <typename T>
std::vector<uint8_t> all_bytes(const std::vector<T>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
inline bool is_untouched(const std::vector<uint8_t>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0xCD; });
}

// The permitted error of a log probability: absolute, and relative to itself.
struct Tolerance {
  float absolute, relative;
  bool permits(float a, float b) const { return a == b || std::fabs(a - b) <= absolute + relative * std::fabs(b); }
};

inline std::string described(const Batch& batch, size_t i) {
  const Draw& draw = batch.draws[i];
  const SamplingArgs& a = draw.args;
  return str("vocab ", batch.vocab, ", draw ", i, " of ", batch.draws.size(), ", temperature ", a.temperature,
             ", top_k ", a.top_k, ", top_p ", a.top_p, ", min_p ", a.min_p, ", penalties ", a.repetition_penalty, " ",
             a.presence_penalty, " ", a.frequency_penalty, ", ", draw.seen.size(), " seen, ", draw.bias.size(),
             " biases, ", draw.allowed.size(), " words of allowed tokens, first logit ",
             batch.logits[size_t(draw.row) * batch.vocab]);
}

template <class Result>
void check_draw(const std::string& device, Batch& batch, size_t i, const Result& got, Tolerance tolerance) {
  const Draw& draw = batch.draws[i];
  const SamplingContext context = {
      .seen = draw.seen, .bias = draw.bias, .top_logprobs = draw.top, .allowed = draw.allowed};
  const Sampled expected = sample_row(draw.args, context, batch.row(draw.row), batch.vocab);
  const auto wrong = [&](const auto& what, const auto& wanted, const auto& found) {
    fail(__FILE__, __LINE__,
         str(device, ": ", described(batch, i), ": ", what, ": expected ", wanted, ", got ", found));
  };
  if (got.token != expected.token) return wrong("token", expected.token, got.token);
  if (!tolerance.permits(got.logprob, expected.logprob)) return wrong("logprob", expected.logprob, got.logprob);
  if (got.num_top != int(expected.top.size())) return wrong("num_top", expected.top.size(), got.num_top);
  for (int k = 0; k < got.num_top; ++k) {
    const TopLogprob& top = expected.top[size_t(k)];
    if (got.top_token[k] != top.token) return wrong(str("top ", k), top.token, got.top_token[k]);
    if (!tolerance.permits(got.top_logprob[k], top.logprob))
      return wrong(str("top logprob ", k), top.logprob, got.top_logprob[k]);
  }
}

template <class Result>
void check_draws(const std::string& device, Batch& batch, const std::vector<Result>& results, Tolerance tolerance) {
  CHECK_EQ(results.size(), batch.draws.size());
  for (size_t i = 0; i < results.size(); ++i) check_draw(device, batch, i, results[i], tolerance);
}

// Of ties_batch(). Shows a sum over wrong tokens, or a wrong tie: the number of draws of each token.
template <class Result>
void check_ties(const Batch& batch, const std::vector<Result>& results) {
  const std::vector<int> order = {5, 700, 2100, 2101, 2999, 0, 1};
  std::vector<int> drawn(order.size());
  for (size_t i = 0; i < results.size(); ++i) {
    const auto place = std::find(order.begin(), order.end(), results[i].token) - order.begin();
    CHECK(place < batch.draws[i].args.top_k);
    if (place < int(order.size())) ++drawn[size_t(place)];
  }
  CHECK(std::all_of(drawn.begin(), drawn.begin() + 5, [](int count) { return count > 0; }));
}

}  // namespace oss::test::sampling
