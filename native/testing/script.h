// A completion that is written in advance, for tests of the code around a model: lib/testing/script.ts makes it.
#pragma once
#include <utility>
#include <vector>

#include "native/engine/author.h"

namespace oss {

class Script final : public Author {
 public:
  // Choice i writes choices[i % choices.size()]. check() refuses an empty list, and empty lists in it.
  explicit Script(std::vector<std::vector<int32_t>> choices) : choices_(std::move(choices)) {}

  void check(int64_t vocab) const override;
  std::optional<int32_t> token(int choice, int64_t position) const override;
  std::optional<Error> refusal(int choice, int64_t position, const grammar::TokenMask& allowed) const override;

 private:
  const std::vector<int32_t>& of(int choice) const { return choices_[size_t(choice) % choices_.size()]; }

  std::vector<std::vector<int32_t>> choices_;
};

}  // namespace oss
