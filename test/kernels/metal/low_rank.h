// Adapters with random factors on a Metal device.
#pragma once
#include <memory>

#include "test/kernels/gpu/low_rank.h"
#include "test/kernels/metal/support.h"

namespace oss::test {

class MetalStepAdapters {
 public:
  // sums, terms: the floats that the step needs for each row.
  MetalStepAdapters(MetalDevice& device, const StepAdapters& adapters, size_t sums, size_t terms)
      : sums_(device, adapters.of_token.size() * sums), terms_(device, adapters.of_token.size() * terms) {
    const std::vector<int>& of_row = adapters.of_token;
    std::vector<int32_t> place(of_row.size(), -1), lists;
    for (int a = 0; a < int(adapters.terms.size()); ++a) {
      const int first = int(lists.size());
      for (size_t row = 0; row < of_row.size(); ++row) {
        if (of_row[row] != a) continue;
        place[row] = int32_t(lists.size());
        lists.push_back(int32_t(row));
      }
      const int count = int(lists.size()) - first;
      if (count > 0) add(device, adapters.terms[size_t(a)], first, count, lists[size_t(first)], lists.back());
    }
    place_ = std::make_unique<MetalArray<int32_t>>(device, place);
    lists_ = std::make_unique<MetalArray<int32_t>>(device, lists);
    for (metal::RowsOfAdapter& rows : rows_) rows.rows = lists_->data() + rows.first;
  }
  metal::LowRankStep step() const { return {rows_, 0, place_->data(), sums_.data(), terms_.data()}; }

 private:
  void add(MetalDevice& device, const std::vector<Term>& terms, int first, int count, int first_row, int last_row) {
    std::vector<LowRankTerm> table;
    std::vector<float> factors;  // those of A first: they are aligned to 16 bytes
    for (const Term& term : terms) {
      table.push_back({.a = factors.size(), .b = 0, .rank = term.rank, .scale = term.scale});
      factors.insert(factors.end(), term.a.begin(), term.a.end());
    }
    for (size_t i = 0; i < terms.size(); ++i) {
      table[i].b = factors.size();
      factors.insert(factors.end(), terms[i].b.begin(), terms[i].b.end());
    }
    const auto& on_device = factors_.emplace_back(std::make_unique<MetalArray<uint16_t>>(device, to_bf16(factors)));
    const auto& there = tables_.emplace_back(std::make_unique<MetalArray<LowRankTerm>>(device, table));
    rows_.push_back({.terms = there->data(),
                     .factors = on_device->data(),
                     .count_factors = factors.size(),
                     .rows = nullptr,
                     .first = first,
                     .count = count,
                     .first_row = first_row,
                     .last_row = last_row});
  }

  MetalArray<float> sums_, terms_;
  std::vector<std::unique_ptr<MetalArray<uint16_t>>> factors_;
  std::vector<std::unique_ptr<MetalArray<LowRankTerm>>> tables_;
  std::unique_ptr<MetalArray<int32_t>> place_, lists_;
  std::vector<metal::RowsOfAdapter> rows_;
};

}  // namespace oss::test
