#include "native/backend/cuda/step_buffers.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace oss {
namespace {

// Hands out parts of one allocation in order, each aligned to 256 bytes.
class Parts {
 public:
  explicit Parts(std::byte* begin) : next_(begin) {}
  template <typename T>
  T* take(size_t elements) {
    T* part = reinterpret_cast<T*>(next_);
    next_ += (elements * sizeof(T) + 255) / 256 * 256;
    return part;
  }
  std::byte* next() const { return next_; }
  // From the address zero on.
  size_t bytes() const { return reinterpret_cast<uintptr_t>(next_); }

 private:
  std::byte* next_;
};

struct TokenArrays {
  cuda::StepCounts* counts;
  int32_t *tokens, *positions, *sequence, *logit_tokens, *singles;
  cuda::AttentionTile* tiles;
  float* rope;
};

TokenArrays token_arrays(Parts& parts, const StepLimits& limits) {
  const size_t tokens = size_t(limits.tokens);
  return {.counts = parts.take<cuda::StepCounts>(1),
          .tokens = parts.take<int32_t>(tokens),
          .positions = parts.take<int32_t>(tokens),
          .sequence = parts.take<int32_t>(tokens),
          .logit_tokens = parts.take<int32_t>(size_t(limits.rows)),
          .singles = parts.take<int32_t>(tokens),
          .tiles = parts.take<cuda::AttentionTile>(tokens),
          .rope = parts.take<float>(tokens * kHeadDim)};
}

size_t token_bytes(const StepLimits& limits) {
  Parts parts(nullptr);
  token_arrays(parts, limits);
  return parts.bytes();
}

size_t table_bytes(const StepLimits& limits) {
  Parts parts(nullptr);
  parts.take<int32_t>(size_t(limits.sequences) * limits.max_pages);
  return parts.bytes();
}

}  // namespace

uint64_t StepBuffers::bytes(const StepLimits& limits) { return token_bytes(limits) + kKvGroups * table_bytes(limits); }

StepBuffers::StepBuffers(std::shared_ptr<Gpu> gpu, const StepLimits& limits, bool apart,
                         const cuda::SampleResult* drawn)
    : gpu_(gpu),
      apart_(apart),
      max_pages_(limits.max_pages),
      token_bytes_(token_bytes(limits)),
      host_(gpu->allocate_pinned(bytes(limits), "the arrays of a step")),
      device_memory_(gpu->allocate(bytes(limits), "the arrays of a step")),
      copied_(gpu) {
  Parts host(host_.as<std::byte>()), on_device(device_memory_.as<std::byte>());
  const TokenArrays here = token_arrays(host, limits), there = token_arrays(on_device, limits);
  counts_ = here.counts;
  tokens_ = here.tokens;
  positions_ = here.positions;
  sequence_ = here.sequence;
  logit_tokens_ = here.logit_tokens;
  singles_ = here.singles;
  tiles_ = here.tiles;
  rope_ = here.rope;
  device_ = {.counts = there.counts,
             .tokens = there.tokens,
             .positions = there.positions,
             .sequence = there.sequence,
             .block_tables = {},
             .rope = there.rope,
             .logit_tokens = there.logit_tokens,
             .tiles = there.tiles,
             .max_pages = limits.max_pages,
             .singles = there.singles,
             .drawn = drawn};
  const size_t entries = size_t(limits.sequences) * limits.max_pages;
  for (int group = 0; group < kKvGroups; ++group) {
    block_tables_[group] = host.take<int32_t>(entries);
    std::fill_n(block_tables_[group], entries, -1);
    device_.block_tables[group] = on_device.take<int32_t>(entries);
    gpu_->copy(const_cast<int32_t*>(device_.block_tables[group]), block_tables_[group], entries * sizeof(int32_t));
  }
  copied_.record();
}

