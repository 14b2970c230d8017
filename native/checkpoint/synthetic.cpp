#include "native/checkpoint/synthetic.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <locale>
#include <sstream>
#include <type_traits>

#include "kernels/common/mxfp4.h"
#include "kernels/common/synthetic.h"
#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"
#include "native/model/weights.h"

namespace oss {
namespace {

constexpr std::string_view kPrefix = "synthetic:";

struct Parameters {
  uint64_t seed = 1;
  float skew = 0;
};

// --- configs ---------------------------------------------------------------------------------------------------------

Config gpt_oss(int layers, int experts) {
  Config c;
  c.num_layers = layers;
  c.hidden = c.intermediate = 2880;
  c.num_heads = 64;
  c.num_kv_heads = 8;
  c.head_dim = 64;
  c.num_experts = experts;
  c.experts_per_token = 4;
  c.vocab = 201088;
  c.sliding_window = 128;
  for (int layer = 0; layer < layers; ++layer) c.layer_sliding.push_back(layer % 2 == 0);
  c.rms_eps = 1e-5f;
  c.swiglu_limit = 7;
  c.swiglu_alpha = 1.702f;
  c.rope = {
      .theta = 150000, .factor = 32, .beta_fast = 32, .beta_slow = 1, .original_context = 4096, .truncate = false};
  c.max_context = 131072;
  c.eos_tokens = {200002};
  return c;
}

Config small() {
  Config c = gpt_oss(4, 8);
  c.hidden = c.intermediate = 512;
  c.num_heads = 8;
  c.num_kv_heads = 2;
  return c;
}

Config tiny() {
  Config c = gpt_oss(2, 8);
  c.hidden = c.intermediate = 64;
  c.num_heads = 4;
  c.num_kv_heads = 2;
  c.vocab = 512;
  c.eos_tokens = {c.vocab - 2};
  return c;
}

// For tests that need real tokens but little computation: the full vocabulary on a tiny model.
Config wide() {
  Config c = tiny();
  c.num_layers = 1;
  c.layer_sliding = {false};
  c.num_experts = 4;
  c.vocab = 201088;
  c.eos_tokens = {200002};
  return c;
}

Config config_of(const std::string& name) {
  if (name == "120b") return gpt_oss(36, 128);
  if (name == "20b") return gpt_oss(24, 32);
  if (name == "small") return small();
  if (name == "tiny") return tiny();
  if (name == "wide") return wide();
  throw Error(Code::kModelNotFound,
              str("expected synthetic:120b, synthetic:20b, synthetic:small, synthetic:tiny or synthetic:wide, found ",
                  quote(str(kPrefix, name))));
}

// --- weights ---------------------------------------------------------------------------------------------------------

SyntheticKind kind_of(WeightUse use) {
  if (is_blocks(use)) return kSyntheticCodes;
  if (use == WeightUse::kScales) return kSyntheticScales;
  return use == WeightUse::kNorm ? kSyntheticNorm : kSyntheticNormal;
}

// sqrt is rounded exactly, so scales are the same on every machine.
float scale_of(const WeightSpec& spec, const Parameters& parameters) {
  if (spec.name.ends_with("mlp.router.bias")) return parameters.skew;
  const bool sums = is_matrix(spec.use) && spec.use != WeightUse::kTable;
  const int64_t inputs = spec.use == WeightUse::kScales ? spec.shape.back() * kMxBlock : sums ? spec.shape.back() : 1;
  return spec.deviation / std::sqrt(float(inputs));
}

uint64_t key_of(uint64_t seed, std::string_view name) {
  uint64_t key = synthetic_bits(seed, 0);
  for (const char c : name) key = synthetic_mix(key ^ uint8_t(c));
  return key;
}

HostTensor tensor_of(const WeightSpec& spec, const Parameters& parameters, const std::string& path) {
  HostTensor tensor;
  tensor.name = spec.name;
  tensor.file = path;
  tensor.dtype = is_mxfp4(spec.use) ? DType::kU8 : DType::kBF16;
  tensor.shape = spec.shape;
  tensor.bytes = size_t(tensor.elements()) * dtype_bytes(tensor.dtype);
  tensor.synthetic = {
      .kind = kind_of(spec.use), .key = key_of(parameters.seed, spec.name), .scale = scale_of(spec, parameters)};
  return tensor;
}

// --- names -----------------------------------------------------------------------------------------------------------

template <typename Number>
bool read_number(std::string_view text, Number& value) {
  if constexpr (std::is_floating_point_v<Number>) {
    // A stream with the classic locale: not every libc++ has from_chars for float.
    std::istringstream in{std::string(text)};
    in.exceptions(std::ios::badbit);
    in.imbue(std::locale::classic());
    return !text.starts_with('+') && in >> std::noskipws >> value &&
           in.peek() == std::istringstream::traits_type::eof();
  } else {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
  }
}

template <typename Number>
Number number_of(const std::string& path, std::string_view key, std::string_view text, Number highest,
                 const char* expected) {
  Number value{};
  // This form of the condition also refuses NaN.
  if (!read_number(text, value) || !(value >= 0 && value <= highest))
    throw Error(Code::kInvalidArgument, str(quote(path), ": ", key, ": expected ", expected, ", found ", quote(text)),
                "model");
  return value;
}

Parameters parameters_of(const std::string& path, std::string_view text) {
  Parameters out;
  while (!text.empty()) {
    const std::string_view one = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    const size_t equals = one.find('=');
    const std::string_view key = one.substr(0, equals), value = equals == one.npos ? "" : one.substr(equals + 1);
    if (key == "seed") {
      out.seed = number_of<uint64_t>(path, key, value, ~uint64_t(0), "an integer in [0, 2^64 - 1]");
    } else if (key == "skew") {
      out.skew = number_of<float>(path, key, value, 100, "a number in [0, 100]");
    } else {
      throw Error(Code::kInvalidArgument,
                  str(quote(path), ": expected seed=N or skew=X after \"?\", found ", quote(one)), "model");
    }
  }
  return out;
}

// Experts as normal numbers in bf16, in place of their blocks and scales. They have the deviation of MXFP4 experts.
WeightSpec bf16_spec(const WeightSpec& blocks) {
  WeightSpec spec = blocks;
  spec.name = experts_name(blocks);
  spec.use = WeightUse::kProduct;
  spec.shape = {blocks.shape[0], blocks.shape[1], blocks.shape[2] * kMxBlock};
  spec.deviation = 1;
  return spec;
}

}  // namespace

bool is_synthetic(std::string_view path) { return path.starts_with(kPrefix); }

std::unique_ptr<Checkpoint> synthetic_checkpoint(const std::string& path, ExpertWeights experts) {
  const size_t question = std::min(path.find('?'), path.size());
  const std::string name = path.substr(kPrefix.size(), question - kPrefix.size());
  auto checkpoint = std::make_unique<Checkpoint>();
  checkpoint->path = path;
  checkpoint->layout = "synthetic";
  checkpoint->config = config_of(name);
  check_config(checkpoint->config, path);
  const Parameters parameters = parameters_of(path, std::string_view(path).substr(std::min(question + 1, path.size())));
  for (const WeightSpec& each : weight_specs(checkpoint->config)) {
    const bool in_bf16 = experts == ExpertWeights::kBF16 && is_mxfp4(each.use);
    if (in_bf16 && !is_blocks(each.use)) continue;
    const WeightSpec spec = in_bf16 ? bf16_spec(each) : each;
    const HostTensor& tensor = checkpoint->tensors[spec.name] = tensor_of(spec, parameters, path);
    checkpoint->file_bytes += tensor.bytes;
  }
  return checkpoint;
}

}  // namespace oss
