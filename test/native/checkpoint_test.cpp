#include "native/checkpoint/checkpoint.h"

#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "native/base/mapped_file.h"
#include "native/loader/scales.h"
#include "native/model/pack.h"
#include "native/model/weight_sums.h"
#include "test/native/checkpoint_files.h"

using namespace oss;
using namespace oss::test;

static const char kOriginalConfig[] = R"({"num_hidden_layers": 4, "num_experts": 8, "experts_per_token": 4,
  "vocab_size": 512, "hidden_size": 96, "intermediate_size": 96, "swiglu_limit": 7.0, "head_dim": 64,
  "num_attention_heads": 16, "num_key_value_heads": 2, "sliding_window": 128, "initial_context_length": 4096,
  "rope_theta": 150000, "rope_scaling_factor": 32.0, "rope_ntk_alpha": 1, "rope_ntk_beta": 32})";

static bool same_bytes(const HostTensor& a, const HostTensor& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.bytes == b.bytes && std::memcmp(a.data, b.data, a.bytes) == 0;
}

// Every tensor of `actual` has the bytes that `expected` has under the same canonical name.
static void check_same_tensors(const Checkpoint& actual, const Checkpoint& expected) {
  CHECK_EQ(actual.tensors.size(), expected.tensors.size());
  for (const auto& [name, tensor] : actual.tensors) CHECK(same_bytes(tensor, expected.tensor(name)));
}

// The folder of golden c, whose three shards and index can be damaged.
static void copy_golden_c(const TempFolder& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(golden_model("c")))
    write_bytes(folder / entry.path().filename().string(), read_bytes(entry.path().string()));
}

