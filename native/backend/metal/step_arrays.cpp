#include "native/backend/metal/step_arrays.h"

#include <algorithm>
#include <utility>

#include "native/backend/metal/metal_memory.h"

namespace oss {
namespace {

struct Arrays {
  int32_t *token_ids, *positions, *sequence, *logit_tokens, *single;
  AttentionTile* tile;
  float* rope;
  int32_t* block_tables[kKvGroups];
};

Arrays take_arrays(Parts& parts, const StepLimits& limits) {
  const size_t tokens = size_t(limits.tokens), entries = size_t(limits.sequences) * size_t(limits.max_pages);
  return {.token_ids = parts.take<int32_t>(tokens),
          .positions = parts.take<int32_t>(tokens),
          .sequence = parts.take<int32_t>(tokens),
          .logit_tokens = parts.take<int32_t>(size_t(limits.rows)),
          .single = parts.take<int32_t>(tokens),
          .tile = parts.take<AttentionTile>(tokens),
          .rope = parts.take<float>(tokens * kHeadDim),
          .block_tables = {parts.take<int32_t>(entries), parts.take<int32_t>(entries)}};
}

size_t set_bytes(const StepLimits& limits) {
  Parts parts(nullptr);
  take_arrays(parts, limits);
  return parts.bytes();
}

}  // namespace

uint64_t StepArraysRing::bytes(const StepLimits& limits) { return 2 * padded(set_bytes(limits)); }

StepArraysRing::StepArraysRing(const std::shared_ptr<metal::Device>& device, const StepLimits& limits, bool apart)
    : apart_(apart) {
  for (Set& set : sets_) {
    set.memory = allocate_metal(device, set_bytes(limits), "the arrays of a step");
    Parts parts(set.memory.as<std::byte>());
    const Arrays arrays = take_arrays(parts, limits);
    set.arrays.token_ids = arrays.token_ids;
    set.arrays.positions = arrays.positions;
    set.arrays.sequence = arrays.sequence;
    set.arrays.logit_tokens = arrays.logit_tokens;
    set.arrays.single = arrays.single;
    set.arrays.tile = arrays.tile;
    set.arrays.rope = arrays.rope;
    for (int group = 0; group < kKvGroups; ++group) set.arrays.block_tables[group] = arrays.block_tables[group];
  }
}

const metal::StepArrays& StepArraysRing::fill(const Step& step, metal::Encoder& encoder) {
  current_ = 1 - current_;
  Set& set = sets_[current_];
  encoder.wait(set.used_by);
  fill(step, set);
  return set.arrays;
}

void StepArraysRing::fill(const Step& step, Set& set) const {
  metal::StepArrays& to = set.arrays;
  const auto copy = [](const auto& from, const auto* at) {
    std::ranges::copy(from, const_cast<std::remove_const_t<std::remove_pointer_t<decltype(at)>>*>(at));
  };
  copy(step.tokens, to.token_ids);
  copy(step.positions, to.positions);
  copy(step.sequence, to.sequence);
  copy(step.logit_tokens, to.logit_tokens);
  copy(step.rope, to.rope);
  for (int group = 0; group < kKvGroups; ++group) copy(step.block_tables[group], to.block_tables[group]);
  to.tokens = step.num_tokens;
  to.sequences = step.num_sequences;
  to.rows = step.num_rows;
  to.max_pages = step.max_pages;
  to.tiles = to.singles = to.most_keys = 0;
  auto* single = const_cast<int32_t*>(to.single);
  auto* tile = const_cast<AttentionTile*>(to.tile);
  for (int first = 0; first < step.num_tokens;) {
    int end = first + 1;
    while (end < step.num_tokens && end - first < kAttentionTile && step.sequence[end] == step.sequence[first] &&
           step.positions[end] == step.positions[first] + (end - first)) {
      ++end;
    }
    if (apart_ || end - first == 1) {
      for (int token = first; token < end; ++token) {
        single[to.singles++] = token;
        to.most_keys = std::max(to.most_keys, step.positions[token] + 1);
      }
    } else {
      tile[to.tiles++] = {first, end - first};
    }
    first = end;
  }
}

// --- draws

namespace {

struct DrawCounts {
  size_t rows = 0, seen = 0, bias = 0, words = 0;
};
struct DrawLists {
  SampleRow* rows;
  SampleSeen* seen;
  SampleBias* bias;
  uint32_t* allowed;
};

DrawLists take_lists(Parts& parts, const DrawCounts& counts) {
  return {.rows = parts.take<SampleRow>(counts.rows),
          .seen = parts.take<SampleSeen>(counts.seen),
          .bias = parts.take<SampleBias>(counts.bias),
          .allowed = parts.take<uint32_t>(counts.words)};
}
size_t bytes_of(const DrawCounts& counts) {
  Parts parts(nullptr);
  take_lists(parts, counts);
  return parts.bytes();
}

// Reserved at the start, so that a step allocates nothing: a mask for each row, and lists of this many tokens.
constexpr size_t kSeenTokens = 2048, kBiasedTokens = 300;

size_t usual_parameter_bytes(int max_rows, int vocab) {
  const size_t rows = size_t(max_rows);
  return bytes_of({.rows = rows,
                   .seen = rows * kSeenTokens,
                   .bias = rows * kBiasedTokens,
                   .words = rows * ((size_t(vocab) + 31) / 32)});
}

}  // namespace

uint64_t SamplingArrays::bytes(int max_rows, int vocab) {
  return padded(usual_parameter_bytes(max_rows, vocab)) + padded(size_t(max_rows) * sizeof(SampleResult));
}

SamplingArrays::SamplingArrays(std::shared_ptr<metal::Device> device, int max_rows, int vocab)
    : device_(std::move(device)),
      parameters_(allocate_metal(device_, usual_parameter_bytes(max_rows, vocab), "sampling parameters")),
      results_(allocate_metal(device_, size_t(max_rows) * sizeof(SampleResult), "sampled tokens")) {}

metal::SampleInputs SamplingArrays::fill(std::span<const SamplingArgs> args,
                                         std::span<const SamplingContext> contexts) {
  DrawCounts counts{.rows = args.size()};
  for (const SamplingContext& context : contexts) {
    counts.seen += context.seen.size();
    counts.bias += context.bias.size();
    counts.words += context.allowed.size();
  }
  if (parameters_.bytes() < bytes_of(counts)) {
    parameters_ = Buffer();
    parameters_ = allocate_metal(device_, 2 * bytes_of(counts), "sampling parameters");
  }
  Parts parts(parameters_.as<std::byte>());
  const DrawLists to = take_lists(parts, counts);
  int seen = 0, bias = 0;
  size_t words = 0;
  for (size_t r = 0; r < args.size(); ++r) {
    const SamplingContext& context = contexts[r];
    SampleRow& row = to.rows[r] = {.args = args[r],
                                   .row = int32_t(r),
                                   .seen_begin = seen,
                                   .seen_end = 0,
                                   .bias_begin = bias,
                                   .bias_end = 0,
                                   .top_logprobs = context.top_logprobs,
                                   .allowed_begin = context.allowed.empty() ? -1 : int32_t(words)};
    std::ranges::copy(context.allowed, to.allowed + words);
    words += context.allowed.size();
    for (const auto& [token, in_completion] : context.seen) to.seen[seen++] = {token, in_completion};
    for (const auto& [token, value] : context.bias) to.bias[bias++] = {token, value};
    row.seen_end = seen;
    row.bias_end = bias;
  }
  return {.parameters = to.rows,
          .seen = to.seen,
          .bias = to.bias,
          .allowed = to.allowed,
          .seen_count = counts.seen,
          .bias_count = counts.bias,
          .allowed_count = counts.words,
          .logit_rows = counts.rows};
}

}  // namespace oss
