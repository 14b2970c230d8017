#include "native/backend/metal/low_rank.h"

#include <algorithm>

#include "native/base/error.h"

namespace oss::metal {
namespace {

uint32_t divide_up(int a, int b) { return uint32_t((a + b - 1) / b); }

// Few products are divided among more threadgroups, which otherwise would leave most of the GPU without work.
int parts_of(int products) { return products <= 64 ? 8 : 1; }

// What every kernel reads: the table, from the operation's terms on, the factors, the rows, and the chosen terms.
struct Common {
  Argument terms, factors, rows, chosen;
  Common(const RowsOfAdapter& adapter, const LowRankProducts& of)
      : terms(reads(adapter.terms + of.number, size_t(of.chosen != nullptr ? of.choices : of.per_row))),
        factors(reads(adapter.factors, adapter.count_factors)),
        rows(reads(adapter.rows, size_t(adapter.count))),
        chosen(of.chosen != nullptr ? reads(of.chosen, size_t(of.rows) * size_t(of.per_row)) : rows) {}
};

// Each adapter has a part of the sums for itself, so its dispatches need no barrier after those of another.
float* sums_of(const LowRankStep& step, const RowsOfAdapter& adapter, const LowRankProducts& of) {
  return step.sums + size_t(adapter.first) * size_t(of.per_row) * kMostLowRank;
}
size_t count_sums(const RowsOfAdapter& adapter, const LowRankProducts& of) {
  return size_t(adapter.count) * size_t(of.per_row) * kMostLowRank;
}

// Whether the adapter has one of the terms. CPU and GPU share the table.
bool has_terms(const RowsOfAdapter& adapter, const LowRankProducts& of) {
  const LowRankTerm* first = adapter.terms + of.number;
  return std::any_of(first, first + (of.chosen != nullptr ? of.choices : of.per_row),
                     [](const LowRankTerm& term) { return term.rank > 0; });
}

}  // namespace

void low_rank_sums(Encoder& encoder, const LowRankStep& step, const LowRankProducts& of, const LowRankInputs& inputs) {
  if (inputs.in % kLowRankVector != 0) throw Error(Code::kInternal, "low_rank: rows that no load of 16 bytes divides");
  const size_t values = size_t(inputs.rows) * size_t(inputs.x_each ? of.per_row : 1) * size_t(inputs.in);
  for (const RowsOfAdapter& adapter : step.adapters) {
    if (!has_terms(adapter, of)) continue;
    const int products = adapter.count * of.per_row;
    const LowRankSumsLaunch launch = {.in = inputs.in,
                                      .per_row = of.per_row,
                                      .base = step.base,
                                      .chosen = of.chosen != nullptr,
                                      .x_each = inputs.x_each,
                                      .has_low = inputs.x_low != nullptr,
                                      .parts = parts_of(products)};
    const Common common(adapter, of);
    encoder.dispatch("low_rank_sums", {uint32_t(products), uint32_t(launch.parts)}, kLowRankThreads,
                     {bytes_of(launch), common.terms, common.factors, common.rows, common.chosen,
                      reads(inputs.x, values), reads(inputs.x_low != nullptr ? inputs.x_low : inputs.x, values),
                      writes(sums_of(step, adapter, of), count_sums(adapter, of))});
  }
}

void low_rank_terms(Encoder& encoder, const LowRankStep& step, const LowRankProducts& of, int out_first, int out_rest) {
  const LowRankTermsLaunch launch = {.per_row = of.per_row,
                                     .base = step.base,
                                     .chosen = of.chosen != nullptr,
                                     .out_first = out_first,
                                     .out_rest = out_rest};
  const size_t width = size_t(out_first) + size_t(of.per_row - 1) * size_t(out_rest);
  for (const RowsOfAdapter& adapter : step.adapters) {
    const Common common(adapter, of);
    encoder.dispatch("low_rank_terms",
                     {uint32_t(adapter.count * of.per_row), divide_up(std::max(out_first, out_rest), kLowRankThreads)},
                     kLowRankThreads,
                     {bytes_of(launch), common.terms, common.factors, common.rows, common.chosen,
                      reads(sums_of(step, adapter, of), count_sums(adapter, of)),
                      writes(step.terms + size_t(adapter.first) * width, size_t(adapter.count) * width)});
  }
}

void low_rank_add(Encoder& encoder, const LowRankStep& step, const LowRankProducts& of, int out, const float* weight,
                  float* y) {
  for (const RowsOfAdapter& adapter : step.adapters) {
    if (!has_terms(adapter, of)) continue;
    const LowRankAddLaunch launch = {.out = out,
                                     .per_row = of.per_row,
                                     .base = step.base,
                                     .chosen = of.chosen != nullptr,
                                     .weighted = weight != nullptr,
                                     .first_row = adapter.first_row};
    const Common common(adapter, of);
    const Argument sums = reads(sums_of(step, adapter, of), count_sums(adapter, of));
    encoder.dispatch("low_rank_add", {uint32_t(adapter.count), divide_up(out, kLowRankThreads)}, kLowRankThreads,
                     {bytes_of(launch), common.terms, common.factors, common.rows, common.chosen,
                      weight != nullptr ? reads(weight, size_t(of.rows) * size_t(of.per_row)) : sums, sums,
                      updates(y + size_t(adapter.first_row - step.base) * size_t(out),
                              size_t(adapter.last_row - adapter.first_row + 1) * size_t(out))});
  }
}

bool has_terms(const LowRankStep& step, const LowRankProducts& of) {
  return std::ranges::any_of(step.adapters, [&](const RowsOfAdapter& adapter) { return has_terms(adapter, of); });
}

int end_of_places(const LowRankStep& step) {
  return step.adapters.empty() ? 0 : step.adapters.back().first + step.adapters.back().count;
}

void low_rank(Encoder& encoder, const LowRankArgs& args, const LowRankStep& step, const uint16_t* x,
              const uint16_t* x_low, float* y) {
  const LowRankProducts of = {.number = args.number, .per_row = 1};
  low_rank_sums(encoder, step, of, {.x = x, .x_low = x_low, .in = args.in, .rows = args.rows});
  low_rank_add(encoder, step, of, args.out, nullptr, y);
}

size_t low_rank_sums_bytes(int tokens, int rows, int top_k) {
  const size_t of_tokens = size_t(tokens) * size_t(std::max(top_k, 3));
  return std::max(of_tokens, size_t(rows)) * kMostLowRank * sizeof(float);
}

size_t low_rank_terms_bytes(int tokens, int qkv_outputs, int top_k, int intermediate) {
  const size_t of_token = std::max(size_t(qkv_outputs), size_t(top_k) * 2 * size_t(intermediate));
  return size_t(tokens) * of_token * sizeof(float);
}

}  // namespace oss::metal
