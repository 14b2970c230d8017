#include "native/checkpoint/synthetic.h"

#include "native/base/synthetic_tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

#include "kernels/common/mxfp4.h"
#include "kernels/common/synthetic.h"
#include "native/loader/scales.h"
#include "native/model/weight_sums.h"
#include "native/model/weights.h"
#include "test/native/check.h"

namespace oss {
namespace {

constexpr uint64_t kKey = 0x0123456789ABCDEFu;

HostTensor source(int kind, float scale, uint64_t key = kKey) {
  HostTensor tensor;
  tensor.synthetic = {.kind = kind, .key = key, .scale = scale};
  return tensor;
}

template <typename T>
std::vector<T> values(const HostTensor& tensor, size_t count) {
  std::vector<T> out(count);
  synthesize(tensor, 0, count * sizeof(T), out.data());
  return out;
}

uint64_t fnv1a(const std::vector<uint8_t>& bytes) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001B3u;
  return hash;
}

// A change of these numbers makes other models with the same name: earlier and later measurements are not comparable.
TEST("synthetic: the first bytes of each kind never change") {
  CHECK_EQ(fnv1a(values<uint8_t>(source(kSyntheticNormal, 0.0186f), 4096)), 6910583335301490463u);
  CHECK_EQ(fnv1a(values<uint8_t>(source(kSyntheticNorm, 0.15f), 4096)), 2511888811537376918u);
  CHECK_EQ(fnv1a(values<uint8_t>(source(kSyntheticCodes, 0), 4096)), 15411489767289176212u);
  CHECK_EQ(fnv1a(values<uint8_t>(source(kSyntheticScales, 0.0186f), 4096)), 6406249628819177301u);
  const auto tiny = synthetic_checkpoint("synthetic:tiny?seed=7");
  CHECK_EQ(fnv1a(values<uint8_t>(tiny->tensor("model.layers.1.self_attn.q_proj.weight"), 4096)), 3600070084692113404u);
}

TEST("synthetic: any part of a tensor equals that part of the whole") {
  for (const int kind : {kSyntheticNormal, kSyntheticNorm, kSyntheticCodes, kSyntheticScales}) {
    const HostTensor tensor = source(kind, 0.02f);
    const std::vector<uint8_t> whole = values<uint8_t>(tensor, 100);
    for (size_t first = 0; first < 20; ++first) {
      for (size_t bytes = 0; bytes < 40; ++bytes) {
        std::vector<uint8_t> part(bytes + 1, 0xCD);
        synthesize(tensor, first, bytes, part.data());
        CHECK(std::memcmp(part.data(), whole.data() + first, bytes) == 0 && part[bytes] == 0xCD);
      }
    }
  }
}

struct Moments {
  double mean = 0, deviation = 0, kurtosis = 0, neighbours = 0;  // the last: correlation of adjacent elements
};
Moments moments(const std::vector<double>& x) {
  const double n = double(x.size());
  Moments m;
  for (const double value : x) m.mean += value / n;
  double second = 0, fourth = 0, product = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = x[i] - m.mean;
    second += d * d / n;
    fourth += d * d * d * d / n;
    if (i > 0) product += d * (x[i - 1] - m.mean) / n;
  }
  m.deviation = std::sqrt(second);
  m.kurtosis = fourth / (second * second);
  m.neighbours = product / second;
  return m;
}

// n = 2^18: a mean is off by 1/512 of a deviation, a correlation by as much; bounds are five of those.
TEST("synthetic: weights are about normal, with the given deviation") {
  for (const auto& [kind, mean, scale] :
       {std::tuple(kSyntheticNormal, 0.0, 0.0186f), std::tuple(kSyntheticNorm, 1.0, 0.15f)}) {
    std::vector<double> x;
    for (const uint16_t bits : values<uint16_t>(source(kind, scale), 1 << 18)) x.push_back(double(bf16_to_f32(bits)));
    const Moments m = moments(x);
    CHECK(std::fabs(m.mean - mean) < 0.01 * scale);
    CHECK(std::fabs(m.deviation / scale - 1) < 0.01);
    CHECK(std::fabs(m.kurtosis - 2.85) < 0.05);
    CHECK(std::fabs(m.neighbours) < 0.01);
  }
}

TEST("synthetic: codes are uniform, and codes times scales have the given rms") {
  constexpr size_t kBlocks = 1 << 15;
  for (const float scale : {0.0186f, 0.05f, 0.125f, 0.0441942f, 1.0f}) {
    const std::vector<uint8_t> codes = values<uint8_t>(source(kSyntheticCodes, 0), kBlocks * kMxBlockBytes);
    const std::vector<uint8_t> scales = values<uint8_t>(source(kSyntheticScales, scale, kKey + 1), kBlocks);
    std::vector<int> count(16);
    double sum = 0, squares = 0;
    uint8_t least = 255, greatest = 0;
    for (size_t block = 0; block < kBlocks; ++block) {
      least = std::min(least, scales[block]);
      greatest = std::max(greatest, scales[block]);
      for (size_t i = 0; i < kMxBlock; ++i) {
        const uint32_t code = (codes[block * kMxBlockBytes + i / 2] >> (4 * (i % 2))) & 15u;
        const double value = double(e2m1_times2(code)) * double(e8m0_half(scales[block]));
        ++count[code];
        sum += value;
        squares += value * value;
      }
    }
    const double n = kBlocks * kMxBlock;
    for (const int c : count) CHECK(std::fabs(c - n / 16) < 5 * std::sqrt(n / 16));
    CHECK(std::fabs(sum / n) < 0.01 * scale);
    CHECK(std::fabs(std::sqrt(squares / n) / scale - 1) < 0.02);  // steps of 1/64 in the mixture
    CHECK(greatest - least <= 2);
    CHECK(least >= kLeastScale && greatest <= 128);  // what every backend decodes
  }
}

