#include "native/model/config.h"

#include <cmath>
#include <limits>
#include <random>

#include "native/checkpoint/layout.h"
#include "native/checkpoint/synthetic.h"
#include "native/model/weight_sums.h"
#include "test/native/checkpoint_files.h"

using namespace oss;
using namespace oss::test;

static const char kOriginal[] = R"({"num_hidden_layers": 4, "num_experts": 8, "experts_per_token": 4, "vocab_size": 512,
  "hidden_size": 96, "intermediate_size": 96, "swiglu_limit": 7.0, "head_dim": 64, "num_attention_heads": 16,
  "num_key_value_heads": 2, "sliding_window": 128, "initial_context_length": 4096, "rope_theta": 150000,
  "rope_scaling_factor": 32.0, "rope_ntk_alpha": 1, "rope_ntk_beta": 32})";

static Config read(const std::string& text) {
  const Json json = parse_json(text, "config.json");
  const JsonReader reader("config.json", json);
  Config config = layout_of(reader).read_config(reader);
  check_config(config, "config.json");
  return config;
}

static std::string golden_config() { return read_bytes(golden_model("a") + "/config.json"); }

struct BadEdit {
  const char* from;
  const char* to;
  Code code;
  const char* part;
};

TEST("config: every value of a Hugging Face config.json") {
  const Config c = read(golden_config());
  CHECK_EQ(c.num_layers, 4);
  CHECK_EQ(c.hidden, 96);
  CHECK_EQ(c.intermediate, 96);
  CHECK_EQ(c.num_heads, 16);
  CHECK_EQ(c.num_kv_heads, 2);
  CHECK_EQ(c.head_dim, 64);
  CHECK_EQ(c.num_experts, 8);
  CHECK_EQ(c.experts_per_token, 4);
  CHECK_EQ(c.vocab, 512);
  CHECK_EQ(c.sliding_window, 128);
  CHECK(c.layer_sliding == (std::vector<bool>{true, false, true, false}));
  CHECK(c.window_of(0) == 128 && c.window_of(1) == 0);
  CHECK_EQ(c.rms_eps, 1e-5f);
  CHECK_EQ(c.swiglu_limit, 7.0f);
  CHECK_EQ(c.swiglu_alpha, 1.702f);
  CHECK_EQ(c.rope.theta, 150000.0);
  CHECK_EQ(c.rope.factor, 32.0);
  CHECK_EQ(c.rope.beta_fast, 32.0);
  CHECK_EQ(c.rope.beta_slow, 1.0);
  CHECK_EQ(c.rope.original_context, 4096);
  CHECK(!c.rope.truncate);
  CHECK_EQ(c.max_context, 131072);
  CHECK(c.eos_tokens == std::vector<int32_t>{510});
}

TEST("config: the original config.json gives the same values") {
  const Config original = read(kOriginal), huggingface = read(golden_config());
  CHECK(original.num_layers == huggingface.num_layers && original.hidden == huggingface.hidden);
  CHECK(original.num_experts == huggingface.num_experts && original.experts_per_token == huggingface.experts_per_token);
  CHECK(original.layer_sliding == huggingface.layer_sliding && original.sliding_window == huggingface.sliding_window);
  CHECK(original.rope.theta == 150000 && original.rope.factor == 32 && original.rope.original_context == 4096);
  CHECK(original.rope.beta_slow == 1 && original.rope.beta_fast == 32 && !original.rope.truncate);
  CHECK_EQ(original.max_context, huggingface.max_context);
  CHECK(original.rms_eps == 1e-5f && original.swiglu_alpha == 1.702f && original.swiglu_limit == 7);
  CHECK(original.eos_tokens.empty());
}

