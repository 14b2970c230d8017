#include "native/backend/metal/metal_adapters.h"

#include <algorithm>
#include <cstring>

#include "native/backend/metal/metal_memory.h"
#include "native/base/error.h"

namespace oss {
namespace {

static_assert(kMostRank == kMostLowRank);

size_t elements_of(const Matrix& matrix) { return size_t(matrix.rows) * size_t(matrix.cols); }

// What AdapterWeights::on_device points to.
struct Table {
  const LowRankTerm* terms;
  const uint16_t* factors;
  size_t count_factors;
};

// The rows of each adapter, in lists one after another, in the order in which adapters appear. `adapter_of` gives that
// of a row.
template <typename AdapterOf>
void group(int rows, const AdapterOf& adapter_of, int32_t* lists, std::vector<metal::RowsOfAdapter>& groups) {
  groups.clear();
  std::vector<const AdapterWeights*> adapters;
  for (int row = 0; row < rows; ++row) {
    const AdapterWeights* adapter = adapter_of(row);
    if (adapter != nullptr && std::ranges::find(adapters, adapter) == adapters.end()) adapters.push_back(adapter);
  }
  int first = 0;
  for (const AdapterWeights* adapter : adapters) {
    const Table& table = *static_cast<const Table*>(adapter->on_device);
    int count = 0;
    for (int row = 0; row < rows; ++row) {
      if (adapter_of(row) == adapter) lists[first + count++] = row;
    }
    groups.push_back({.terms = table.terms,
                      .factors = table.factors,
                      .count_factors = table.count_factors,
                      .rows = lists + first,
                      .first = first,
                      .count = count,
                      .first_row = lists[first],
                      .last_row = lists[first + count - 1]});
    first += count;
  }
}

}  // namespace

MetalAdapters::Parted MetalAdapters::parts_of(std::byte* memory, const StepLimits& l) {
  Parts parts(memory);
  const auto take_lists = [&] {
    return Lists{.tokens = parts.take<int32_t>(size_t(l.tokens)),
                 .rows = parts.take<int32_t>(size_t(l.rows)),
                 .place = parts.take<int32_t>(size_t(l.tokens))};
  };
  const int qkv_outputs = (l.heads + 2 * l.kv_heads) * l.head_dim;
  Parted all{};
  for (Lists& lists : all.lists) lists = take_lists();
  all.sums = parts.take<float>(metal::low_rank_sums_bytes(l.tokens, l.rows, l.top_k) / sizeof(float));
  all.terms =
      parts.take<float>(metal::low_rank_terms_bytes(l.tokens, qkv_outputs, l.top_k, l.intermediate) / sizeof(float));
  all.bytes = parts.bytes();
  return all;
}

uint64_t MetalAdapters::work_bytes(const StepLimits& limits) { return parts_of(nullptr, limits).bytes; }

uint64_t MetalAdapters::table_bytes(int layers, int experts) {
  return padded(size_t(terms_of_adapter(layers, experts)) * sizeof(LowRankTerm));
}

MetalAdapters::Work::Work(const std::shared_ptr<metal::Device>& device, const StepLimits& limits)
    : memory(allocate_metal(device, work_bytes(limits), "the terms of adapters")) {
  const Parted all = parts_of(memory.as<std::byte>(), limits);
  for (int i = 0; i < 2; ++i) sets[i].lists = all.lists[i];
  sums = all.sums;
  terms = all.terms;
}

struct MetalAdapters::Held {
  ~Held() {
    std::shared_ptr<metal::Commands> last;
    {
      const std::lock_guard lock(last_use->mutex);
      last = last_use->commands;
    }
    // The last request with the adapter may have ended while the GPU computes a step with it.
    try {
      if (last != nullptr) last->wait();
    } catch (const Error&) {  // the step has ended; the engine's thread meets the error, too
    }
  }

  std::shared_ptr<LastUse> last_use;
  Buffer memory;  // the table of its terms, then their factors
  Table table;
  AdapterWeights weights;
};

std::shared_ptr<const AdapterWeights> MetalAdapters::hold(const AdapterWeights& host) {
  if (work_ == nullptr) work_ = std::make_unique<Work>(device_, limits_);
  const int layers = int(host.layers.size());
  auto held = std::make_shared<Held>();
  held->last_use = work_->last_use;
  held->weights = host;
  const std::vector<LowRank*> terms = number_terms(held->weights, limits_.experts);
  size_t elements = 0;
  for (const LowRank* term : terms) elements += elements_of(term->a) + elements_of(term->b);
  const uint64_t table_size = table_bytes(layers, limits_.experts);
  held->memory = allocate_metal(device_, table_size + elements * sizeof(uint16_t), "an adapter");

  auto* table = held->memory.as<LowRankTerm>();
  auto* factors = reinterpret_cast<uint16_t*>(held->memory.as<std::byte>() + table_size);
  size_t next = 0;
  const auto place = [&](Matrix& matrix) {
    const size_t at = next;
    std::memcpy(factors + at, matrix.data, elements_of(matrix) * sizeof(uint16_t));
    matrix.data = factors + at;
    next += elements_of(matrix);
    return at;
  };
  for (LowRank* term : terms) {
    table[term->number].a = place(term->a);  // first, because they have whole rows of 64 bytes, and are read in 16
    table[term->number].rank = term->a.rows;
    table[term->number].scale = term->scale;
  }
  for (LowRank* term : terms) table[term->number].b = place(term->b);
  held->table = {table, factors, elements};
  held->weights.on_device = &held->table;
  return {held, &held->weights};
}

void MetalAdapters::begin(const Step& step, metal::Encoder& encoder) {
  current_ = 1 - current_;
  const Set& set = work_->sets[current_];
  encoder.wait(set.used_by);
  group(step.num_tokens, [&](int token) { return step.adapters[size_t(token)]; }, set.lists.tokens, tokens_);
  group(
      step.num_rows, [&](int row) { return step.adapters[size_t(step.logit_tokens[size_t(row)])]; }, set.lists.rows,
      rows_);
  std::fill_n(set.lists.place, step.num_tokens, -1);
  for (const metal::RowsOfAdapter& adapter : tokens_) {
    for (int i = 0; i < adapter.count; ++i) set.lists.place[adapter.rows[i]] = adapter.first + i;
  }
}

void MetalAdapters::finish(const metal::Encoder& encoder, uint64_t commit) {
  work_->sets[current_].used_by = commit;
  const std::lock_guard lock(work_->last_use->mutex);
  work_->last_use->commands = encoder.last();
}

metal::LowRankStep MetalAdapters::of(RowsOf rows) const {
  return {.adapters = rows == RowsOf::kTokens ? tokens_ : rows_,
          .base = 0,
          .place = work_->sets[current_].lists.place,
          .sums = work_->sums,
          .terms = work_->terms};
}

metal::LowRankStep MetalAdapters::of_tokens(int first, int count) {
  portion_.clear();
  for (const metal::RowsOfAdapter& all : tokens_) {
    const int32_t* begin = std::lower_bound(all.rows, all.rows + all.count, first);
    const int32_t* end = std::lower_bound(begin, all.rows + all.count, first + count);
    if (begin == end) continue;
    metal::RowsOfAdapter& part = portion_.emplace_back(all);
    part.rows = begin;
    part.first = all.first + int(begin - all.rows);
    part.count = int(end - begin);
    part.first_row = *begin;
    part.last_row = *(end - 1);
  }
  metal::LowRankStep step = of(RowsOf::kTokens);
  step.adapters = portion_;
  step.base = first;
  step.place += first;
  return step;
}

}  // namespace oss
