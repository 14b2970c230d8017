#include "native/engine/step.h"

#include <algorithm>

namespace oss {

StepBuilder::StepBuilder(const Config& config, int max_tokens, int max_sequences, int max_pages)
    : rope_(config), rope_row_(config.head_dim), max_pages_(max_pages) {
  tokens_.resize(max_tokens);
  positions_.resize(max_tokens);
  sequence_.resize(max_tokens);
  logit_tokens_.resize(max_tokens);
  rope_rows_.resize(size_t(max_tokens) * rope_row_);
  adapters_.resize(max_tokens);
  for (auto& table : block_tables_) table.resize(size_t(max_sequences) * max_pages);
}

void StepBuilder::begin() {
  num_tokens_ = num_sequences_ = num_rows_ = 0;
  any_adapter_ = false;
}

void StepBuilder::add(const Scheduler::Part& part) {
  const Sequence& sequence = *part.sequence;
  for (int group = 0; group < kKvGroups; ++group) {
    const std::vector<int32_t>& pages = sequence.pages.table[group];
    std::copy(pages.begin(), pages.end(), block_tables_[group].begin() + std::ptrdiff_t(num_sequences_) * max_pages_);
  }
  const AdapterWeights* adapter = sequence.request().adapter.get();
  any_adapter_ |= adapter != nullptr;
  for (int64_t i = 0; i < part.tokens; ++i) {
    const int64_t position = part.begin + i;
    tokens_[num_tokens_] = part.drawn_row >= 0 ? -1 - part.drawn_row : sequence.tokens[position];
    positions_[num_tokens_] = int32_t(position);
    sequence_[num_tokens_] = num_sequences_;
    adapters_[num_tokens_] = adapter;
    std::copy_n(rope_.row(position), rope_row_, &rope_rows_[num_tokens_ * rope_row_]);
    if (i >= part.tokens - part.rows) logit_tokens_[num_rows_++] = num_tokens_;
    ++num_tokens_;
  }
  ++num_sequences_;
}

const Step& StepBuilder::finish() {
  step_ = {
      .num_tokens = num_tokens_,
      .num_sequences = num_sequences_,
      .num_rows = num_rows_,
      .tokens = {tokens_.data(), size_t(num_tokens_)},
      .positions = {positions_.data(), size_t(num_tokens_)},
      .sequence = {sequence_.data(), size_t(num_tokens_)},
      .block_tables = {block_tables_[kKvFull], block_tables_[kKvWindow]},
      .max_pages = max_pages_,
      .rope = {rope_rows_.data(), num_tokens_ * rope_row_},
      .logit_tokens = {logit_tokens_.data(), size_t(num_rows_)},
      .adapters = {adapters_.data(), any_adapter_ ? size_t(num_tokens_) : 0},
  };
  return step_;
}

}  // namespace oss