TEST("config: the forms that writers use") {
  const std::string config = golden_config();
  const std::string types =
      config.substr(config.find("\"layer_types\""), config.find("\"max_position") - config.find("\"layer_types\""));
  const std::string yarn =
      config.substr(config.find("\"rope_scaling\""), config.find("\"rope_theta\"") - config.find("\"rope_scaling\""));
  const std::string quantization = config.substr(
      config.find("\"quantization_config\""), config.find("\"rms_norm_eps") - config.find("\"quantization_config\""));

  CHECK(read(replaced(config, types, "")).layer_sliding == (std::vector<bool>{true, false, true, false}));
  CHECK(read(replaced(config, types, "\"layer_types\": null,")).layer_sliding.size() == 4);
  const Config all_full =
      read(replaced(replaced(config, "\"sliding_window\": 128", "\"sliding_window\": null"), types,
                    R"("layer_types": ["full_attention", "full_attention", "full_attention", "full_attention"],)"));
  CHECK(all_full.sliding_window == 0 && all_full.window_of(0) == 0);

  // transformers 5: rope_parameters, with theta inside; swiglu_alpha written out
  const Config five = read(replaced(
      replaced(
          config, yarn,
          R"("rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "beta_fast": 16, "beta_slow": 2,
         "truncate": true, "original_max_position_embeddings": 2048}, "swiglu_alpha": 1.5,)"),
      "\"rope_theta\": 150000,", ""));
  CHECK(five.rope.theta == 10000 && five.rope.factor == 4 && five.rope.beta_fast == 16 && five.rope.beta_slow == 2);
  CHECK(five.rope.truncate && five.rope.original_context == 2048 && five.swiglu_alpha == 1.5f);
  // defaults of transformers
  const Config sparse = read(replaced(config, yarn, R"("rope_scaling": {"type": "yarn", "factor": 2},)"));
  CHECK(sparse.rope.beta_fast == 32 && sparse.rope.beta_slow == 1 && sparse.rope.truncate);
  CHECK_EQ(sparse.rope.original_context, 4096);  // initial_context_length
  for (const char* plain : {"", "\"rope_scaling\": null,", R"("rope_scaling": {"rope_type": "default"},)",
                            R"("rope_parameters": {"rope_theta": 150000.0},)"}) {
    const Config c = read(replaced(config, yarn, plain));
    CHECK(c.rope.factor == 1 && c.rope.theta == 150000 && c.rope.original_context == c.max_context);
  }

  CHECK(read(replaced(config, quantization, "")).num_experts == 8);
  CHECK(read(replaced(config, "\"rms_norm_eps\": 1e-05,", "")).rms_eps == 1e-5f);
  CHECK(read(replaced(config, "\"swiglu_limit\": 7.0,", "")).swiglu_limit == 7);
  CHECK(read(replaced(config, "\"swiglu_limit\": 7.0,", "\"swiglu_limit\": 5,")).swiglu_limit == 5);
  CHECK(read(replaced(config, "\"num_experts_per_tok\": 4,", "")).experts_per_token == 4);
  CHECK(read(replaced(config, "\"experts_per_token\": 4,", "")).experts_per_token == 4);
  CHECK(read(replaced(config, "\"num_local_experts\": 8,", "\"num_experts\": 8,")).num_experts == 8);
  CHECK(read(replaced(config, "\"model_type\": \"gpt_oss\",", "")).num_layers == 4);
  CHECK(read(replaced(config, "\"eos_token_id\": 510,", "\"eos_token_id\": [510, 7],")).eos_tokens ==
        (std::vector<int32_t>{510, 7}));
  CHECK(read(replaced(config, "\"eos_token_id\": 510,", "\"eos_token_id\": null,")).eos_tokens.empty());
}