TEST("synthetic: the released models have their shapes and sizes") {
  const auto big = open_checkpoint("synthetic:120b"), mid = open_checkpoint("synthetic:20b?seed=5");
  CHECK_EQ(big->layout, "synthetic");
  CHECK_EQ(big->path, "synthetic:120b");
  CHECK_EQ(parameters(big->config), int64_t(116829156672));  // 116.8 and 20.9 billion, as the model card says
  CHECK_EQ(parameters(mid->config), int64_t(20914757184));
  CHECK_EQ(big->tensors.size(), weight_specs(big->config).size());
  CHECK_EQ(big->file_bytes, uint64_t(65248815744));
  CHECK_EQ(mid->file_bytes, uint64_t(13761264768));
  CHECK(mid->files.empty());
  CHECK(mid->config.layer_sliding[0] && !mid->config.layer_sliding[1] && mid->config.window_of(2) == 128);
  for (const char* path : {"synthetic:120b", "synthetic:20b", "synthetic:small", "synthetic:tiny"}) {
    const auto checkpoint = open_checkpoint(path);
    check_weights(weight_specs(checkpoint->config), checkpoint->tensors, path);
    for (const auto& [name, tensor] : checkpoint->tensors) {
      CHECK(tensor.data == nullptr && tensor.synthetic.has_value());
      CHECK_EQ(tensor.bytes, size_t(tensor.elements()) * dtype_bytes(tensor.dtype));
    }
  }
  CHECK(open_checkpoint("synthetic:small")->file_bytes < 500'000'000);
  CHECK(open_checkpoint("synthetic:tiny")->file_bytes < 1'000'000);
}

TEST("synthetic: each tensor and each seed has different bytes") {
  const auto one = synthetic_checkpoint("synthetic:tiny"), same = synthetic_checkpoint("synthetic:tiny?seed=1"),
             other = synthetic_checkpoint("synthetic:tiny?seed=2");
  const char* name = "model.layers.0.mlp.experts.down_proj_blocks";
  const std::vector<uint8_t> bytes = values<uint8_t>(one->tensor(name), 256);
  CHECK(bytes == values<uint8_t>(same->tensor(name), 256));
  CHECK(bytes != values<uint8_t>(other->tensor(name), 256));
  CHECK(bytes != values<uint8_t>(one->tensor("model.layers.1.mlp.experts.down_proj_blocks"), 256));
}

// The share of pairs for the four most loaded of 32 experts, with router logits that are normal over tokens.
double share_of_four(const Checkpoint& checkpoint) {
  constexpr size_t kTokens = 2000, kTop = 4;
  const size_t experts = size_t(checkpoint.config.num_experts);
  const std::vector<uint16_t> bias = values<uint16_t>(checkpoint.tensor("model.layers.0.mlp.router.bias"), experts);
  const std::vector<uint16_t> noise = values<uint16_t>(source(kSyntheticNormal, 1), kTokens * experts);
  std::vector<int> load(experts);
  for (size_t t = 0; t < kTokens; ++t) {
    std::vector<std::pair<float, size_t>> logits;
    for (size_t e = 0; e < experts; ++e)
      logits.push_back({bf16_to_f32(noise[t * experts + e]) + bf16_to_f32(bias[e]), e});
    std::sort(logits.rbegin(), logits.rend());
    for (size_t k = 0; k < kTop; ++k) ++load[logits[k].second];
  }
  std::sort(load.rbegin(), load.rend());
  return double(load[0] + load[1] + load[2] + load[3]) / (kTokens * kTop);
}

TEST("synthetic: skew loads some experts more than others") {
  const double even = share_of_four(*synthetic_checkpoint("synthetic:20b"));
  const double one = share_of_four(*synthetic_checkpoint("synthetic:20b?skew=1"));
  const double four = share_of_four(*synthetic_checkpoint("synthetic:20b?seed=1&skew=4"));
  CHECK(even > 0.12 && even < 0.16);
  CHECK(one > 0.38 && one < 0.58);
  CHECK(four > 0.7 && four < 0.95);
}

TEST("synthetic: unknown names and parameters") {
  CHECK_THROWS(Code::kModelNotFound, "expected synthetic:120b, synthetic:20b", open_checkpoint("synthetic:7b"));
  CHECK_THROWS(Code::kModelNotFound, "found \"synthetic:\"", open_checkpoint("synthetic:?seed=1"));
  const std::pair<const char*, const char*> wrong[] = {
      {"seed=", "seed: expected an integer in [0, 2^64 - 1], found \"\""},
      {"seed=-1", "found \"-1\""},
      {"seed=1x", "found \"1x\""},
      {"seed=18446744073709551616", "found \"18446744073709551616\""},
      {"skew=-0.5", "skew: expected a number in [0, 100], found \"-0.5\""},
      {"skew=nan", "found \"nan\""},
      {"skew=101", "found \"101\""},
      {"seed=1&depth=3", "expected seed=N or skew=X after \"?\", found \"depth=3\""},
      {"&", "found \"\""},
  };
  for (const auto& [text, part] : wrong) {
    CHECK_THROWS(Code::kInvalidArgument, part, open_checkpoint(str("synthetic:tiny?", text)));
  }
  CHECK_EQ(open_checkpoint("synthetic:tiny?seed=18446744073709551615&skew=0.5")->config.vocab, 512);
  CHECK_EQ(open_checkpoint("synthetic:tiny?")->config.vocab, 512);
}

}  // namespace
}  // namespace oss
