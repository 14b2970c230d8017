// Reads an adapter: files → names → pairs of factors → targets, each checked against the model's shapes.
#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <optional>
#include <utility>

#include "native/adapters/adapter.h"
#include "native/adapters/adapter_config.h"
#include "native/adapters/adapter_names.h"
#include "native/adapters/targets.h"
#include "native/base/error.h"
#include "native/base/float_values.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss {
namespace {

namespace fs = std::filesystem;
using Target = FactorName::Target;

constexpr char kConfigFile[] = "adapter_config.json", kWeightsFile[] = "adapter_model.safetensors";

struct Files {
  std::string config, weights;
};

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

Files locate(const std::string& path) {
  const fs::path given = path;
  if (!is_there(given)) throw Error(Code::kModelNotFound, str("expected an adapter's folder, found nothing at ", path));
  std::error_code ignored;
  const bool is_folder = fs::is_directory(given, ignored);
  const fs::path folder = is_folder ? given : given.parent_path();
  const Files files = {(folder / kConfigFile).string(), (is_folder ? folder / kWeightsFile : given).string()};
  if (!is_folder && !path.ends_with(".safetensors"))
    throw Error(Code::kUnsupported, str(path, ": expected an adapter's folder or its .safetensors file"));
  if (!is_there(files.config))
    throw Error(Code::kModelNotFound, str(folder.string(), ": expected ", kConfigFile, " of a LoRA adapter, found none",
                                          is_there(folder / "config.json") ? "; this is the folder of a model" : ""));
  if (is_there(files.weights)) return files;
  if (is_there(folder / "adapter_model.bin"))
    throw Error(Code::kUnsupported, str((folder / "adapter_model.bin").string(),
                                        ": adapters are read from .safetensors files only; save it with PEFT's "
                                        "save_pretrained, which writes them by default"));
  throw Error(Code::kModelNotFound, str(folder.string(), ": expected ", kWeightsFile, ", found none"));
}

// The two factors of a module, as the file has them.
struct Pair {
  FactorName name;
  const HostTensor* a = nullptr;
  const HostTensor* b = nullptr;
};

class Reader {
 public:
  Reader(Adapter& adapter, const AdapterConfig& adapter_config, const Config& config)
      : adapter_(adapter), adapter_config_(adapter_config), config_(config) {}

  void read() {
    std::map<std::string, Pair> pairs;  // by module
    for (const auto& [name, tensor] : adapter_.file.tensors) take(tensor, pairs);
    if (pairs.empty())
      throw Error(Code::kModelFormat, str(adapter_.file.path, ": expected factors of an adapter, found no tensor"));
    for (const auto& [module, pair] : pairs) {
      const HostTensor* there = pair.a != nullptr ? pair.a : pair.b;
      if (pair.a == nullptr || pair.b == nullptr)
        fail(*there, Code::kModelFormat, "expected lora_A and lora_B of ", module, ", found only one");
      if (pair.name.target == Target::kExperts) transposed_ |= is_surely_transposed(pair);
    }
    for (const auto& [module, pair] : pairs) add(pair);
  }

 private:
  template <typename... Parts>
  [[noreturn]] void fail(const HostTensor& tensor, Code code, const Parts&... parts) const {
    throw Error(code, str(tensor.file, ": tensor ", quote(tensor.name), ": ", parts...));
  }

  void take(const HostTensor& tensor, std::map<std::string, Pair>& pairs) const {
    const FactorName name = read_factor_name(tensor.file, tensor.name, config_);
    if (!is_float(tensor.dtype))
      fail(tensor, Code::kUnsupported, "expected F32, BF16 or F16, found ", dtype_name(tensor.dtype));
    if (tensor.shape.size() != 2 || tensor.elements() == 0)
      fail(tensor, Code::kModelShape, "expected a matrix, found shape ", str_shape(tensor.shape));
    if (const int64_t at = first_not_finite(tensor); at >= 0)
      fail(tensor, Code::kModelFormat, "expected finite numbers, found an infinity or a NaN at index ", at);
    Pair& pair = pairs[name.module];
    pair.name = name;
    const HostTensor*& half = name.is_a ? pair.a : pair.b;
    if (half != nullptr) fail(tensor, Code::kModelFormat, "the same factor is there twice, as ", quote(half->name));
    half = &tensor;
  }

  // PEFT wraps the experts' parameters [experts, in, out] as they lie. Its versions that know `is_transposed` take
  // [experts, out, in] where the model does not set it: with transformers 4. Then A reads outputs, and B writes inputs.
  // The sizes tell, except those of a square matrix: another matrix of the same file decides for it.
  static bool has_sizes(const Pair& pair, int64_t in, int64_t out) {
    return pair.a->shape[1] == in && pair.b->shape[0] == out;
  }
  bool is_surely_transposed(const Pair& pair) const {
    for (const MatrixSizes& matrix : {gate_up_of(config_), down_of(config_)}) {
      if (matrix.in != matrix.out && has_sizes(pair, matrix.out, matrix.in) && !is_plain(pair)) return true;
    }
    return false;
  }
  bool is_plain(const Pair& pair) const {
    const MatrixSizes gate_up = gate_up_of(config_), down = down_of(config_);
    return has_sizes(pair, gate_up.in, gate_up.out) || has_sizes(pair, down.in, down.out);
  }

  void add(const Pair& pair) {
    switch (pair.name.target) {
      case Target::kExperts:
        return add_experts(pair);
      case Target::kGateUp:
        return add_expert(pair, "gate_up_proj", gate_up_of(config_));
      case Target::kDown:
        return add_expert(pair, "down_proj", down_of(config_));
      default:
        return put(pair, dense_weight(pair.name.target, pair.name.layer), 0, 1,
                   plain(pair, sizes_of(pair.name.target, config_)));
    }
  }