TEST("config: invalid values of a Hugging Face config.json are refused") {
  using enum Code;
  const BadEdit rows[] = {
      {"\"model_type\": \"gpt_oss\"", "\"model_type\": \"llama\"", kUnsupported,
       "model_type: not a gpt-oss model: \"llama\""},
      {"\"model_type\": \"gpt_oss\"", "\"model_type\": 5", kModelFormat,
       "model_type: expected a string, found 5 (integer)"},
      {"\"GptOssForCausalLM\"", "\"LlamaForCausalLM\"", kUnsupported,
       "architectures: not a gpt-oss model: \"LlamaForCausalLM\""},
      {"\"GptOssForCausalLM\"", "", kUnsupported, "architectures: not a gpt-oss model: none"},
      {"\"GptOssForCausalLM\"", "null", kModelFormat, "architectures: expected a list of strings, found null in it"},
      {"\"num_hidden_layers\": 4,", "", kModelFormat,
       "num_hidden_layers: expected an integer in [1, 16777216], found nothing"},
      {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": null", kModelFormat,
       "num_hidden_layers: expected an integer"},
      {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": \"4\"", kModelFormat, "found \"4\" (string)"},
      {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": 4.5", kModelFormat, "found 4.5 (number)"},
      {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": [4]", kModelFormat, "found a list of 1"},
      {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": true", kModelFormat, "found true (boolean)"},
      {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": 0", kModelFormat,
       "num_hidden_layers: expected an integer in [1, 16777216], found 0"},
      {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": -4", kModelFormat, "found -4 (integer)"},
      {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": 5", kModelFormat,
       "layer_types: expected one entry for each of 5 layers, found 4"},
      {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": 2147483647", kModelFormat, "found 2147483647 (integer)"},
      {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": 9223372036854775808", kModelFormat,
       "num_hidden_layers: expected an integer"},
      {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": 1025", kUnsupported,
       "num_hidden_layers: expected at most 1024, found 1025"},
      {"\"hidden_size\": 96", "\"hidden_size\": 100", kModelFormat,
       "hidden_size: expected a multiple of 32, the MXFP4 block, found 100"},
      {"\"hidden_size\": 96", "\"hidden_size\": 65568", kUnsupported,
       "hidden_size: expected at most 65536, found 65568"},
      {"\"intermediate_size\": 96", "\"intermediate_size\": 95", kModelFormat,
       "intermediate_size: expected a multiple of 32"},
      {"\"intermediate_size\": 96", "\"intermediate_size\": 999999999999", kModelFormat,
       "intermediate_size: expected an integer in"},
      {"\"num_attention_heads\": 16", "\"num_attention_heads\": 15", kModelFormat,
       "num_attention_heads: expected a multiple of num_key_value_heads = 2, found 15"},
      {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 0", kModelFormat,
       "num_key_value_heads: expected an integer in"},
      {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 32", kModelFormat,
       "a multiple of num_key_value_heads = 32, found 16"},
      {"\"head_dim\": 64", "\"head_dim\": 63", kModelFormat,
       "head_dim: expected a multiple of 2, as RoPE turns pairs, found 63"},
      {"\"head_dim\": 64", "\"head_dim\": 512", kUnsupported, "head_dim: expected at most 256, found 512"},
      {"\"num_local_experts\": 8", "\"num_local_experts\": 3", kModelFormat,
       "num_experts_per_tok: expected at most num_local_experts = 3, found 4"},
      {"\"num_local_experts\": 8", "\"num_local_experts\": 1025", kUnsupported,
       "num_local_experts: expected at most 1024"},
      {"\"num_local_experts\": 8", "\"num_local_experts\": 8, \"num_experts\": 9", kModelFormat,
       "num_local_experts: expected the same as num_experts = 9, found 8"},
      {"\"experts_per_token\": 4", "\"experts_per_token\": 2", kModelFormat,
       "num_experts_per_tok: expected the same as experts_per_token = 2, found 4"},
      {"\"num_experts_per_tok\": 4", "\"num_experts_per_tok\": \"four\"", kModelFormat,
       "num_experts_per_tok: expected an integer"},
      {"\"vocab_size\": 512", "\"vocab_size\": 0", kModelFormat, "vocab_size: expected an integer in"},
      {"\"vocab_size\": 512", "\"vocab_size\": 8000000", kUnsupported, "vocab_size: expected at most 4194304"},
      {"\"vocab_size\": 512", "\"vocab_size\": 500", kModelFormat,
       "eos_token_id: expected ids below vocab_size = 500, found 510"},
      {"\"sliding_window\": 128", "\"sliding_window\": 0", kModelFormat, "sliding_window: expected an integer in"},
      {"\"sliding_window\": 128", "\"sliding_window\": null", kModelFormat,
       "sliding_window: expected an integer in [1, 16777216], found null"},
      {"\"sliding_window\": 128,", "", kModelFormat, "sliding_window: expected an integer"},
      {"\"layer_types\": [", "\"layer_types\": [\"chunked_attention\", ", kModelFormat,
       "layer_types: expected \"sliding_attention\" or \"full_attention\", found \"chunked_attention\""},
      {"\"layer_types\": [", "\"layer_types\": [7, ", kModelFormat,
       "layer_types: expected a list of strings, found 7 (integer) in it"},
      {"\"layer_types\": [", "\"layer_types\": {}, \"x\": [", kModelFormat,
       "layer_types: expected a list of strings, found an object"},
      {"\"layer_types\": [", "\"layer_types\": [\"full_attention\", ", kModelFormat,
       "layer_types: expected one entry for each of 4 layers, found 5"},
      {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 0", kModelFormat,
       "rms_norm_eps: expected a finite number above 0, found 0"},
      {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 1e-60", kModelFormat,
       "rms_norm_eps: expected a finite number above 0, found 0"},
      {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 1e60", kModelFormat,
       "rms_norm_eps: expected a finite number above 0, found inf"},
      {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": NaN", kModelFormat, "expected a value, found 'N'"},
      {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": \"tiny\"", kModelFormat,
       "rms_norm_eps: expected a number, found \"tiny\" (string)"},
      {"\"swiglu_limit\": 7.0", "\"swiglu_limit\": -7.0", kModelFormat,
       "swiglu_limit: expected a finite number above 0, found -7"},
      {"\"swiglu_limit\": 7.0", "\"swiglu_limit\": 7.0, \"swiglu_alpha\": 0", kModelFormat,
       "swiglu_alpha: expected a finite number above 0"},
      {"\"rope_theta\": 150000,", "", kModelFormat, "rope_theta: expected a number, found nothing"},
      {"\"rope_theta\": 150000", "\"rope_theta\": 1", kModelFormat,
       "rope_theta: expected a finite number above 1, found 1"},
      {"\"rope_type\": \"yarn\"", "\"rope_type\": \"yarn\", \"rope_theta\": 1e4", kModelFormat,
       "rope_scaling.rope_theta: expected the same as outside, 150000, found 10000"},
      {"\"rope_type\": \"yarn\"", "\"rope_type\": \"llama3\"", kUnsupported,
       "rope_scaling.rope_type: expected \"yarn\" or \"default\", found \"llama3\""},
      {"\"rope_type\": \"yarn\"", "\"type\": \"linear\"", kUnsupported,
       "rope_scaling.type: expected \"yarn\" or \"default\", found \"linear\""},
      {"\"rope_type\": \"yarn\"", "\"rope_type\": \"yarn\", \"mscale\": 1", kUnsupported,
       "rope_scaling.mscale: expected nothing, found 1"},
      {"\"rope_type\": \"yarn\"", "\"rope_type\": \"yarn\", \"attention_factor\": 1", kUnsupported,
       "rope_scaling.attention_factor: expected 0.1 ln(factor) + 1 = 1.34657, found 1"},
      {"\"rope_type\": \"yarn\"", "\"rope_type\": \"yarn\", \"partial_rotary_factor\": 0.5", kUnsupported,
       "partial_rotary_factor: expected 1"},
      {"\"factor\": 32.0,", "", kModelFormat, "rope_scaling.factor: expected a number, found nothing"},
      {"\"factor\": 32.0", "\"factor\": 0.5", kModelFormat,
       "rope_scaling factor: expected a finite number of 1 or more, found 0.5"},
      {"\"factor\": 32.0", "\"factor\": \"32\"", kModelFormat,
       "rope_scaling.factor: expected a number, found \"32\" (string)"},
      {"\"beta_fast\": 32.0", "\"beta_fast\": 1.0", kModelFormat,
       "rope_scaling beta_fast: expected a finite number above beta_slow = 1, found 1"},
      {"\"beta_slow\": 1.0", "\"beta_slow\": 0", kModelFormat,
       "rope_scaling beta_slow: expected a finite number above 0, found 0"},
      {"\"truncate\": false", "\"truncate\": \"no\"", kModelFormat,
       "rope_scaling.truncate: expected true or false, found \"no\" (string)"},
      {"\"original_max_position_embeddings\": 4096", "\"original_max_position_embeddings\": 0", kModelFormat,
       "rope_scaling.original_max_position_embeddings: expected an integer in [1, 1099511627776], found 0"},
      {"\"rope_scaling\": {", "\"rope_scaling\": 32, \"x\": {", kModelFormat,
       "rope_scaling: expected an object, found 32"},
      {"\"max_position_embeddings\": 131072,", "", kModelFormat, "max_position_embeddings: expected an integer"},
      {"\"max_position_embeddings\": 131072", "\"max_position_embeddings\": 3000000000", kUnsupported,
       "max_position_embeddings: expected positions that fit 31 bits, found 3000000000"},
      {"\"eos_token_id\": 510", "\"eos_token_id\": 512", kModelFormat,
       "eos_token_id: expected ids below vocab_size = 512, found 512"},
      {"\"eos_token_id\": 510", "\"eos_token_id\": -1", kModelFormat,
       "eos_token_id: expected a token id or a list of them, found -1"},
      {"\"eos_token_id\": 510", "\"eos_token_id\": [510, \"x\"]", kModelFormat,
       "eos_token_id: expected a token id or a list of them, found \"x\""},
      {"\"eos_token_id\": 510", "\"eos_token_id\": 510.0", kModelFormat, "eos_token_id: expected a token id"},
      {"\"attention_bias\": true", "\"attention_bias\": false", kUnsupported,
       "attention_bias: expected true, found false"},
      {"\"attention_bias\": true", "\"attention_bias\": 1", kModelFormat,
       "attention_bias: expected true or false, found 1"},
      {"\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", kUnsupported,
       "tie_word_embeddings: expected false, found true"},
      {"\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", kUnsupported,
       "hidden_act: expected \"silu\", found \"gelu\""},
      {"\"use_cache\": true", "\"use_cache\": true, \"head_dim\": 64", kModelFormat,
       "the key \"head_dim\" appears twice"},
  };
  const std::string config = golden_config();
  for (const BadEdit& row : rows)
    expect_error(row.to, row.code, row.part, [&] { read(replaced(config, row.from, row.to)); });
  for (const BadEdit& row : rows)
    expect_error(row.to, row.code, "config.json: ", [&] { read(replaced(config, row.from, row.to)); });
  expect_error("an array", Code::kModelFormat, "config.json: expected an object, found a list of 0",
               [] { read("[]"); });
  expect_error("nothing", Code::kModelFormat, "model_type: expected \"gpt_oss\", found nothing", [] { read("{}"); });
}