static size_t mappings_under(const std::string& folder) {
  std::ifstream maps("/proc/self/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find(folder) != std::string::npos;
  return count;
}

TEST("checkpoint: the golden models open") {
  const auto a = open_checkpoint(golden_model("a"));
  CHECK_EQ(a->layout, "huggingface");
  CHECK_EQ(a->path, golden_model("a"));
  CHECK(a->tensors.size() == 79 && a->files.size() == 1 && a->copies.empty());
  CHECK_EQ(a->file_bytes, a->files[0]->size());
  const HostTensor& k = a->tensor("model.layers.2.self_attn.k_proj.weight");
  CHECK_EQ(str_shape(k.shape), "[128, 96]");
  CHECK_EQ(k.name, "model.layers.2.self_attn.k_proj.weight");
  CHECK_EQ(k.file, golden_model("a") + "/model.safetensors");
  CHECK_THROWS(Code::kInternal, "no tensor \"x\"", a->tensor("x"));
  const auto b = open_checkpoint(golden_model("b"));
  CHECK(b->tensors.size() == 41 && b->config.num_experts == 32 && b->config.hidden == 160);
  const auto c = open_checkpoint(golden_model("c") + "/");
  CHECK(c->tensors.size() == 60 && c->files.size() == 3 && c->config.vocab == 301);
  int64_t elements = 0;
  for (const auto& [name, tensor] : c->tensors)
    if (!name.ends_with("_scales")) elements += tensor.elements() * (name.ends_with("_blocks") ? 2 : 1);
  CHECK_EQ(parameters(c->config), elements);
}

// Records for each tensor what it is packed as, and packs nothing: the data is that of the file.
class NotingPacker final : public WeightPacker {
 public:
  void reserve_weights(uint64_t) override {}
  Matrix pack_matrix(const HostTensor& weight, MatrixUse use) override {
    constexpr const char* kNames[] = {"table", "product", "rotated", "router"};
    note(weight, kNames[int(use)]);
    return {weight.as<uint16_t>(), int(weight.shape[0]), int(weight.shape[1])};
  }
  Vector pack_vector(const HostTensor& vector) override {
    note(vector, "vector");
    return {vector.as<float>(), int(vector.elements())};
  }
  ExpertMatrix pack_experts(const HostTensor& blocks, const HostTensor& scales, const HostTensor& bias,
                            ExpertUse use) override {
    for (const HostTensor* tensor : {&blocks, &scales, &bias}) note(*tensor, use == ExpertUse::kDown ? "down" : "up");
    shapes.push_back({blocks.shape[0], blocks.shape[1], blocks.shape[2] * 32});
    return {blocks.as<uint8_t>(), scales.as<uint8_t>(), bias.as<float>()};
  }
  void loaded() override { note({.name = "all", .file = {}, .shape = {}}, "loaded"); }
  size_t packed_bytes() const override { return 0; }

  std::map<std::string, std::string> uses;
  std::vector<ExpertShape> shapes;

 private:
  void note(const HostTensor& tensor, const char* use) { CHECK(uses.emplace(tensor.name, use).second); }
};

// Tells matrices, vectors and experts apart by their digits in a sum.
class CountingSizes final : public BackendSizes {
 public:
  BackendDefaults defaults() const override { return {kKvF32, 1}; }
  void check(const StepLimits&, KvType) const override {}
  size_t operand_bytes() const override { return sizeof(float); }
  bool operands_have_low() const override { return false; }
  bool packs_experts_to_file() const override { return true; }
  uint64_t matrix_bytes(int64_t, int64_t, MatrixUse use, bool) const override {
    return use == MatrixUse::kRouter ? 0 : 1;
  }
  uint64_t vector_bytes(int64_t) const override { return 1000; }
  uint64_t experts_bytes(int64_t, int64_t, int64_t) const override { return 1'000'000; }
  uint64_t workspace_bytes(const StepLimits&) const override { return 0; }
  uint64_t low_rank_bytes(const StepLimits&) const override { return 0; }
};

TEST("checkpoint: every weight is packed once, for its use, into its place") {
  const auto checkpoint = open_checkpoint(golden_model("c"));
  const Config& config = checkpoint->config;
  NotingPacker packer;
  std::vector<size_t> progress;
  const Model model =
      pack_model(config, checkpoint->tensors, packer, [&](size_t done, size_t) { progress.push_back(done); });
  CHECK(progress == std::vector<size_t>({0, 1, 2, 3}));
  CHECK_EQ(model.layers.size(), 3u);
  CHECK_EQ(packer.uses.size(), checkpoint->tensors.size() + 1);  // and "loaded"
  const Layer& layer = model.layers[2];
  struct Role {
    const void* data;
    const char* name;
    const char* use;
  };
  const Role of_model[] = {{model.embed.data, "model.embed_tokens.weight", "table"},
                           {model.final_norm.data, "model.norm.weight", "vector"},
                           {model.lm_head.data, "lm_head.weight", "product"}};
  const Role of_layer[] = {{layer.attn_norm.data, "input_layernorm.weight", "vector"},
                           {layer.qkv.q.data, "self_attn.q_proj.weight", "rotated"},
                           {layer.qkv.q_bias.data, "self_attn.q_proj.bias", "vector"},
                           {layer.qkv.k.data, "self_attn.k_proj.weight", "rotated"},
                           {layer.qkv.k_bias.data, "self_attn.k_proj.bias", "vector"},
                           {layer.qkv.v.data, "self_attn.v_proj.weight", "product"},
                           {layer.qkv.v_bias.data, "self_attn.v_proj.bias", "vector"},
                           {layer.sinks.data, "self_attn.sinks", "vector"},
                           {layer.o.data, "self_attn.o_proj.weight", "product"},
                           {layer.o_bias.data, "self_attn.o_proj.bias", "vector"},
                           {layer.mlp_norm.data, "post_attention_layernorm.weight", "vector"},
                           {layer.router.data, "mlp.router.weight", "router"},
                           {layer.router_bias.data, "mlp.router.bias", "vector"},
                           {layer.gate_up.blocks, "mlp.experts.gate_up_proj_blocks", "up"},
                           {layer.gate_up.scales, "mlp.experts.gate_up_proj_scales", "up"},
                           {layer.gate_up.bias, "mlp.experts.gate_up_proj_bias", "up"},
                           {layer.down.blocks, "mlp.experts.down_proj_blocks", "down"},
                           {layer.down.scales, "mlp.experts.down_proj_scales", "down"},
                           {layer.down.bias, "mlp.experts.down_proj_bias", "down"}};
  const auto check = [&](const Role& role, const std::string& name) {
    CHECK(role.data == checkpoint->tensor(name).data);
    CHECK_EQ(packer.uses[name], role.use);
  };
  for (const Role& role : of_model) check(role, role.name);
  for (const Role& role : of_layer) check(role, str("model.layers.2.", role.name));

  // The planned bytes are the packed bytes, by the sizes above: matrices, vectors other than those of experts, experts.
  uint64_t of_all = 0, of_experts = 0, of_routers = 0;  // in files whose vectors are bf16
  for (const auto& [name, tensor] : checkpoint->tensors) {
    const bool is_expert = name.ends_with("_blocks") || name.ends_with("_scales");
    const uint64_t bytes = uint64_t(tensor.elements()) * (is_expert ? 1 : 2);
    of_all += bytes;
    if (is_expert) of_experts += bytes;
    if (name.ends_with("router.weight")) of_routers += bytes;
  }
  const WeightBytes sum = weight_bytes(config, CountingSizes(), false);
  CHECK_EQ(sum.copied, 2u + 1000 + 3 * (4 + 8 * 1000 + 2 * 1'001'000));
  CHECK_EQ(sum.canonical, of_all);
  // What is not copied is used in the files: here the router, and the experts if they have a file of their own.
  CHECK_EQ(sum.mapped, of_routers);
  const WeightBytes in_file = weight_bytes(config, CountingSizes(), true);
  CHECK_EQ(in_file.copied, 2u + 1000 + 3 * (4 + 8 * 1000 + 2 * 1'000));
  CHECK_EQ(in_file.mapped, of_routers + of_experts);
  const std::vector<ExpertShape> planned = expert_shapes(config);
  CHECK_EQ(planned.size(), packer.shapes.size());
  for (size_t i = 0; i < planned.size(); ++i) {
    CHECK(planned[i].experts == packer.shapes[i].experts && planned[i].rows == packer.shapes[i].rows &&
          planned[i].cols == packer.shapes[i].cols);
  }
}

TEST("checkpoint: the original layout holds the same bytes") {
  const TempFolder folder;
  const StoredModel huggingface = read_golden_model("a");
  const StoredModel original = to_original_layout(huggingface, kOriginalConfig);
  CHECK_EQ(original.tensors.size(), 3u + 4 * 15);
  original.write(folder / "original");
  const auto expected = open_checkpoint(golden_model("a"));
  // the folder itself, the folder around it, the file in it
  for (const char* path : {"original", "", "original/model.safetensors"}) {
    const auto actual = open_checkpoint(folder / path);
    CHECK_EQ(actual->layout, "original");
    CHECK_EQ(actual->files.size(), 1u);
    CHECK(actual->copies.empty());
    check_same_tensors(*actual, *expected);
  }
  const auto actual = open_checkpoint(folder.path());
  CHECK_EQ(actual->tensor("model.layers.1.self_attn.v_proj.bias").name, "block.1.attn.qkv.bias");
  CHECK(actual->tensor("model.layers.1.self_attn.k_proj.weight").data ==
        actual->tensor("model.layers.1.self_attn.q_proj.weight").data + 1024 * 96 * 2);
}

TEST("checkpoint: several files without an index") {
  const TempFolder folder;
  const StoredModel model = read_golden_model("a");
  write_bytes(folder / "config.json", model.config);
  const auto middle = model.tensors.begin() + 30;
  write_bytes(folder / "part1.safetensors", safetensors_of({model.tensors.begin(), middle}));
  write_bytes(folder / "part2.safetensors", safetensors_of({middle, model.tensors.end()}));
  write_bytes(folder / "._part1.safetensors", "left by macOS");
  const auto checkpoint = open_checkpoint(folder.path());
  CHECK_EQ(checkpoint->files.size(), 2u);
  check_same_tensors(*checkpoint, *open_checkpoint(golden_model("a")));
}

TEST("checkpoint: only misaligned tensors are copied") {
  const TempFolder folder;
  read_golden_model("c").write(folder.path(), 1);
  const auto checkpoint = open_checkpoint(folder.path());
  CHECK_EQ(checkpoint->copies.size(), 3u + 3 * 15);  // all but blocks and scales, which are bytes
  check_same_tensors(*checkpoint, *open_checkpoint(golden_model("c")));
  for (const auto& [name, tensor] : checkpoint->tensors)
    CHECK_EQ(reinterpret_cast<uintptr_t>(tensor.data) % dtype_bytes(tensor.dtype), 0u);
}

TEST("checkpoint: vectors may be F32, matrices may not") {
  const TempFolder folder;
  StoredModel model = read_golden_model("c");
  StoredTensor& norm = model.tensor("model.layers.0.input_layernorm.weight");
  norm.dtype = DType::kF32;
  norm.bytes.resize(64 * 4);
  model.write(folder.path());
  CHECK(open_checkpoint(folder.path())->tensor("model.layers.0.input_layernorm.weight").dtype == DType::kF32);
}

TEST("checkpoint: end tokens of config.json and generation_config.json") {
  const TempFolder folder;
  const StoredModel model = read_golden_model("c");
  model.write(folder.path());
  CHECK(open_checkpoint(folder.path())->config.eos_tokens == std::vector<int32_t>{299});
  write_bytes(folder / "generation_config.json", R"({"bos_token_id": 1, "eos_token_id": [299, 300, 7, 300]})");
  CHECK(open_checkpoint(folder.path())->config.eos_tokens == (std::vector<int32_t>{299, 300, 7}));
  write_bytes(folder / "generation_config.json", "{}");
  CHECK(open_checkpoint(folder.path())->config.eos_tokens == std::vector<int32_t>{299});
  const std::pair<const char*, const char*> rows[] = {
      {"{", "generation_config.json: byte 1: expected a key"},
      {"[]", "generation_config.json: expected an object, found a list of 0"},
      {R"({"eos_token_id": "x"})",
       "generation_config.json: eos_token_id: expected a token id or a list of them, found \"x\""},
      {R"({"eos_token_id": 301})",
       "generation_config.json: eos_token_id: expected ids below vocab_size = 301, found 301"},
  };
  for (const auto& [text, part] : rows) {
    write_bytes(folder / "generation_config.json", text);
    expect_error(text, Code::kModelFormat, part, [&] { open_checkpoint(folder.path()); });
  }
}

TEST("checkpoint: paths without a checkpoint") {
  const TempFolder folder;
  const StoredModel model = read_golden_model("c");
  const auto expect = [&](const std::string& path, Code code, const std::string& part) {
    expect_error(path, code, part, [&] { open_checkpoint(path); });
  };
  expect("", Code::kModelNotFound,
         "expected a checkpoint folder, a .safetensors file or a GGUF file at \"\", found nothing");
  expect(folder / "none", Code::kModelNotFound, "/none, found nothing");
  expect(golden_model("c") + std::string("\0x", 2), Code::kModelNotFound, "a NUL character");
  expect(std::string(5000, 'x'), Code::kModelNotFound, "found File name too long");
  expect(folder.path(), Code::kModelNotFound, str("expected a config.json in ", folder.path(), ", found none"));
  write_bytes(folder / "model.gguf", "GGUF");
  expect(folder.path(), Code::kModelFormat, "model.gguf: byte 4: expected 4 bytes for the version, found 0");
  expect(folder / "model.gguf", Code::kModelFormat, "byte 4: expected 4 bytes for the version, found 0");
  write_bytes(folder / "disguised.safetensors", "GGUF\3\0\0\0");
  expect(folder / "disguised.safetensors", Code::kModelFormat, "byte 4: expected 4 bytes for the version, found 1");
  write_bytes(folder / "named.gguf", "not such a file");
  expect(folder / "named.gguf", Code::kModelFormat, "expected a file that begins with \"GGUF\", found \"not \"");
  std::filesystem::remove(folder / "named.gguf");
  write_bytes(folder / "model.bin", "x");
  expect(folder / "model.bin", Code::kModelFormat,
         "model.bin: expected a checkpoint folder, a .safetensors file or a GGUF file");
  write_bytes(folder / "alone/model.safetensors", safetensors_of(model.tensors));
  expect(folder / "alone/model.safetensors", Code::kModelNotFound, "expected a config.json beside");
  write_bytes(folder / "empty/config.json", model.config);
  expect(folder / "empty", Code::kModelNotFound, "expected .safetensors files in");
  std::filesystem::create_directories(folder / "config-is-a-folder/config.json");
  write_bytes(folder / "config-is-a-folder/model.safetensors", safetensors_of(model.tensors));
  expect(folder / "config-is-a-folder", Code::kModelFormat, "config.json is a folder, expected a file");
  write_bytes(folder / "weights-are-a-folder/config.json", model.config);
  std::filesystem::create_directories(folder / "weights-are-a-folder/model.safetensors");
  expect(folder / "weights-are-a-folder", Code::kModelFormat, "model.safetensors is a folder, expected a file");
  CHECK_EQ(::mkfifo((folder / "pipe.safetensors").c_str(), 0600), 0);
  expect(folder / "pipe.safetensors", Code::kModelFormat, "pipe.safetensors is neither a folder nor a regular file");
}

TEST("checkpoint: tensors that do not fit the config") {
  struct Row {
    const char* name;
    std::function<void(StoredModel&)> damage;
    Code code;
    const char* part;
  };
  const auto reshape = [](const char* tensor, std::vector<int64_t> shape) {
    return [=](StoredModel& model) {
      StoredTensor& stored = model.tensor(tensor);
      stored.shape = shape;
      stored.bytes.resize(dtype_bytes(stored.dtype));
      for (int64_t extent : shape) stored.bytes.resize(stored.bytes.size() * size_t(extent));
    };
  };
  const auto retype = [](const char* tensor, DType dtype) {
    return [=](StoredModel& model) {
      StoredTensor& stored = model.tensor(tensor);
      stored.bytes.resize(stored.bytes.size() / dtype_bytes(stored.dtype) * dtype_bytes(dtype));
      stored.dtype = dtype;
    };
  };
  const auto remove = [](std::vector<std::string> names) {
    return [=](StoredModel& model) {
      for (const std::string& name : names) model.remove(name);
    };
  };
  using enum Code;
  const Row rows[] = {
      {"q rows", reshape("model.layers.1.self_attn.q_proj.weight", {255, 64}), kModelShape,
       "tensor \"model.layers.1.self_attn.q_proj.weight\": expected shape [256, 64], found [255, 64]"},
      {"q transposed", reshape("model.layers.1.self_attn.q_proj.weight", {64, 256}), kModelShape,
       "expected shape [256, 64], found [64, 256]"},
      {"sinks", reshape("model.layers.2.self_attn.sinks", {5}), kModelShape, "expected shape [4], found [5]"},
      {"norm as a matrix", reshape("model.norm.weight", {64, 1}), kModelShape, "expected shape [64], found [64, 1]"},
      {"embedding rows", reshape("model.embed_tokens.weight", {300, 64}), kModelShape,
       "expected shape [301, 64], found [300, 64]"},
      {"head rows", reshape("lm_head.weight", {302, 64}), kModelShape, "expected shape [301, 64], found [302, 64]"},
      {"experts", reshape("model.layers.0.mlp.experts.down_proj_bias", {4, 64}), kModelShape,
       "expected shape [5, 64], found [4, 64]"},
      {"blocks", reshape("model.layers.0.mlp.experts.gate_up_proj_blocks", {5, 256, 2, 15}), kModelShape,
       "expected shape [5, 256, 2, 16], found [5, 256, 2, 15]"},
      {"scales", reshape("model.layers.0.mlp.experts.down_proj_scales", {5, 64, 3}), kModelShape,
       "expected shape [5, 64, 4], found [5, 64, 3]"},
      {"F32 matrix", retype("model.layers.0.self_attn.o_proj.weight", DType::kF32), kModelShape,
       "tensor \"model.layers.0.self_attn.o_proj.weight\": expected BF16, found F32"},
      {"F16 router", retype("model.layers.0.mlp.router.weight", DType::kF16), kModelShape, "expected BF16, found F16"},
      {"F16 norm", retype("model.layers.0.input_layernorm.weight", DType::kF16), kModelShape,
       "expected BF16 or F32, found F16"},
      {"I8 blocks", retype("model.layers.0.mlp.experts.down_proj_blocks", DType::kI8), kModelShape,
       "expected U8, found I8"},
      {"one missing", remove({"model.layers.2.mlp.router.bias"}), kModelFormat,
       "expected 60 tensors, 1 is missing: \"model.layers.2.mlp.router.bias\""},
      {"three missing", remove({"model.layers.0.self_attn.sinks", "model.layers.1.self_attn.sinks", "lm_head.weight"}),
       kModelFormat, "expected 60 tensors, 3 are missing: \"lm_head.weight\" and others"},
      {"one too many",
       [](StoredModel& m) { m.tensors.push_back({"model.layers.3.self_attn.sinks", DType::kU8, {1}, "x"}); },
       kModelFormat,
       "tensor \"model.layers.3.self_attn.sinks\": no gpt-oss tensor of this name is expected, found 1 too many"},
      {"a rotary table", [](StoredModel& m) { m.tensors.push_back({"rotary.inv_freq", DType::kU8, {1}, "x"}); },
       kModelFormat, "tensor \"rotary.inv_freq\": no gpt-oss tensor of this name"},
      {"the same twice", [](StoredModel& m) { m.tensors.push_back(m.tensor("model.norm.weight")); }, kModelFormat,
       "the key \"model.norm.weight\" appears twice"},
      {"experts in BF16, of another shape",
       [](StoredModel& m) {
         m.remove("model.layers.0.mlp.experts.gate_up_proj_blocks");
         m.remove("model.layers.0.mlp.experts.gate_up_proj_scales");
         m.tensors.push_back({"model.layers.0.mlp.experts.gate_up_proj", DType::kBF16, {1}, "xx"});
       },
       kModelShape, "tensor \"model.layers.0.mlp.experts.gate_up_proj\": expected shape [5, 64, 256], found [1]"},
      {"other dimensions",
       [](StoredModel& m) { m.config = replaced(m.config, "\"head_dim\": 64", "\"head_dim\": 32"); }, kModelShape,
       "expected shape [128, 64], found [256, 64]"},
      {"other layers",
       [](StoredModel& m) {
         m.config = replaced(m.config, "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
         m.config = replaced(m.config, "\"layer_types\": [", "\"layer_types\": [\"full_attention\", ");
       },
       kModelFormat, "expected 79 tensors, 19 are missing: \"model.layers.3.input_layernorm.weight\" and others"},
  };
  const StoredModel golden = read_golden_model("c");
  const TempFolder folder;
  for (const Row& row : rows) {
    StoredModel model = golden;
    row.damage(model);
    model.write(folder.path());
    expect_error(row.name, row.code, row.part, [&] { open_checkpoint(folder.path()); });
    expect_error(row.name, row.code, folder.path(), [&] { open_checkpoint(folder.path()); });
  }
  CHECK_EQ(mappings_under(folder.path()), 0u);
}

TEST("checkpoint: tensors of the original layout that do not fit") {
  const StoredModel original = to_original_layout(read_golden_model("a"), kOriginalConfig);
  const TempFolder folder;
  StoredModel model = original;
  model.remove("block.3.attn.qkv.bias");
  model.write(folder.path());
  CHECK_THROWS(Code::kModelFormat, "expected 63 tensors, 1 is missing: \"block.3.attn.qkv.bias\"",
               open_checkpoint(folder.path()));
  model = original;
  model.tensor("block.3.attn.qkv.bias").shape = {1279};
  model.tensor("block.3.attn.qkv.bias").bytes.resize(2 * 1279);
  model.write(folder.path());
  CHECK_THROWS(Code::kModelShape, "tensor \"block.3.attn.qkv.bias\": expected shape [1280], found [1279]",
               open_checkpoint(folder.path()));
  model = original;
  model.remove("block.0.mlp.mlp2_weight.blocks");
  model.tensors.push_back({"block.0.mlp.mlp2_weight", DType::kBF16, {1}, "xx"});
  model.write(folder.path());
  CHECK_THROWS(Code::kUnsupported, "tensor \"block.0.mlp.mlp2_weight\": expected MXFP4 blocks",
               open_checkpoint(folder.path()));
  // the config of one layout with the tensors of the other
  model = {kOriginalConfig, read_golden_model("a").tensors};
  model.write(folder.path());
  CHECK_THROWS(Code::kModelFormat, "expected 63 tensors, 63 are missing: \"embedding.weight\"",
               open_checkpoint(folder.path()));
}

TEST("checkpoint: shards and their index") {
  struct Row {
    const char* name;
    std::function<void(const TempFolder&)> damage;
    const char* part;
  };
  const std::string index_text = read_bytes(golden_model("c") + "/model.safetensors.index.json");
  const std::string norm = "\"model.norm.weight\": \"model-00001-of-00002.safetensors\"";
  const auto edit = [&](const std::string& from, const std::string& to) {
    return [=](const TempFolder& folder) {
      write_bytes(folder / "model.safetensors.index.json", replaced(index_text, from, to));
    };
  };
  const auto index = [](const char* text) {
    return [=](const TempFolder& folder) { write_bytes(folder / "model.safetensors.index.json", text); };
  };
  const Row rows[] = {
      {"shard missing",
       [](const TempFolder& folder) { std::filesystem::remove(folder / "model-00001-of-00002.safetensors"); },
       "model.safetensors.index.json: the shard \"model-00001-of-00002.safetensors\" is missing"},
      {"shard cut short",
       [](const TempFolder& folder) {
         std::filesystem::resize_file(folder / "model-00001-of-00002.safetensors", 100000);
       },
       "model-00001-of-00002.safetensors: tensor \""},
      {"shard empty", [](const TempFolder& folder) { write_bytes(folder / "model-00002-of-00002.safetensors", ""); },
       "model-00002-of-00002.safetensors: expected a header length of 8 bytes"},
      {"shard swapped",
       [](const TempFolder& folder) {
         write_bytes(folder / "model-00002-of-00002.safetensors",
                     read_bytes(folder / "model-00000-of-00002.safetensors"));
       },
       "model-00002-of-00002.safetensors: tensor \"model.embed_tokens.weight\": "},
      {"not in the index", edit(norm, "\"x\": \"model-00001-of-00002.safetensors\""),
       "model-00001-of-00002.safetensors: tensor \"model.norm.weight\" is not in "},
      {"in another shard", edit(norm, "\"model.norm.weight\": \"model-00000-of-00002.safetensors\""),
       "model-00001-of-00002.safetensors: tensor \"model.norm.weight\": "},
      {"not in its shard", edit(norm, norm + ", \"x\": \"model-00001-of-00002.safetensors\""),
       "model-00001-of-00002.safetensors: expected tensor \"x\" as "},
      {"the same twice", edit(norm, norm + ", " + norm), "the key \"model.norm.weight\" appears twice"},
      {"outside the folder", edit(norm, "\"model.norm.weight\": \"../x.safetensors\""),
       "weight_map \"model.norm.weight\": expected the name of a .safetensors file beside the index, found "
       "\"../x.safetensors\""},
      {"another kind of file", edit(norm, "\"model.norm.weight\": \"model.bin\""),
       "beside the index, found \"model.bin\""},
      {"no file name", edit(norm, "\"model.norm.weight\": 1"),
       "weight_map \"model.norm.weight\": expected a file name, found 1 (integer)"},
      {"no JSON", index("{"), "model.safetensors.index.json: byte 1: expected a key"},
      {"no object", index("[]"), "weight_map: expected an object, found nothing"},
      {"no weight_map", index("{}"), "weight_map: expected an object, found nothing"},
      {"weight_map a list", index("{\"weight_map\": []}"), "weight_map: expected an object, found a list of 0"},
      {"weight_map empty", index("{\"weight_map\": {}}"), "expected 60 tensors, 60 are missing"},
      {"no index, one tensor in two files",
       [](const TempFolder& folder) {
         std::filesystem::remove(folder / "model.safetensors.index.json");
         write_bytes(folder / "z.safetensors", safetensors_of({{"model.norm.weight", DType::kBF16, {1}, "xx"}}));
       },
       "z.safetensors: tensor \"model.norm.weight\" is in "},
  };
  for (const Row& row : rows) {
    const TempFolder folder;
    copy_golden_c(folder);
    row.damage(folder);
    expect_error(row.name, Code::kModelFormat, row.part, [&] { open_checkpoint(folder.path()); });
    CHECK_EQ(mappings_under(folder.path()), 0u);
  }
}

TEST("checkpoint: MXFP4 scales") {
  const StoredModel golden = read_golden_model("c");
  const TempFolder folder;
  const auto write = [&](const char* tensor, size_t at, int value) {
    StoredModel model = golden;
    model.tensor(tensor).bytes[at] = char(value);
    model.write(folder.path());
  };
  const char* down = "model.layers.2.mlp.experts.down_proj_scales";  // [5, 64, 4]
  for (int value : {0, 1, 253, 254, 255}) {
    write(down, (3 * 64 + 17) * 4 + 2, value);
    expect_error(str("scale ", value), Code::kModelFormat,
                 str("/model.safetensors: tensor \"", down,
                     "\": expert 3, row 17, block 2: expected a scale in [2, 252], found ", value),
                 [&] { open_checkpoint(folder.path()); });
  }
  for (int value : {2, 252}) {
    write(down, 0, value);
    expect_success(str("scale ", value), [&] { open_checkpoint(folder.path()); });
  }
  write(down, 777, 200);
  CHECK_EQ(int(open_checkpoint(folder.path())->tensor(down).greatest_scale), 200);
  {
    StoredModel model = golden;
    for (const size_t at : {1200, 31, 900, 32}) model.tensor(down).bytes[at] = '\0';
    model.write(folder.path());
    CHECK_THROWS(Code::kModelFormat, "expert 0, row 7, block 3: ", open_checkpoint(folder.path()));
  }
  write("model.layers.0.mlp.experts.gate_up_proj_scales", 5 * 256 * 2 - 1, 255);
  CHECK_THROWS(Code::kModelFormat,
               "gate_up_proj_scales\": expert 4, row 255, block 1: ", open_checkpoint(folder.path()));
  // and in the original layout, under its own name
  StoredModel original = to_original_layout(read_golden_model("a"), kOriginalConfig);
  original.tensor("block.1.mlp.mlp1_weight.scales").bytes[0] = '\0';
  original.write(folder.path());
  CHECK_THROWS(Code::kModelFormat,
               "tensor \"block.1.mlp.mlp1_weight.scales\": expert 0, row 0, block 0: ", open_checkpoint(folder.path()));
}

// Five ranges for threads, the last one short.
TEST("checkpoint: scales of many threads' ranges") {
  const TempFolder folder;
  const size_t experts = 5, rows = 1024, blocks = 4096, bytes = experts * rows * blocks - 77;
  std::string scales(bytes, char(120));
  scales[bytes - 1] = char(130);
  write_bytes(folder / "scales", scales);
  HostTensor tensor{.name = "scales", .file = folder / "scales", .dtype = DType::kU8, .shape = {5, 1024, 4096}};
  tensor.bytes = bytes;
  ThreadPool pool(3);
  const auto check = [&] {
    const auto mapping = MappedFile::open(tensor.file);
    tensor.mapping = mapping.get();
    tensor.data = mapping->data();
    return check_scales(tensor, pool, {});
  };
  CHECK_EQ(int(check()), 130);
  for (const size_t at : {bytes - 1, 3 * rows * blocks + 5, size_t(9'000'000)}) {
    scales[at] = char(1);
    write_bytes(tensor.file, scales);
    CHECK_THROWS(Code::kModelFormat,
                 str("expert ", at / blocks / rows, ", row ", at / blocks % rows, ", block ", at % blocks, ": "),
                 check());
  }
  const auto mapping = MappedFile::open(tensor.file);
  tensor.mapping = mapping.get();
  tensor.data = mapping->data();
  std::filesystem::resize_file(tensor.file, bytes / 2);
  CHECK_THROWS(Code::kModelFormat, "it must not be changed while it is loaded", check_scales(tensor, pool, {}));
  CHECK_THROWS(Code::kCancelled, "was cancelled", check_scales(tensor, pool, [] { return true; }));
}

TEST("checkpoint: opening can be cancelled, and leaves nothing mapped") {
  int asked = 0;
  CHECK_THROWS(Code::kCancelled, "was cancelled", open_checkpoint(golden_model("b"), [&] { return ++asked == 3; }));
  CHECK_EQ(asked, 3);
  CHECK_EQ(mappings_under(golden_model("b")), 0u);
  const auto open = open_checkpoint(golden_model("b"), [] { return false; });
  CHECK_EQ(mappings_under(golden_model("b")), std::filesystem::exists("/proc/self/maps") ? 1u : 0u);
}

TEST("checkpoint: damaged headers of a whole model never crash") {
  const StoredModel golden = read_golden_model("c");
  const TempFolder folder;
  golden.write(folder.path());
  const std::string valid = read_bytes(folder / "model.safetensors");
  const size_t header_end = valid.find("}}") + 2;
  std::mt19937 random(4);
  for (int round = 0; round < 300; ++round) {
    std::string bytes = valid;
    const size_t at = random() % header_end;
    bytes[at] = random() % 4 == 0 ? char(random()) : "0123456789[]{},:\"-"[random() % 18];
    write_bytes(folder / "model.safetensors", bytes);
    try {
      const auto checkpoint = open_checkpoint(folder.path());
      CHECK_EQ(checkpoint->tensors.size(), 60u);
    } catch (const Error& error) {
      if (error.code() != Code::kModelFormat && error.code() != Code::kModelShape && error.code() != Code::kUnsupported)
        fail(__FILE__, __LINE__, error.what());
    }
  }
}
