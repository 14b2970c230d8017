// Adapters: what a file can hold wrong, and how factors become what a step or a merge computes.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/common/dtype.h"
#include "native/adapters/adapter.h"
#include "native/adapters/merge.h"
#include "native/adapters/serve.h"
#include "native/base/mxfp4_quantize.h"
#include "native/base/tensor_source.h"
#include "native/checkpoint/checkpoint.h"
#include "native/engine/adapters.h"
#include "test/native/checkpoint_files.h"

namespace oss {
namespace {

using namespace test;

const Config& config_of(const char* model) {
  static std::map<std::string, Config> known;
  const auto at = known.find(model);
  if (at != known.end()) return at->second;
  return known[model] = open_checkpoint(golden_model(model))->config;
}

std::string golden_adapter(const std::string& name) { return source_path("test/golden/adapters/" + name); }

// An adapter in memory, which a test can damage.
struct StoredAdapter {
  std::string config;
  std::vector<StoredTensor> tensors;

  explicit StoredAdapter(const std::string& name) : config(read_bytes(golden_adapter(name) + "/adapter_config.json")) {
    const SafetensorsFile file = read_safetensors(golden_adapter(name) + "/adapter_model.safetensors");
    for (const auto& [key, tensor] : file.tensors) {
      const auto* bytes = reinterpret_cast<const char*>(tensor.data);
      tensors.push_back({key, tensor.dtype, tensor.shape, std::string(bytes, tensor.bytes)});
    }
  }
  StoredTensor& tensor(const std::string& end) {
    for (StoredTensor& t : tensors) {
      if (t.name.ends_with(end)) return t;
    }
    throw std::runtime_error("no tensor " + end);
  }
  void remove(const std::string& end) {
    std::erase_if(tensors, [&](const StoredTensor& t) { return t.name.ends_with(end); });
  }
  void set(const std::string& from, const std::string& to) { config = replaced(config, from, to); }
  void write(const std::string& folder) const {
    write_bytes(folder + "/adapter_config.json", config);
    write_bytes(folder + "/adapter_model.safetensors", safetensors_of(tensors));
  }
};

void read(const std::string& path, const char* model = "a", float scale = 1) {
  read_adapter(path, scale, config_of(model));
}

// A tensor of zeros.
StoredTensor zeros(const std::string& name, DType dtype, std::vector<int64_t> shape) {
  size_t bytes = dtype_bytes(dtype);
  for (const int64_t extent : shape) bytes *= size_t(extent);
  return {name, dtype, std::move(shape), std::string(bytes, '\0')};
}

constexpr char kPrefix[] = "base_model.model.model.layers.";

}  // namespace

TEST("adapters: the golden ones are read") {
  const auto a = read_adapter(golden_adapter("a.peft"), 0.5f, config_of("a"));
  CHECK_EQ(a->targets.size(), size_t(4 * 7));
  CHECK_EQ(a->rank, 4);
  const auto& gate_up = a->targets.at("model.layers.2.mlp.experts.gate_up_proj");
  CHECK_EQ(gate_up.size(), size_t(8));
  CHECK(gate_up[3].a.rows == 4 && gate_up[3].a.cols == 96 && gate_up[3].b.rows == 192 && gate_up[3].b.cols == 4);
  CHECK_EQ(gate_up[3].scale, 1.0f);  // 0.5 · alpha 8 / rank 4
  const auto file = read_adapter(golden_adapter("a.peft") + "/adapter_model.safetensors", 1, config_of("a"));
  CHECK_EQ(file->bytes(), a->bytes());
  CHECK(file->fingerprint() != a->fingerprint());  // another scale

  const auto c = read_adapter(golden_adapter("c.unsloth"), 1, config_of("c"));
  const auto& down = c->targets.at("model.layers.0.mlp.experts.down_proj");
  CHECK(!down[0].empty() && down[1].empty() && !down[2].empty() && !down[3].empty() && down[4].empty());
  const auto scale = [&](const char* weight) { return c->targets.at(weight).front().scale; };
  CHECK_EQ(scale("model.layers.0.self_attn.q_proj.weight"), float(6 / std::sqrt(5.0)));    // rslora, rank_pattern
  CHECK_EQ(scale("model.layers.0.self_attn.v_proj.weight"), float(1.5 / std::sqrt(3.0)));  // alpha_pattern
  CHECK_EQ(scale("model.layers.1.self_attn.o_proj.weight"), float(2 / std::sqrt(3.0)));
  CHECK_EQ(scale("model.layers.2.self_attn.o_proj.weight"), float(6 / std::sqrt(3.0)));
  CHECK(c->targets.contains("lm_head.weight"));
}

TEST("adapters: PEFT's two orders of experts are one adapter") {
  const auto plain = read_adapter(golden_adapter("a.peft"), 1, config_of("a"));
  const auto transposed = read_adapter(golden_adapter("a.transposed"), 1, config_of("a"));
  for (const auto& [weight, all] : plain->targets) {
    const auto& others = transposed->targets.at(weight);
    CHECK_EQ(others.size(), all.size());
    for (size_t i = 0; i < all.size(); ++i) {
      CHECK(all[i].a.values() == others[i].a.values());
      CHECK(all[i].b.values() == others[i].b.values());
    }
  }
}

TEST("adapters: a square down_proj alone is read in PEFT's plain order") {
  const TempFolder folder;
  StoredAdapter stored("a.peft");
  std::erase_if(stored.tensors,
                [](const StoredTensor& t) { return t.name.find("experts.lora_") == std::string::npos; });
  stored.write(folder.path());
  const auto all = read_adapter(golden_adapter("a.peft"), 1, config_of("a"));
  const auto down = read_adapter(folder.path(), 1, config_of("a"));
  CHECK_EQ(down->targets.size(), size_t(4));
  const std::string weight = "model.layers.1.mlp.experts.down_proj";
  CHECK(down->targets.at(weight)[5].a.values() == all->targets.at(weight)[5].a.values());
}

TEST("adapters: names without PEFT's prefix, and F16 factors") {
  const TempFolder folder;
  StoredAdapter stored("a.peft");
  for (StoredTensor& tensor : stored.tensors) {
    tensor.name = tensor.name.substr(std::string("base_model.model.").size());
    if (!tensor.name.ends_with("0.self_attn.q_proj.lora_A.weight")) continue;
    tensor.dtype = DType::kF16;
    const uint16_t bits[] = {0x3C00, 0xC000, 0x0001, 0x7BFF};  // 1, -2, 2^-24, 65504
    for (size_t i = 0; i < 4; ++i) std::memcpy(&tensor.bytes[2 * i], &bits[i], 2);
    for (size_t i = 8; i < tensor.bytes.size(); ++i) tensor.bytes[i] = '\0';
  }
  stored.write(folder.path());
  const auto adapter = read_adapter(folder.path(), 1, config_of("a"));
  const std::vector<float> a = adapter->targets.at("model.layers.0.self_attn.q_proj.weight").front().a.values();
  CHECK(a[0] == 1 && a[1] == -2 && a[2] == std::ldexp(1.0f, -24) && a[3] == 65504 && a[4] == 0);
}

TEST("adapters: a table of bad inputs, each with its code and sentence") {
  struct Row {
    const char* name;
    Code code;
    const char* part;
    void (*damage)(StoredAdapter&);
  };
  const Row rows[] = {
      {"no LoRA", Code::kUnsupported, "peft_type: expected \"LORA\", found \"IA3\"",
       [](StoredAdapter& a) { a.set("\"LORA\"", "\"IA3\""); }},
      {"DoRA", Code::kUnsupported, "use_dora: asks for DoRA",
       [](StoredAdapter& a) { a.set("\"use_dora\": false", "\"use_dora\": true"); }},
      {"trained modules", Code::kUnsupported, "modules_to_save: asks for modules",
       [](StoredAdapter& a) { a.set("\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]"); }},
      {"biases", Code::kUnsupported, "bias: expected \"none\", found \"all\"",
       [](StoredAdapter& a) { a.set("\"bias\": \"none\"", "\"bias\": \"all\""); }},
      {"lora_bias", Code::kUnsupported, "lora_bias: asks for a bias",
       [](StoredAdapter& a) { a.set("\"bias\": \"none\"", "\"lora_bias\": true"); }},
      {"fan_in_fan_out", Code::kUnsupported, "fan_in_fan_out: asks for",
       [](StoredAdapter& a) { a.set("\"fan_in_fan_out\": false", "\"fan_in_fan_out\": true"); }},
      {"PiSSA", Code::kUnsupported, "changes the base weights",
       [](StoredAdapter& a) { a.set("\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa_niter_4\""); }},
      {"no rank", Code::kModelFormat, "r: expected an integer",
       [](StoredAdapter& a) { a.set("\"r\": 4", "\"rr\": 4"); }},
      {"rank 0", Code::kModelFormat, "r: expected an integer in [1,",
       [](StoredAdapter& a) { a.set("\"r\": 4", "\"r\": 0"); }},
      {"huge rank", Code::kUnsupported, "r: expected a rank in [1, 1024], found 4096",
       [](StoredAdapter& a) { a.set("\"r\": 4", "\"r\": 4096"); }},
      {"another rank", Code::kModelShape, "expected rank 8", [](StoredAdapter& a) { a.set("\"r\": 4", "\"r\": 8"); }},
      {"alpha 0", Code::kModelFormat, "lora_alpha: expected a number above 0, found 0",
       [](StoredAdapter& a) { a.set("\"lora_alpha\": 8", "\"lora_alpha\": 0"); }},
      {"huge alpha", Code::kModelFormat, "lora_alpha: expected a number of at most 1000000, found 1e+30",
       [](StoredAdapter& a) { a.set("\"lora_alpha\": 8", "\"lora_alpha\": 1e30"); }},
      {"huge alpha of a pattern", Code::kModelFormat,
       "alpha_pattern: expected a number of at most 1000000, found 1e+30",
       [](StoredAdapter& a) { a.set("\"alpha_pattern\": {}", "\"alpha_pattern\": {\"q_proj\": 1e30}"); }},
      {"pattern of text", Code::kModelFormat, "alpha_pattern: expected a number above 0 for \"q_proj\"",
       [](StoredAdapter& a) { a.set("\"alpha_pattern\": {}", "\"alpha_pattern\": {\"q_proj\": \"x\"}"); }},
      {"pattern no object", Code::kModelFormat, "rank_pattern: expected an object of numbers",
       [](StoredAdapter& a) { a.set("\"rank_pattern\": {}", "\"rank_pattern\": [1]"); }},
      {"regular expression", Code::kUnsupported, "\"q.*\" is a regular expression",
       [](StoredAdapter& a) { a.set("\"rank_pattern\": {}", "\"rank_pattern\": {\"q.*\": 4}"); }},
      {"config no object", Code::kModelFormat, "expected an object", [](StoredAdapter& a) { a.config = "[]"; }},
      {"config no JSON", Code::kModelFormat, "adapter_config.json", [](StoredAdapter& a) { a.config = "{"; }},
      {"no tensor", Code::kModelFormat, "found no tensor", [](StoredAdapter& a) { a.tensors.clear(); }},
      {"half", Code::kModelFormat, "expected lora_A and lora_B of model.layers.0.self_attn.q_proj, found only one",
       [](StoredAdapter& a) { a.remove("0.self_attn.q_proj.lora_B.weight"); }},
      {"half of the experts", Code::kModelFormat, "expected lora_A and lora_B of model.layers.3.mlp.experts.base_layer",
       [](StoredAdapter& a) { a.remove("3.mlp.experts.base_layer.lora_A.weight"); }},
      {"wrong in", Code::kModelShape, "q_proj.lora_A.weight\": expected shape [4, 96], found [4, 64]",
       [](StoredAdapter& a) {
         StoredTensor& t = a.tensor("0.self_attn.q_proj.lora_A.weight");
         t = zeros(t.name, t.dtype, {4, 64});
       }},
      {"wrong out", Code::kModelShape, "v_proj.lora_B.weight\": expected shape [128, 4], found [129, 4]",
       [](StoredAdapter& a) {
         StoredTensor& t = a.tensor("1.self_attn.v_proj.lora_B.weight");
         t = zeros(t.name, t.dtype, {129, 4});
       }},
      {"ranks of A and B", Code::kModelShape, "o_proj.lora_B.weight\": expected shape [96, 4], found [96, 5]",
       [](StoredAdapter& a) {
         StoredTensor& t = a.tensor("1.self_attn.o_proj.lora_B.weight");
         t = zeros(t.name, t.dtype, {96, 5});
       }},
      {"experts of another size", Code::kModelShape, "expected lora_A with 96 columns and lora_B with 192 rows",
       [](StoredAdapter& a) {
         StoredTensor& t = a.tensor("0.mlp.experts.base_layer.lora_A.weight");
         t = zeros(t.name, t.dtype, {32, 90});
       }},
      {"experts that do not divide", Code::kModelShape,
       "expected a multiple of 8 rows, the number of experts, found 33",
       [](StoredAdapter& a) {
         StoredTensor& t = a.tensor("0.mlp.experts.base_layer.lora_A.weight");
         t = zeros(t.name, t.dtype, {33, 96});
       }},
      {"experts twice", Code::kModelFormat,
       "expected one adapter of model.layers.0.mlp.experts.gate_up_proj, found two",
       [](StoredAdapter& a) {
         a.tensors.push_back(zeros(str(kPrefix, "0.mlp.experts.gate_up_projs.1.lora_A.weight"), DType::kF32, {4, 96}));
         a.tensors.push_back(zeros(str(kPrefix, "0.mlp.experts.gate_up_projs.1.lora_B.weight"), DType::kF32, {192, 4}));
       }},
      {"the same factor twice", Code::kModelFormat, "the same factor is there twice",
       [](StoredAdapter& a) {
         a.tensors.push_back(zeros("model.layers.0.self_attn.q_proj.lora_A.weight", DType::kF32, {4, 96}));
       }},
      {"a vector", Code::kModelShape, "expected a matrix, found shape [4]",
       [](StoredAdapter& a) {
         StoredTensor& t = a.tensor("0.self_attn.q_proj.lora_A.weight");
         t = zeros(t.name, t.dtype, {4});
       }},
      {"an empty matrix", Code::kModelShape, "expected a matrix, found shape [0, 96]",
       [](StoredAdapter& a) {
         StoredTensor& t = a.tensor("0.self_attn.q_proj.lora_A.weight");
         t = zeros(t.name, t.dtype, {0, 96});
       }},
      {"integers", Code::kUnsupported, "expected F32, BF16 or F16, found I32",
       [](StoredAdapter& a) {
         StoredTensor& t = a.tensor("0.self_attn.q_proj.lora_A.weight");
         t = zeros(t.name, DType::kI32, {4, 96});
       }},
      {"NaN", Code::kModelFormat, "expected finite numbers, found an infinity or a NaN at index 7",
       [](StoredAdapter& a) {
         const uint16_t nan = 0x7FC0;
         std::memcpy(&a.tensor("2.mlp.router.lora_B.weight").bytes[14], &nan, 2);
       }},
      {"infinity", Code::kModelFormat, "at index 0",
       [](StoredAdapter& a) {
         const uint16_t infinity = 0xFF80;
         std::memcpy(&a.tensor("2.mlp.experts.lora_A.weight").bytes[0], &infinity, 2);
       }},
      {"a layer too many", Code::kModelShape, "expected a layer below 4, the number of the model, found 4",
       [](StoredAdapter& a) {
         a.tensor("0.self_attn.q_proj.lora_A.weight").name = str(kPrefix, "4.self_attn.q_proj.lora_A.weight");
       }},
      {"an expert too many", Code::kModelShape, "expected an expert below 8, the number of the model, found 8",
       [](StoredAdapter& a) {
         a.tensors.push_back(zeros(str(kPrefix, "0.mlp.experts.down_projs.8.lora_A.weight"), DType::kF32, {4, 96}));
       }},
      {"an unknown target", Code::kUnsupported, "no matrix of gpt-oss has an adapter of this name; adapters of q_proj",
       [](StoredAdapter& a) {
         a.tensor("0.self_attn.q_proj.lora_A.weight").name = str(kPrefix, "0.self_attn.qkv_proj.lora_A.weight");
       }},
      {"an embedding", Code::kUnsupported, "adapters of the embedding do not run",
       [](StoredAdapter& a) {
         a.tensors.push_back(zeros("base_model.model.model.embed_tokens.lora_embedding_A", DType::kF32, {4, 512}));
       }},
      {"a bias of the experts", Code::kUnsupported, "only gate_up_proj and down_proj can have an adapter",
       [](StoredAdapter& a) {
         a.tensors.push_back(
             zeros(str(kPrefix, "0.mlp.experts.base_layer.base_layer.lora_A.weight"), DType::kF32, {4, 8}));
       }},
      {"a magnitude", Code::kUnsupported, "DoRA does not run",
       [](StoredAdapter& a) {
         a.tensors.push_back(
             zeros(str(kPrefix, "0.self_attn.q_proj.lora_magnitude_vector.weight"), DType::kF32, {1024}));
       }},
      {"leading zeros", Code::kUnsupported, "no matrix of gpt-oss",
       [](StoredAdapter& a) {
         a.tensor("0.self_attn.q_proj.lora_A.weight").name = str(kPrefix, "00.self_attn.q_proj.lora_A.weight");
       }},
      {"no number", Code::kUnsupported, "no matrix of gpt-oss",
       [](StoredAdapter& a) {
         a.tensor("0.self_attn.q_proj.lora_A.weight").name = str(kPrefix, "x.self_attn.q_proj.lora_A.weight");
       }},
      {"a huge number", Code::kUnsupported, "no matrix of gpt-oss",
       [](StoredAdapter& a) {
         a.tensor("0.self_attn.q_proj.lora_A.weight").name =
             str(kPrefix, "99999999999999999999.self_attn.q_proj.lora_A.weight");
       }},
  };
  for (const Row& row : rows) {
    const TempFolder folder;
    StoredAdapter stored("a.peft");
    row.damage(stored);
    stored.write(folder.path());
    expect_error(row.name, row.code, row.part, [&] { read(folder.path()); });
  }
}

TEST("adapters: missing and foreign files") {
  const TempFolder folder;
  expect_error("no folder", Code::kModelNotFound, "expected an adapter's folder, found nothing",
               [&] { read(folder / "nothing"); });
  expect_error("empty", Code::kModelNotFound, "expected adapter_config.json of a LoRA adapter, found none",
               [&] { read(folder.path()); });
  write_bytes(folder / "config.json", "{}");
  expect_error("a model", Code::kModelNotFound, "this is the folder of a model", [&] { read(folder.path()); });
  write_bytes(folder / "adapter_config.json", read_bytes(golden_adapter("a.peft") + "/adapter_config.json"));
  expect_error("no weights", Code::kModelNotFound, "expected adapter_model.safetensors, found none",
               [&] { read(folder.path()); });
  write_bytes(folder / "adapter_model.bin", "pickle");
  expect_error("pickle", Code::kUnsupported, "adapters are read from .safetensors files only",
               [&] { read(folder.path()); });
  expect_error("pickle by name", Code::kUnsupported, "expected an adapter's folder or its .safetensors file",
               [&] { read(folder / "adapter_model.bin"); });
  const std::string whole = read_bytes(golden_adapter("a.peft") + "/adapter_model.safetensors");
  write_bytes(folder / "adapter_model.safetensors", whole.substr(0, whole.size() / 2));
  expect_error("cut short", Code::kModelFormat, "adapter_model.safetensors", [&] { read(folder.path()); });
  write_bytes(folder / "adapter_model.safetensors", whole);
  expect_success("whole", [&] { read(folder.path()); });
}

TEST("adapters: one of the other released model is refused by its name") {
  const TempFolder folder;
  StoredAdapter stored("a.peft");
  stored.set("\"golden\"", "\"unsloth/GPT-OSS-120b-bf16\"");
  stored.write(folder.path());
  expect_success("no released shape", [&] { read(folder.path()); });
  const Config config = open_checkpoint("synthetic:20b")->config;
  expect_error("20b", Code::kModelShape, "expected a gpt-oss-20b, the model that is loaded, found",
               [&] { read_adapter(folder.path(), 1, config); });
}

// Any bytes give an error or an adapter, and nothing else.
TEST("adapters: flipped bytes never crash") {
  const TempFolder folder;
  const std::string config = read_bytes(golden_adapter("c.unsloth") + "/adapter_config.json");
  const std::string whole = read_bytes(golden_adapter("c.unsloth") + "/adapter_model.safetensors");
  uint32_t state = 1;
  const auto random = [&](size_t below) {
    state = state * 1664525u + 1013904223u;
    return size_t(state >> 8) % below;
  };
  int refused = 0;
  for (int i = 0; i < 150; ++i) {
    std::string settings = config, weights = whole;
    for (int flips = 0; flips < 3; ++flips) {
      std::string& text = i % 2 == 0 ? settings : weights;
      text[random(i % 2 == 0 ? text.size() : 8000)] = char(random(256));
    }
    write_bytes(folder / "adapter_config.json", settings);
    write_bytes(folder / "adapter_model.safetensors", weights);
    try {
      read(folder.path(), "c");
    } catch (const Error&) {
      ++refused;
    }
  }
  CHECK(refused > 75);
}

TEST("adapters: any range of a merged tensor has the bytes of the whole") {
  const auto checkpoint = open_checkpoint(golden_model("c"));
  const auto adapter = read_adapter(golden_adapter("c.unsloth"), 1, checkpoint->config);
  Tensors merged = checkpoint->tensors;
  merge_adapter(adapter, merged);
  uint32_t state = 7;
  for (const auto& [name, tensor] : merged) {
    const HostTensor& base = checkpoint->tensors.at(name);
    CHECK(tensor.is_made() == (base.data != tensor.data));
    if (!tensor.is_made()) continue;
    CHECK(tensor.shape == base.shape && tensor.dtype == base.dtype && tensor.bytes == base.bytes);
    CHECK_EQ(tensor.source->files().size() > 1, true);
    std::vector<std::byte> whole(tensor.bytes);
    tensor.read(0, tensor.bytes, whole.data());
    CHECK(std::memcmp(whole.data(), base.data, tensor.bytes) != 0);
    for (int i = 0; i < 20; ++i) {
      state = state * 1664525u + 1013904223u;
      const size_t first = (state >> 8) % tensor.bytes, bytes = std::min<size_t>(tensor.bytes - first, state % 3001);
      std::vector<std::byte> part(bytes);
      tensor.read(first, bytes, part.data());
      CHECK(std::memcmp(part.data(), whole.data() + first, bytes) == 0);
    }
  }
  // Experts that the adapter leaves alone keep their bytes.
  const std::string blocks = "model.layers.1.mlp.experts.down_proj_blocks";
  const size_t expert = merged.at(blocks).bytes / 5;
  std::vector<std::byte> read(expert);
  merged.at(blocks).read(expert, expert, read.data());
  CHECK(std::memcmp(read.data(), checkpoint->tensors.at(blocks).data + expert, expert) == 0);
}

TEST("adapters: merged scales tell the greatest one that was read") {
  const auto checkpoint = open_checkpoint(golden_model("a"));
  const auto adapter = read_adapter(golden_adapter("a.peft"), 100, checkpoint->config);
  merge_adapter(adapter, checkpoint->tensors);
  const HostTensor& scales = checkpoint->tensor("model.layers.0.mlp.experts.gate_up_proj_scales");
  CHECK_EQ(int(scales.source->greatest_scale()), 0);
  std::vector<uint8_t> bytes(scales.bytes);
  scales.read(0, bytes.size(), bytes.data());
  CHECK_EQ(int(scales.source->greatest_scale()), int(*std::max_element(bytes.begin(), bytes.end())));
}

TEST("adapters: none is loaded beyond the memory that is left for them") {
  const Config config = config_of("a");
  const AdapterOption one{.name = "one", .path = golden_adapter("a.peft")}, two{.name = "two", .path = one.path};
  const uint64_t bytes = read_adapter(one.path, 1, config)->bytes();
  NamedAdapters adapters;
  const DeviceMemory plenty{.free_bytes = 1'000'000'000, .why = "given"};
  CHECK_THROWS(Code::kOutOfMemory, "adapters can take 0 MB beside the engine", adapters.load(one, config, plenty));
  adapters.limit(2 * bytes - 1);
  CHECK_THROWS(Code::kOutOfMemory, "and free is 0.01 MB (given): free some",
               adapters.load(one, config, {.free_bytes = 10'000, .why = "given"}));
  CHECK_EQ(adapters.bytes(), 0u);
  adapters.load(one, config, plenty);
  CHECK_EQ(adapters.bytes(), bytes);
  CHECK_THROWS(Code::kOutOfMemory, "unload one, or lower kvCache.bytes", adapters.load(two, config, plenty));
  // A request that runs keeps the memory of an adapter that is unloaded.
  auto running = adapters.find("one");
  adapters.unload("one");
  CHECK_EQ(adapters.bytes(), bytes);
  CHECK_THROWS(Code::kOutOfMemory, "unload one", adapters.load(two, config, plenty));
  running = {};
  CHECK_EQ(adapters.bytes(), 0u);
  CHECK_EQ(adapters.load(two, config, plenty).bytes, bytes);
}

TEST("adapters: a backend holds what is loaded, and its own bytes count") {
  const Config config = config_of("a");
  const AdapterOption one{.name = "one", .path = golden_adapter("a.peft")};
  const uint64_t bytes = read_adapter(one.path, 1, config)->bytes();
  const DeviceMemory plenty{.free_bytes = 1'000'000'000, .why = "given"};
  const auto there = std::make_shared<const AdapterWeights>();
  bool is_full = true;
  NamedAdapters adapters;
  adapters.hold_with(
      [&](std::shared_ptr<const AdapterWeights> host) {
        CHECK_EQ(host->layers.size(), size_t(config.num_layers));
        if (is_full) throw Error(Code::kOutOfMemory, "full");
        return there;
      },
      100);
  adapters.limit(bytes + 99);
  CHECK_THROWS(Code::kOutOfMemory, "unload one", adapters.load(one, config, plenty));
  adapters.limit(bytes + 100);
  CHECK_THROWS(Code::kOutOfMemory, "full", adapters.load(one, config, plenty));
  CHECK(adapters.list().empty());
  CHECK_EQ(adapters.bytes(), 0u);
  is_full = false;
  CHECK_EQ(adapters.load(one, config, plenty).bytes, bytes + 100);
  CHECK_EQ(adapters.bytes(), bytes + 100);
  CHECK(adapters.find("one").weights == there);
}

TEST("adapters: none is added after the end, however long it was read") {
  const ReadAdapter read = {{.name = "one", .path = golden_adapter("a.peft")},
                            read_adapter(golden_adapter("a.peft"), 1, config_of("a"))};
  NamedAdapters adapters;
  adapters.add(read, config_of("a"));
  adapters.close();
  CHECK(adapters.list().empty());
  CHECK_THROWS(Code::kClosed, "closed while the adapter was read", adapters.add(read, config_of("a")));
  CHECK(adapters.list().empty());
}

TEST("mxfp4_quantize: every value of MXFP4 comes back, for every scale") {
  for (int scale = 4; scale <= 252; ++scale) {
    float x[32], back[32];
    uint8_t block[16], made[16];
    for (int i = 0; i < 16; ++i) block[i] = uint8_t(i * 17 + scale);
    dequantize_mxfp4(block, uint8_t(scale), x);
    const uint8_t again = quantize_mxfp4(x, made);
    dequantize_mxfp4(made, again, back);
    CHECK(std::memcmp(x, back, sizeof x) == 0);
  }
}

TEST("mxfp4_quantize: rounds to nearest, ties to even, and saturates at 6") {
  float x[32] = {4, 0.25f, 0.26f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, 5.1f, -6.4f, -0.25f, -0.3f};
  const float expected[] = {4, 0, 0.5f, 1, 1, 2, 2, 4, 4, 6, -6, -0.0f, -0.5f};
  uint8_t block[16];
  float back[32];
  CHECK_EQ(int(quantize_mxfp4(x, block)), 127);
  dequantize_mxfp4(block, 127, back);
  for (size_t i = 0; i < std::size(expected); ++i) CHECK_EQ(back[i], expected[i]);
  // 7.9 is nearer to 4 · 2 than to 6; the other values have room on the coarser grid, too.
  float wide[32] = {7.9f, 4, -2};
  CHECK_EQ(int(quantize_mxfp4(wide, block)), 128);
  dequantize_mxfp4(block, 128, back);
  CHECK(back[0] == 8 && back[1] == 4 && back[2] == -2);
  const float zeros[32] = {};
  quantize_mxfp4(zeros, block);
  for (const uint8_t byte : block) CHECK_EQ(int(byte), 0);
  float tiny[32] = {1e-45f}, huge[32] = {3e38f}, infinite[32] = {INFINITY};
  CHECK_EQ(int(quantize_mxfp4(tiny, block)), 2);
  CHECK_EQ(int(quantize_mxfp4(huge, block)), 252);
  CHECK_EQ(int(quantize_mxfp4(infinite, block)), 252);
}

TEST("adapters: served factors are those of the file, in bf16") {
  const auto adapter = read_adapter(golden_adapter("c.unsloth"), 1, config_of("c"));
  const auto weights = serve_adapter(*adapter, config_of("c"));
  CHECK_EQ(weights->layers.size(), size_t(3));
  const LowRank& q = weights->layers[1].q;
  CHECK(q.a.rows == 5 && q.a.cols == 64 && q.b.rows == 256 && q.b.cols == 5);
  const std::vector<float> a = adapter->targets.at("model.layers.1.self_attn.q_proj.weight").front().a.values();
  for (size_t i = 0; i < a.size(); ++i) CHECK_EQ(bf16_to_f32(q.a.data[i]), a[i]);
  CHECK(weights->layers[0].down[1].empty() && !weights->layers[0].down[2].empty());
  CHECK_EQ(weights->lm_head.b.rows, 301);
}

}  // namespace oss
