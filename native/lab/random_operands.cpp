#include "native/lab/random_operands.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "native/lab/on_device.h"

namespace oss::lab {
namespace {

// The same numbers in every run, and on every platform: distributions of the standard library differ.
class Random {
 public:
  int below(int bound) { return int(uint64_t(engine_()) * uint64_t(bound) >> 32); }

 private:
  std::mt19937 engine_{1};
};

Array widened(Lab& lab, const Array& from) {
  Array out = {.dtype = DType::kF32, .elements = from.elements, .host = {}};
  out.host.resize(out.bytes());
  auto* values = reinterpret_cast<float*>(out.host.data());
  constexpr size_t kSlice = 1 << 20;  // a copy in bf16 of this size is all that it needs beside
  for (size_t first = 0; first < from.elements; first += kSlice)
    read_floats(lab, from, first, std::span(values + first, std::min(kSlice, from.elements - first)));
  return out;
}

Array tokens(size_t count, int vocab) {
  Random random;
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = random.below(vocab);
  return array_of(DType::kI32, std::span<const int32_t>(ids));
}

// Different experts for each token. Each draw has the expected number of different experts, so that all do the same
// work. The first token takes its experts from a deck that goes round, so that a single token uses all experts before it
// uses one again.
Array choices(int draws, int tokens, int experts, int top_k) {
  Random random;
  std::vector<int32_t> all(static_cast<size_t>(experts));
  std::iota(all.begin(), all.end(), 0);
  const auto shuffle = [&](int count) {  // so that the first `count` are a random choice
    for (int i = 0; i < count; ++i) std::swap(all[size_t(i)], all[size_t(i + random.below(experts - i))]);
  };
  shuffle(experts);
  const std::vector<int32_t> deck = all;
  const int expected = int(std::lround(experts * (1 - std::pow(1 - double(top_k) / experts, tokens))));
  const size_t size = size_t(tokens) * size_t(top_k);
  std::vector<int32_t> out(size_t(draws) * size);
  std::vector<int> last_try(size_t(experts), -1);  // that chose the expert
  int number = 0;                                  // of the try, over all draws
  for (int draw = 0; draw < draws; ++draw) {
    int32_t* const chosen = out.data() + size_t(draw) * size;
    for (int tries = 0; tries < 1000; ++tries, ++number) {
      int distinct = 0;
      for (size_t i = 0; i < size; ++i) {
        const size_t k = i % size_t(top_k);
        if (k == 0 && i > 0) shuffle(top_k);
        chosen[i] = i < size_t(top_k) ? deck[(size_t(draw) * size_t(top_k) + k) % size_t(experts)] : all[k];
        distinct += std::exchange(last_try[size_t(chosen[i])], number) != number;
      }
      if (distinct == expected) break;
    }
  }
  return array_of(DType::kI32, std::span<const int32_t>(out));
}

Array choices_of(Arguments& of) {
  const int tokens = of.count("tokens", 1, 1 << 16), experts = of.count("experts", 1, 1024),
            top_k = of.count_or("topK", std::min(4, experts), 1, experts);
  // Many tokens use every expert in each draw: then one draw is as good as another.
  constexpr int kMostDraws = 64, kMostChoices = 1 << 20;
  const int draws = int(std::clamp<int64_t>(kMostChoices / (int64_t(tokens) * top_k), 1, kMostDraws));
  of.numbers["draws"] = draws;
  return choices(draws, tokens, experts, top_k);
}

}  // namespace

void make_random(Lab& lab, Arguments& arguments, const std::string& name, RandomKind kind) {
  Array& array = arguments.arrays.at(name);
  switch (kind) {
    case RandomKind::kFloats:
      array = widened(lab, array);
      break;
    case RandomKind::kTokens:
      array = tokens(array.elements, arguments.count("vocab"));
      break;
    case RandomKind::kChoices:
      array = choices_of(arguments);
      break;
  }
}

}  // namespace oss::lab