StepFacts StepBuffers::upload(const Step& step) {
  copied_.await();
  const StepFacts facts = fill(step);
  // One copy, up to the end of the used RoPE rows: the arrays before them are small.
  const size_t used = size_t(reinterpret_cast<std::byte*>(rope_ + step.rope.size()) - host_.as<std::byte>());
  gpu_->copy(device_memory_.as<void>(), host_.as<void>(), used);
  upload_tables(step);
  copied_.record();
  return facts;
}

StepFacts StepBuffers::fill(const Step& step) {
  std::ranges::copy(step.tokens, tokens_);
  std::ranges::copy(step.positions, positions_);
  std::ranges::copy(step.sequence, sequence_);
  std::ranges::copy(step.logit_tokens, logit_tokens_);
  std::ranges::copy(step.rope, rope_);
  StepFacts facts;
  const auto alone = [&](int token) {
    singles_[facts.singles++] = token;
    facts.splits = std::max(facts.splits, cuda::visible_pages(step.positions[token], 0).splits);
  };
  for (int first = 0; first < step.num_tokens;) {
    int end = first + 1;
    while (end < step.num_tokens && end - first < cuda::kAttentionTile && step.sequence[end] == step.sequence[first] &&
           step.positions[end] == step.positions[first] + (end - first)) {
      ++end;
    }
    if (apart_ || end - first == 1) {
      for (int token = first; token < end; ++token) alone(token);
    } else {
      tiles_[facts.tiles++] = {first, end - first};
    }
    first = end;
  }
  *counts_ = {.tokens = step.num_tokens,
              .sequences = step.num_sequences,
              .rows = step.num_rows,
              .tiles = facts.tiles,
              .singles = facts.singles};
  return facts;
}

// Little changes between steps: a sequence gets a page every 64 tokens. Only the used parts of changed rows are copied,
// adjacent rows together.
void StepBuffers::upload_tables(const Step& step) {
  int32_t pages_of_row = 0;
  int token = 0;
  int dirty_from[kKvGroups] = {-1, -1};
  const auto flush = [&](int group, int end) {
    if (dirty_from[group] < 0) return;
    const size_t first = size_t(dirty_from[group]) * max_pages_;
    const size_t entries = size_t(end - dirty_from[group]) * max_pages_;
    gpu_->copy(const_cast<int32_t*>(device_.block_tables[group]) + first, block_tables_[group] + first,
               entries * sizeof(int32_t));
    dirty_from[group] = -1;
  };
  for (int row = 0; row < step.num_sequences; ++row) {
    for (pages_of_row = 0; token < step.num_tokens && step.sequence[token] == row; ++token) {
      pages_of_row = std::max(pages_of_row, step.positions[token] / kPageTokens + 1);
    }
    for (int group = 0; group < kKvGroups; ++group) {
      const int32_t* wanted = step.block_tables[group].data() + size_t(row) * step.max_pages;
      int32_t* has = block_tables_[group] + size_t(row) * max_pages_;
      if (std::memcmp(has, wanted, size_t(pages_of_row) * sizeof(int32_t)) == 0) {
        flush(group, row);
        continue;
      }
      std::copy_n(wanted, pages_of_row, has);
      if (dirty_from[group] < 0) dirty_from[group] = row;
    }
  }
  for (int group = 0; group < kKvGroups; ++group) flush(group, step.num_sequences);
}

namespace {

struct DrawCounts {
  size_t rows = 0, seen = 0, bias = 0, words = 0;
};
struct DrawLists {
  int32_t* num_rows;
  cuda::SampleRow* rows;
  cuda::SampleSeen* seen;
  cuda::SampleBias* bias;
  uint32_t* allowed;
  std::byte* end;
};

DrawLists lay_out(std::byte* begin, const DrawCounts& counts) {
  Parts parts(begin);
  DrawLists lists{};
  lists.num_rows = parts.take<int32_t>(1);
  lists.rows = parts.take<cuda::SampleRow>(counts.rows);
  lists.seen = parts.take<cuda::SampleSeen>(counts.seen);
  lists.bias = parts.take<cuda::SampleBias>(counts.bias);
  lists.allowed = parts.take<uint32_t>(counts.words);
  lists.end = parts.next();
  return lists;
}
size_t bytes_of(const DrawCounts& counts) { return reinterpret_cast<uintptr_t>(lay_out(nullptr, counts).end); }

// Reserved at the start, because growing waits for the device: a mask for each row, and lists of this many tokens.
constexpr size_t kSeenTokens = 2048, kBiasedTokens = 300;

size_t usual_parameter_bytes(int max_rows, int vocab) {
  const size_t rows = size_t(max_rows);
  return bytes_of({.rows = rows,
                   .seen = rows * kSeenTokens,
                   .bias = rows * kBiasedTokens,
                   .words = rows * ((size_t(vocab) + 31) / 32)});
}
size_t result_bytes(int max_rows) { return size_t(max_rows) * sizeof(cuda::SampleResult); }

}  // namespace