TEST("config: invalid values of an original config.json are refused") {
  using enum Code;
  const BadEdit rows[] = {
      {"\"num_experts\": 8", "\"num_experts\": 0", kModelFormat, "num_experts: expected an integer in"},
      {"\"num_experts\": 8, ", "", kModelFormat, "num_experts: expected an integer in [1, 16777216], found nothing"},
      {"\"experts_per_token\": 4", "\"experts_per_token\": 17", kUnsupported,
       "num_experts_per_tok: expected at most 16, found 17"},
      {"\"sliding_window\": 128", "\"sliding_window\": -1", kModelFormat, "sliding_window: expected an integer"},
      {"\"rope_theta\": 150000", "\"rope_theta\": \"150000\"", kModelFormat,
       "rope_theta: expected a number, found \"150000\" (string)"},
      {"\"rope_scaling_factor\": 32.0", "\"rope_scaling_factor\": 1e300", kModelFormat,
       "rope_scaling_factor: expected a factor whose product"},
      {"\"rope_scaling_factor\": 32.0", "\"rope_scaling_factor\": -2", kModelFormat,
       "rope_scaling_factor: expected a factor whose product"},
      {"\"rope_scaling_factor\": 32.0", "\"rope_scaling_factor\": 0.5", kModelFormat,
       "rope_scaling factor: expected a finite number of 1 or more"},
      {"\"rope_scaling_factor\": 32.0", "\"rope_scaling_factor\": 1000000", kUnsupported,
       "expected positions that fit 31 bits, found 4096000000"},
      {"\"rope_ntk_alpha\": 1", "\"rope_ntk_alpha\": 64", kModelFormat,
       "beta_fast: expected a finite number above beta_slow = 64, found 32"},
      {"\"initial_context_length\": 4096, ", "", kModelFormat, "initial_context_length: expected an integer"},
  };
  for (const BadEdit& row : rows)
    expect_error(row.to, row.code, row.part, [&] { read(replaced(kOriginal, row.from, row.to)); });
}

