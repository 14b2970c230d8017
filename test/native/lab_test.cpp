// The lab's own reference: it accepts what kernels compute, and finds one wrong element in any result.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <set>

#include "kernels/common/synthetic.h"
#include "native/lab/lab.h"
#include "native/lab/random_operands.h"
#include "native/lab/reference.h"
#include "test/kernels/support.h"
#include "test/native/check.h"

namespace oss::test {
namespace {

using lab::Arguments;
using lab::Array;
using lab::Lab;
using lab::Outputs;

Array floats(size_t n, uint32_t seed, float scale = 1) {
  return lab::array_of(DType::kF32, std::span<const float>(random_floats(n, seed, scale)));
}
Array bf16(size_t n, uint32_t seed, float scale = 1) {
  return lab::array_of(DType::kBF16, std::span<const uint16_t>(random_bf16(n, seed, scale)));
}
Array bytes(size_t n, uint32_t seed, int least, int most) {
  return lab::array_of(DType::kU8, std::span<const uint8_t>(random_bytes(n, seed, least, most)));
}
Array integers(std::vector<int32_t> values) { return lab::array_of(DType::kI32, std::span<const int32_t>(values)); }

std::vector<Arguments> problems() {
  const auto make = [](const char* name, std::map<std::string, double> numbers, std::map<std::string, Array> arrays) {
    Arguments out;
    out.operation = name;
    out.numbers = std::move(numbers);
    out.arrays = std::move(arrays);
    return out;
  };
  std::vector<Arguments> all;
  all.push_back(
      make("embed", {{"vocab", 20}, {"hidden", 32}}, {{"table", bf16(640, 1)}, {"tokens", integers({3, 19, 0})}}));
  all.push_back(make("rmsNorm", {{"rows", 3}, {"hidden", 32}}, {{"x", floats(96, 2)}, {"weight", floats(32, 3)}}));
  all.push_back(
      make("linear", {{"rows", 3}, {"in", 64}, {"out", 32}},
           {{"x", floats(192, 4)}, {"weight", bf16(2048, 5)}, {"bias", floats(32, 6)}, {"residual", floats(96, 7)}}));
  all.push_back(
      make("linear", {{"rows", 3}, {"in", 64}, {"out", 32}}, {{"x", bf16(192, 4)}, {"weight", bf16(2048, 5)}}));
  all.back().words = {{"precision", "high"}};
  all.push_back(
      make("lmHead", {{"rows", 2}, {"hidden", 64}, {"vocab", 50}}, {{"x", floats(128, 8)}, {"weight", bf16(3200, 9)}}));
  all.push_back(make("qkv", {{"tokens", 3}, {"hidden", 64}, {"heads", 2}, {"kvHeads", 1}},
                     {{"x", floats(192, 10)},
                      {"qWeight", bf16(128 * 64, 11)},
                      {"kWeight", bf16(64 * 64, 12)},
                      {"vWeight", bf16(64 * 64, 13)},
                      {"qBias", floats(128, 14)},
                      {"kBias", floats(64, 15)},
                      {"vBias", floats(64, 16)},
                      {"positions", integers({70, 3, 2})}}));
  all.push_back(make("attention", {{"tokens", 3}, {"keys", 150}, {"heads", 4}, {"kvHeads", 2}, {"window", 70}},
                     {{"q", floats(3 * 256, 17, 2)},
                      {"k", floats(150 * 128, 18)},
                      {"v", floats(150 * 128, 19)},
                      {"sinks", floats(4, 20)},
                      {"lengths", integers({100, 50})},
                      {"sequence", integers({0, 0, 1})}}));
  all.push_back(make("router", {{"tokens", 3}, {"experts", 8}, {"topK", 4}}, {{"logits", floats(24, 21, 3)}}));
  all.push_back(make("experts", {{"tokens", 2}, {"hidden", 64}, {"intermediate", 32}, {"experts", 3}, {"topK", 2}},
                     {{"x", floats(128, 22)},
                      {"index", integers({0, 2, 1, 0})},
                      {"weight", floats(4, 23)},
                      {"gateUpBlocks", bytes(3 * 64 * 2 * 16, 24, 0, 255)},
                      {"gateUpScales", bytes(3 * 64 * 2, 25, 121, 124)},
                      {"gateUpBias", floats(3 * 64, 26)},
                      {"downBlocks", bytes(3 * 64 * 16, 27, 0, 255)},
                      {"downScales", bytes(3 * 64, 28, 121, 124)},
                      {"downBias", floats(3 * 64, 29)}}));
  all.push_back(make("sample", {{"rows", 2}, {"vocab", 40}, {"temperature", 0}}, {{"logits", floats(80, 30, 3)}}));
  all.push_back(make("swiglu", {{"rows", 2}, {"intermediate", 16}}, {{"x", floats(64, 31, 9)}}));
  all.push_back(make("mxfp4Dequantize", {{"rows", 2}, {"cols", 64}},
                     {{"blocks", bytes(64, 32, 0, 255)}, {"scales", bytes(4, 33, 120, 130)}}));
  all.push_back(
      make("mxfp4Gemm", {{"rows", 2}, {"in", 64}, {"out", 32}},
           {{"x", floats(128, 34)}, {"blocks", bytes(32 * 32, 35, 0, 255)}, {"scales", bytes(64, 36, 121, 124)}}));
  return all;
}

// The result with another value at element i: five percent of the largest, or the next number.
Outputs with_error(const Outputs& outputs, const std::string& name, size_t i, bool nan) {
  Outputs wrong = outputs;
  Array& array = wrong.at(name);
  if (array.dtype == DType::kI32) {
    auto* value = reinterpret_cast<int32_t*>(array.host.data()) + i;
    *value += 1;
  } else {
    auto* values = reinterpret_cast<float*>(array.host.data());
    float largest = 0;
    for (size_t j = 0; j < array.elements; ++j) largest = std::max(largest, std::fabs(values[j]));
    values[i] = nan ? NAN : values[i] + 0.05f * largest;
  }
  return wrong;
}

TEST("lab: the reference accepts every kernel, and finds one wrong element") {
  for (const char* numerics : {"exact", "fast"}) {
    if (std::strcmp(numerics, "fast") == 0 && cpu::available_bf16_kernels().empty()) continue;
    Lab lab({.backend = "cpu", .threads = 2, .numerics = numerics});
    const std::vector<std::string> known = lab.operations();
    size_t checked = 0;
    for (const Arguments& problem : problems()) {
      if (std::ranges::find(known, problem.operation) == known.end()) continue;
      ++checked;
      const auto operation = lab.prepare(problem);
      lab.run(*operation);
      const Outputs outputs = operation->outputs();
      const lab::Comparison right = compare(lab, problem, outputs);
      if (!(right.worst < 1) || right.values == 0)
        fail(__FILE__, __LINE__, str(numerics, " ", problem.operation, ": ", right.worst, " at ", right.where));
      for (const auto& [name, array] : outputs) {
        for (const size_t i : {size_t(0), array.elements / 2, array.elements - 1}) {
          for (const bool nan : {false, true}) {
            const lab::Comparison found = compare(lab, problem, with_error(outputs, name, i, nan));
            if (!(found.worst > 1))
              fail(__FILE__, __LINE__,
                   str(numerics, " ", problem.operation, ": a wrong ", name, "[", i, "] was not found: ", found.where));
          }
        }
      }
    }
    CHECK_EQ(checked, known.size() + 1);  // linear twice
  }
}

TEST("lab: what an operation does not write is NaN") {
  Lab lab({.backend = "cpu", .threads = 1, .numerics = "exact"});
  const auto operation = lab.prepare(problems()[1]);
  const Outputs outputs = operation->outputs();  // before any run
  for (const float value : outputs.at("output").as<float>()) CHECK(std::isnan(value));
}

TEST("lab: copies of the weights take as much memory as was asked for, and give the same bits") {
  CHECK_EQ(lab::copies_for(0, 100), size_t(1));
  CHECK_EQ(lab::copies_for(10, 0), size_t(1));
  CHECK_EQ(lab::copies_for(10, 101), size_t(11));
  CHECK_EQ(lab::copies_for(1, 1 << 30), size_t(4096));
  Lab lab({.backend = "cpu", .threads = 1, .numerics = "exact"});
  const Arguments problem = problems()[3];
  const auto operation = lab.prepare(problem, 3 * 2048 * 2);
  CHECK_EQ(operation->weights.copies(), size_t(3));
  CHECK(operation->weights.matrix(0, 0).data != operation->weights.matrix(2, 0).data);
  lab.run(*operation, 0);
  const std::vector<std::byte> first = operation->outputs().at("output").host;
  for (const size_t call : {1, 2, 3, 7}) {
    lab.run(*operation, call);
    CHECK(operation->outputs().at("output").host == first);
  }
}

TEST("lab: random choices are of different experts, and each draw has as many of them") {
  Lab lab({.backend = "cpu", .threads = 1, .numerics = "exact"});
  for (const auto& [tokens, experts, top_k, draws] :
       {std::array{1, 32, 4, 64}, std::array{20, 32, 4, 64}, std::array{3, 2, 2, 64}, std::array{65536, 128, 4, 4}}) {
    Arguments of;
    of.operation = "experts";
    of.numbers = {{"tokens", tokens}, {"experts", experts}, {"topK", top_k}};
    of.arrays["index"] = {};
    lab::make_random(lab, of, "index", lab::RandomKind::kChoices);
    CHECK_EQ(int(of.numbers.at("draws")), draws);
    const auto chosen = of.arrays.at("index").as<int32_t>();
    CHECK_EQ(chosen.size(), size_t(draws) * size_t(tokens) * size_t(top_k));
    for (size_t at = 0; at < chosen.size(); at += size_t(top_k)) {
      const auto token = chosen.subspan(at, size_t(top_k));
      CHECK_EQ(std::set<int32_t>(token.begin(), token.end()).size(), size_t(top_k));
      CHECK(std::ranges::min(token) >= 0 && std::ranges::max(token) < experts);
    }
    std::set<size_t> counts;
    const size_t draw = chosen.size() / size_t(draws);
    for (size_t at = 0; at < chosen.size(); at += draw)
      counts.insert(std::set<int32_t>(chosen.begin() + ptrdiff_t(at), chosen.begin() + ptrdiff_t(at + draw)).size());
    CHECK_EQ(counts.size(), size_t(1));
  }
}

TEST("lab: random floats and tokens have their size and range") {
  Lab lab({.backend = "cpu", .threads = 1, .numerics = "exact"});
  Arguments of;
  of.operation = "embed";
  of.numbers = {{"vocab", 7}};
  const size_t count = (1 << 20) + 5;  // more than a slice
  of.arrays["x"] = {.dtype = DType::kBF16, .elements = count, .host = {}};
  of.arrays["x"].synthetic = SyntheticSource{.kind = kSyntheticNormal, .key = 5, .scale = 2};
  of.arrays["tokens"] = {.dtype = DType::kI32, .elements = count, .host = {}};
  lab::make_random(lab, of, "x", lab::RandomKind::kFloats);
  lab::make_random(lab, of, "tokens", lab::RandomKind::kTokens);
  double squares = 0;
  for (const float value : of.arrays.at("x").as<float>()) squares += double(value) * value;
  CHECK(std::fabs(squares / double(count) / 4 - 1) < 0.02);
  std::vector<size_t> seen(7);
  for (const int32_t token : of.arrays.at("tokens").as<int32_t>()) ++seen.at(size_t(token));
  CHECK(std::ranges::min(seen) > count / 8 && std::ranges::max(seen) < count / 6);
}

TEST("lab: synthetic weights are those of any device") {
  Lab lab({.backend = "cpu", .threads = 1, .numerics = "exact"});
  Arguments problem = problems()[3];
  Array& weight = problem.arrays.at("weight");
  weight.host.clear();
  weight.synthetic = SyntheticSource{.kind = kSyntheticNormal, .key = 5, .scale = 1};
  const auto operation = lab.prepare(problem);
  lab.run(*operation);
  CHECK(compare(lab, problem, operation->outputs()).worst < 1);
  const uint64_t word = synthetic_normal_word(5, 0, 1);
  CHECK_EQ(operation->weights.matrix(0, 0).data[0], uint16_t(word));
}

}  // namespace
}  // namespace oss::test