uint64_t SamplingBuffers::bytes(int max_rows, int vocab) {
  return usual_parameter_bytes(max_rows, vocab) + result_bytes(max_rows);
}

SamplingBuffers::SamplingBuffers(std::shared_ptr<Gpu> gpu, int max_rows, int vocab)
    : gpu_(gpu),
      parameters_(gpu->allocate(usual_parameter_bytes(max_rows, vocab), "sampling parameters")),
      host_parameters_(gpu->allocate_pinned(usual_parameter_bytes(max_rows, vocab), "sampling parameters")),
      device_results_(gpu->allocate(result_bytes(max_rows), "sampled tokens")),
      host_results_(gpu->allocate_pinned(result_bytes(max_rows), "sampled tokens")),
      done_(gpu) {}

SamplingBuffers::Device SamplingBuffers::upload(std::span<const SamplingArgs> args,
                                                std::span<const SamplingContext> contexts) {
  DrawCounts counts{.rows = args.size()};
  for (const SamplingContext& context : contexts) {
    counts.seen += context.seen.size();
    counts.bias += context.bias.size();
    counts.words += context.allowed.size();
  }
  const size_t bytes = bytes_of(counts);
  done_.await();
  if (parameters_.bytes() < bytes) {
    host_parameters_ = Buffer();
    parameters_ = Buffer();
    host_parameters_ = gpu_->allocate_pinned(2 * bytes, "sampling parameters");
    parameters_ = gpu_->allocate(2 * bytes, "sampling parameters");
  }
  const DrawLists here = lay_out(host_parameters_.as<std::byte>(), counts),
                  there = lay_out(parameters_.as<std::byte>(), counts);
  *here.num_rows = int32_t(args.size());
  int seen = 0, bias = 0;
  size_t words = 0;
  for (size_t r = 0; r < args.size(); ++r) {
    const SamplingContext& context = contexts[r];
    cuda::SampleRow& row = here.rows[r] = {.args = args[r],
                                           .row = int32_t(r),
                                           .seen_begin = seen,
                                           .seen_end = 0,
                                           .bias_begin = bias,
                                           .bias_end = 0,
                                           .top_logprobs = context.top_logprobs,
                                           .allowed = context.allowed.empty() ? nullptr : there.allowed + words};
    std::ranges::copy(context.allowed, here.allowed + words);
    words += context.allowed.size();
    for (const auto& [token, in_completion] : context.seen) here.seen[seen++] = {token, in_completion};
    for (const auto& [token, value] : context.bias) here.bias[bias++] = {token, value};
    row.seen_end = seen;
    row.bias_end = bias;
  }
  gpu_->copy(parameters_.as<void>(), host_parameters_.as<void>(), bytes);
  return {there.num_rows, there.rows, there.seen, there.bias};
}

void SamplingBuffers::download(int rows) {
  rows_ = rows;
  gpu_->copy(host_results_.as<void>(), device_results_.as<void>(), size_t(rows) * sizeof(cuda::SampleResult));
  done_.record();
}

std::span<const cuda::SampleResult> SamplingBuffers::await() {
  done_.await();
  return {host_results_.as<cuda::SampleResult>(), size_t(rows_)};
}

}  // namespace oss