TEST("config: values that no file can hold are refused too") {
  Config c = synthetic_checkpoint("synthetic:20b")->config;
  expect_success("20b", [&] { check_config(c, "f"); });
  c.rms_eps = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS(Code::kModelFormat, "f: rms_norm_eps: expected a finite number above 0, found nan",
               check_config(c, "f"));
  c = synthetic_checkpoint("synthetic:20b")->config;
  c.rope.theta = std::numeric_limits<double>::infinity();
  CHECK_THROWS(Code::kModelFormat, "rope_theta: expected a finite number above 1, found inf", check_config(c, "f"));
  c = synthetic_checkpoint("synthetic:20b")->config;
  c.hidden = -32;
  CHECK_THROWS(Code::kModelFormat, "hidden_size: expected 1 or more, found -32", check_config(c, "f"));
}

TEST("config: parameters of the released models") {
  // The model card: 20.91 and 116.83 billion.
  CHECK_EQ(std::round(double(parameters(synthetic_checkpoint("synthetic:20b")->config)) / 1e7), 2091.0);
  CHECK_EQ(std::round(double(parameters(synthetic_checkpoint("synthetic:120b")->config)) / 1e7), 11683.0);
}

TEST("config: bytes per token of the released models") {
  // shared numbers of the roofline: 20b 2.44 + 1.27 GB, 120b 3.10 + 1.91 GB; KV 24 and 36 KiB per token at 2 bytes
  CHECK(std::fabs(bytes_per_token(synthetic_checkpoint("synthetic:20b")->config, 0, 2) / 3.71e9 - 1) < 2e-3);
  CHECK(std::fabs(bytes_per_token(synthetic_checkpoint("synthetic:120b")->config, 0, 2) / 5.00e9 - 1) < 2e-3);
  const Config c = synthetic_checkpoint("synthetic:20b")->config;
  CHECK_EQ(bytes_per_token(c, 1001, 2) - bytes_per_token(c, 1000, 2), 24.0 * 1024);
  CHECK_EQ(bytes_per_token(c, 101, 2) - bytes_per_token(c, 100, 2),
           48.0 * 1024);  // sliding layers too, below the window
  CHECK_EQ(bytes_per_token(c, 1001, 4) - bytes_per_token(c, 1000, 4), 48.0 * 1024);
}

TEST("config: the context whose attention takes as long as the rest of a token") {
  CHECK_EQ(context_of_a_token(synthetic_checkpoint("synthetic:20b")->config), 61605);
  Config c = synthetic_checkpoint("synthetic:20b")->config;
  c.layer_sliding.assign(c.layer_sliding.size(), true);
  CHECK_EQ(context_of_a_token(c), 0);
}

TEST("config: 20,000 damaged configs never crash") {
  const std::string texts[] = {golden_config(), kOriginal};
  std::mt19937 random(3);
  size_t accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = texts[round % 2];
    for (uint32_t edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % text.size();
      text[at] = random() % 4 == 0 ? char(random()) : "0123456789-.eE,\"{}[]"[random() % 20];
    }
    try {
      const Config c = read(text);
      CHECK(std::isfinite(bytes_per_token(c, c.max_context, 4)) && parameters(c) > 0);
      ++accepted;
    } catch (const Error& error) {
      if (error.code() != Code::kModelFormat && error.code() != Code::kUnsupported)
        fail(__FILE__, __LINE__, error.what());
    }
  }
  CHECK(accepted > 0 && accepted < 20'000);
}
