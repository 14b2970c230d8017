// The router's choice on a GPU: logits, the choice in double, the comparisons.
#pragma once
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "test/kernels/gpu/values.h"

namespace oss::test {

// Memory past the tokens is poison.
struct RouterChoice {
  std::vector<int32_t> index;
  std::vector<float> weight;
};

struct RouterProblem {
  int tokens, experts, top_k;
  std::vector<float> logits;   // [tokens, experts]
  std::vector<int32_t> index;  // [tokens, top_k]
  std::vector<double> weight;

  void check_index(const std::string& what, const RouterChoice& got) const {
    for (size_t i = 0; i < index.size(); ++i) {
      if (got.index[i] != index[i])
        return fail(__FILE__, __LINE__, str(what, ": choice ", i, " is ", got.index[i], ", not ", index[i]));
    }
    for (size_t i = index.size(); i < got.index.size(); ++i) {
      if (!is_poison(got.index[i]) || !is_poison(got.weight[i]))
        return fail(__FILE__, __LINE__, str(what, ": wrote past the tokens, at ", i));
    }
  }
  // tolerance: relative to a token's largest weight
  void check(const std::string& what, const RouterChoice& got, double tolerance) const {
    check_index(what, got);
    for (size_t at = 0; at < index.size(); at += size_t(top_k))
      CHECK_CLOSE(what, got.weight.data() + at, weight.data() + at, size_t(top_k), 0, tolerance);
  }
};

// "plain" or "ties"
inline RouterProblem golden_router(const std::string& name) {
  const SafetensorsFile file = golden("router");
  const HostTensor &logits = file.tensors.at(name), &index = file.tensors.at(name + "_index");
  return {int(logits.shape[0]),
          int(logits.shape[1]),
          int(index.shape[1]),
          floats(logits),
          {index.as<int32_t>(), index.as<int32_t>() + index.elements()},
          doubles(file.tensors.at(name + "_weight"))};
}

// The softmax over the chosen experts in double; sorting makes the choice. Some logits are equal or infinite.
inline RouterProblem random_router(int tokens, int experts, int top_k) {
  RouterProblem p = {tokens, experts, top_k, exact_values(size_t(tokens) * experts, 5, 3), {}, {}};
  for (size_t i = 0; i < p.logits.size(); i += 7) p.logits[i] = i % 2 == 0 ? 0.0f : -0.0f;
  if (experts == 128) p.logits[3] = -INFINITY;
  if (experts == 40) std::fill(p.logits.begin() + 4, p.logits.begin() + 30, -INFINITY);  // some must be chosen
  if (experts == 6) std::ranges::fill(p.logits, 2.5f);
  for (int t = 0; t < tokens; ++t) {
    const float* of_token = p.logits.data() + size_t(t) * experts;
    std::vector<int32_t> order;
    for (int e = 0; e < experts; ++e) order.push_back(e);
    std::ranges::stable_sort(order, [&](int a, int b) { return of_token[a] > of_token[b]; });
    order.resize(size_t(top_k));
    double total = 0;
    for (const int e : order) total += std::exp(double(of_token[e]) - of_token[order[0]]);
    for (const int e : order) p.weight.push_back(std::exp(double(of_token[e]) - of_token[order[0]]) / total);
    p.index.insert(p.index.end(), order.begin(), order.end());
  }
  return p;
}

}  // namespace oss::test