  // A [rank, in] and B [out, rank] of one matrix.
  LowRankFactors plain(const Pair& pair, const MatrixSizes& sizes) const {
    check_shape(*pair.a, pair.a->shape[0], sizes.in);
    check_shape(*pair.b, sizes.out, pair.a->shape[0]);
    return {FactorView::of(*pair.a), FactorView::of(*pair.b)};
  }
  void check_shape(const HostTensor& tensor, int64_t rows, int64_t cols) const {
    if (tensor.shape[0] == rows && tensor.shape[1] == cols) return;
    fail(tensor, Code::kModelShape, "expected shape [", rows, ", ", cols, "], found ", str_shape(tensor.shape));
  }

  void add_expert(const Pair& pair, const char* matrix, const MatrixSizes& sizes) {
    put(pair, experts_weight(pair.name.layer, matrix), pair.name.expert, config_.num_experts, plain(pair, sizes));
  }

  // A [experts · rank, in] with the experts outside, B [out, rank · experts] with the experts inside.
  void add_experts(const Pair& pair) {
    const MatrixSizes gate_up = gate_up_of(config_), down = down_of(config_);
    const auto is = [&](const MatrixSizes& matrix, bool transposed) {
      return transposed ? has_sizes(pair, matrix.out, matrix.in) : has_sizes(pair, matrix.in, matrix.out);
    };
    bool transposed = transposed_;
    if (!is(gate_up, transposed) && !is(down, transposed)) transposed = !transposed;
    const bool is_gate_up = is(gate_up, transposed);
    if (!is_gate_up && !is(down, transposed)) {
      fail(*pair.a, Code::kModelShape, "expected lora_A with ", gate_up.in, " columns and lora_B with ", gate_up.out,
           " rows (gate_up_proj), or ", down.in, " and ", down.out, " (down_proj), found ", pair.a->shape[1], " and ",
           pair.b->shape[0]);
    }
    const int64_t experts = config_.num_experts, rows = pair.a->shape[0], rank = rows / experts;
    if (rows % experts != 0)
      fail(*pair.a, Code::kModelShape, "expected a multiple of ", experts, " rows, the number of experts, found ",
           rows);
    check_shape(*pair.b, pair.b->shape[0], rows);
    for (int e = 0; e < experts; ++e) {
      FactorView a = FactorView::of(*pair.a), b = FactorView::of(*pair.b);
      a.data += e * rank * a.row_stride * int64_t(dtype_bytes(a.dtype));
      b.data += e * int64_t(dtype_bytes(b.dtype));
      a.rows = b.cols = int(rank);
      b.col_stride = experts;
      LowRankFactors factors = {a, b};
      if (transposed) factors = {b.transposed(), a.transposed()};
      put(pair, experts_weight(pair.name.layer, is_gate_up ? "gate_up_proj" : "down_proj"), e, config_.num_experts,
          factors);
    }
  }

  // Sets the scale, and keeps the factors as number `index` of `count` of a weight.
  void put(const Pair& pair, const std::string& weight, int index, int count, LowRankFactors factors) {
    std::vector<std::string> modules = {pair.name.module};
    if (const size_t base = modules[0].find(".base_layer"); base != std::string::npos) modules[0].resize(base);
    if (pair.name.target == Target::kExperts) modules.push_back(weight);
    const int expected = adapter_config_.rank_of(modules);
    if (factors.rank() != expected)
      fail(*pair.a, Code::kModelShape, "expected rank ", expected, ", as in ", adapter_config_.file, ", found ",
           factors.rank());
    factors.scale = float(adapter_config_.scale_of(modules, factors.rank())) * adapter_.scale;
    std::vector<LowRankFactors>& all = adapter_.targets[weight];
    all.resize(size_t(count));
    if (!all[size_t(index)].empty())
      fail(*pair.a, Code::kModelFormat, "expected one adapter of ", weight, ", found two");
    all[size_t(index)] = factors;
    adapter_.rank = std::max(adapter_.rank, factors.rank());
  }

  Adapter& adapter_;
  const AdapterConfig& adapter_config_;
  const Config& config_;
  bool transposed_ = false;
};

}  // namespace

std::shared_ptr<const Adapter> read_adapter(const std::string& path, float scale, const Config& config) {
  const Files files = locate(path);
  const AdapterConfig adapter_config = read_adapter_config(files.config);
  check_base_model(adapter_config, config);
  auto adapter = std::make_shared<Adapter>();
  adapter->path = path;
  adapter->scale = scale;
  adapter->file = read_safetensors(files.weights);
  Reader(*adapter, adapter_config, config).read();
  adapter->file.mapping->check_unchanged();
  return adapter;
}

uint64_t Adapter::bytes() const {
  uint64_t bytes = 0;
  for (const auto& [weight, all] : targets) {
    for (const LowRankFactors& f : all) bytes += uint64_t(f.rank()) * uint64_t(f.a.cols + f.b.rows) * sizeof(uint16_t);
  }
  return bytes;
}

uint64_t Adapter::fingerprint() const {
  uint64_t sum = 0xCBF29CE484222325u;  // FNV-1a
  const auto add = [&](const void* data, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) sum = (sum ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001B3u;
  };
  for (const auto& [name, tensor] : file.tensors) {
    add(name.data(), name.size() + 1);
    const size_t sample = std::min<size_t>(tensor.bytes, 64);
    add(tensor.data + (tensor.bytes - sample) / 2, sample);
  }
  for (const auto& [weight, all] : targets) {
    for (const LowRankFactors& f : all) {
      const uint32_t bits = std::bit_cast<uint32_t>(f.scale);
      add(&bits, sizeof bits);
    }
  }
  return sum;
}

}  // namespace oss
