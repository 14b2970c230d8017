// Whole models against the golden set, for backends with bf16 activations and float32 sums.
//
// Tolerances are the `require` column of test/golden/README.md for such backends. They hold at every position except
// where such an engine may choose another fourth expert. In the oracle, rounding each q, k, v, p and operand of the
// matrices to bf16 changes the router's logits of model a by 0.012 (rms). The choice is arbitrary where the fourth and
// the fifth expert are closer than 2.5 times that, times √2 for the difference. There the logits jump by a quarter of
// their size.
#pragma once
#include <algorithm>
#include <cmath>
#include <optional>

#include "native/loader/safetensors.h"
#include "test/native/engine_harness.h"

namespace oss::test {

struct Golden {
  std::vector<int32_t> tokens, positions, greedy;
  std::vector<double> logits, margin;
  std::vector<double> router_gap;  // [positions] the smallest of all layers
  size_t vocab;
};

template <typename T>
std::vector<T> values(const SafetensorsFile& file, const std::string& name) {
  const HostTensor& tensor = file.tensors.at(name);
  return {tensor.as<T>(), tensor.as<T>() + tensor.elements()};
}

inline Golden golden_case(const std::string& name) {
  const SafetensorsFile file = read_safetensors(source_path("test/golden/cases/" + name + ".safetensors"));
  const std::vector<double> gaps = values<double>(file, "router_gap");  // [layers, positions]
  const size_t positions = size_t(file.tensors.at("positions").elements());
  std::vector<double> least(gaps.begin(), gaps.begin() + ptrdiff_t(positions));
  for (size_t i = 0; i < gaps.size(); ++i) least[i % positions] = std::min(least[i % positions], gaps[i]);
  return {.tokens = values<int32_t>(file, "tokens"),
          .positions = values<int32_t>(file, "positions"),
          .greedy = values<int32_t>(file, "greedy_tokens"),
          .logits = values<double>(file, "logits_f64"),
          .margin = values<double>(file, "greedy_margin"),
          .router_gap = std::move(least),
          .vocab = size_t(file.tensors.at("logits_f64").shape[1])};
}

inline std::vector<float> logits_of(Harness& harness, uint64_t id, const std::vector<int32_t>& tokens, int64_t last) {
  Request r = request(id, tokens, 0);
  r.logits_last = last;
  harness.submit(std::move(r));
  harness.wait_for_ends(harness.ended() + 1);
  return harness.outcomes[id].logits;
}

constexpr double kMaxRel = 4e-2, kRmsRel = 2e-2;
constexpr double kNearTie = 2.5 * 1.4142 * 0.012;

struct Deviation {
  double max_rel = 0, rms_rel = 0;
  int tossed = 0;  // positions left out, where the router was near a tie and the logits are far off
};

// Over the stored positions: max |x - ref| / max |ref|, rms(x - ref) / rms(ref).
inline Deviation deviation(const Golden& golden, const std::vector<float>& logits, int32_t first, double max_rel) {
  const double largest = std::abs(*std::ranges::max_element(golden.logits, {}, [](double x) { return std::abs(x); }));
  double most = 0, squares = 0, of_reference = 0;
  Deviation found;
  for (size_t p = 0; p < golden.positions.size(); ++p) {
    double here = 0, squares_here = 0, reference_here = 0;
    for (size_t v = 0; v < golden.vocab; ++v) {
      const double reference = golden.logits[p * golden.vocab + v];
      const double error = logits[size_t(golden.positions[p] - first) * golden.vocab + v] - reference;
      here = std::max(here, std::abs(error));
      squares_here += error * error;
      reference_here += reference * reference;
    }
    if (golden.router_gap[p] < kNearTie && here > max_rel * largest) {
      ++found.tossed;
      continue;
    }
    most = std::max(most, here);
    squares += squares_here;
    of_reference += reference_here;
  }
  found.max_rel = most / largest;
  found.rms_rel = std::sqrt(squares / of_reference);
  return found;
}

constexpr const char* kGoldenCases[] = {"a.short", "a.window", "b.short", "c.short", "c.window"};

// Compares with the golden tokens up to the first token that was near a tie.
inline void check_greedy(const std::string& name, const Golden& golden, const std::vector<int32_t>& tokens,
                         double tolerance) {
  double largest = 0;
  for (const double logit : golden.logits) largest = std::max(largest, std::abs(logit));
  CHECK_EQ(tokens.size(), golden.greedy.size());
  for (size_t i = 0; i < std::min(tokens.size(), golden.greedy.size()); ++i) {
    if (tokens[i] == golden.greedy[i]) continue;
    if (golden.margin[i] > tolerance * largest) {
      fail(__FILE__, __LINE__,
           str(name, ": greedy token ", i, " is ", tokens[i], ", not ", golden.greedy[i], ", margin ",
               golden.margin[i]));
    }
    return;
  }
}

// options: of the backend.
inline void check_golden(EngineOptions options, const std::string& name, std::optional<KvType> type, double max_rel,
                         double rms_rel) {
  options.kv_type = type;
  Harness harness(options, name.substr(0, 1).c_str());
  const Golden want = golden_case(name);
  const int32_t first = want.positions.front();
  const std::vector<float> logits = logits_of(harness, 1, want.tokens, int64_t(want.tokens.size()) - first);
  const Deviation found = deviation(want, logits, first, max_rel);
  CHECK(found.tossed <= 1);
  if (!(found.max_rel <= max_rel && found.rms_rel <= rms_rel)) {
    fail(__FILE__, __LINE__,
         str(name, ": max_rel ", found.max_rel, " (", max_rel, "), rms_rel ", found.rms_rel, " (", rms_rel, ")"));
  }
  harness.submit(request(2, want.tokens, int64_t(want.greedy.size())));
  harness.wait_for_ends(2);
  check_greedy(name, want, harness.outcomes[2].tokens, max_rel);
}

}  // namespace oss::test
