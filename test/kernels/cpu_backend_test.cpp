#include <cstdlib>
#include <cstring>

#include "test/kernels/support.h"

namespace oss::test {

// Sets GPT_OSS_ISA for the length of a test.
class WithIsa {
 public:
  explicit WithIsa(const char* value) {
    const char* before = std::getenv("GPT_OSS_ISA");
    if (before != nullptr) before_ = std::make_unique<std::string>(before);
    setenv("GPT_OSS_ISA", value, 1);
  }
  ~WithIsa() {
    if (before_ != nullptr) {
      setenv("GPT_OSS_ISA", before_->c_str(), 1);
    } else {
      unsetenv("GPT_OSS_ISA");
    }
  }

 private:
  std::unique_ptr<std::string> before_;
};

TEST("dispatch: GPT_OSS_ISA selects an instruction set, or the error lists them") {
  CHECK(std::strcmp(cpu::available_kernels().back()->isa, "scalar") == 0);
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    const WithIsa isa(kernels->isa);
    CHECK_EQ(make_backend({"cpu", 1})->info().isa, std::string(kernels->isa));
  }
  for (const char* misspelt : {"avx1024", "AVX2", "scalar "}) {
    const WithIsa isa(misspelt);
    CHECK_THROWS(Code::kInvalidArgument, "scalar", make_backend({"cpu", 1}));
  }
  // No machine has those of both architectures.
#if defined(__x86_64__)
  const WithIsa foreign("neon");
#else
  const WithIsa foreign("avx2");
#endif
  CHECK_THROWS(Code::kUnsupported, "which this machine does not have", make_backend({"cpu", 1}));
}

TEST("dispatch: an empty GPT_OSS_ISA means the fastest") {
  const WithIsa empty("");
  const bool fast = !cpu::available_bf16_kernels().empty();
  CHECK_EQ(make_backend({.backend = "cpu", .threads = 1, .numerics = "exact"})->info().isa,
           std::string(cpu::available_kernels().front()->isa));
  const DeviceInfo chosen = make_backend({"cpu", 1})->info();
  CHECK_EQ(chosen.numerics, std::string(fast ? "fast" : "exact"));
  if (fast) CHECK_EQ(chosen.isa, std::string(cpu::available_bf16_kernels().front()->isa));
}

TEST("dispatch: numerics and GPT_OSS_ISA together") {
  for (const cpu::Bf16Kernels* bf16 : cpu::available_bf16_kernels()) {
    const WithIsa isa(bf16->isa);
    CHECK_EQ(make_backend({"cpu", 1})->info().isa, std::string(bf16->isa));
    CHECK_EQ(make_backend({.backend = "cpu", .numerics = "exact"})->info().isa,
             std::string(cpu::available_kernels().front()->isa));
  }
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    const WithIsa isa(kernels->isa);
    CHECK_EQ(make_backend({"cpu", 1})->info().numerics, std::string("exact"));
    CHECK_THROWS(Code::kUnsupported, "bf16", make_backend({.backend = "cpu", .numerics = "fast"}));
  }
}

TEST("dispatch: the status names the chosen set, and why others are not chosen") {
  const std::string detail = list_backends()[0].detail;
  for (const cpu::IsaStatus& isa : cpu::isa_status()) {
    CHECK(detail.find(isa.isa) != std::string::npos);
    CHECK(isa.available == (*isa.reason == '\0'));
    if (!isa.available) CHECK(detail.find(isa.reason) != std::string::npos);
  }
}

TEST("registry: cpu exists, auto is the best, and unusable backends give a reason") {
  const auto all = list_backends();
  CHECK_EQ(all.size(), size_t(3));
  CHECK(all[0].name == "cpu" && all[0].available && all[0].detail.find("scalar") != std::string::npos);
  CHECK(all[1].name == "cuda" && !all[1].detail.empty());
  CHECK(all[2].name == "metal" && !all[2].available);
  CHECK_EQ(make_backend({.backend = "auto"})->info().backend, std::string(all[1].available ? "cuda" : "cpu"));
  CHECK_EQ(make_backend({.backend = "auto", .numerics = "exact"})->info().backend, std::string("cpu"));
  CHECK_EQ(make_backend({.backend = "auto", .dense_weights = DenseWeights::kQ8})->info().backend, std::string("cpu"));
  CHECK_EQ(make_backend({.backend = "auto", .expert_weights = ExpertWeights::kBF16})->info().backend,
           std::string("cpu"));
  CHECK_EQ(make_backend({"cpu", 3})->info().threads, 3);
  CHECK(!make_backend({"cpu", 0})->info().device.empty());
  if (!all[1].available) CHECK_THROWS(Code::kUnsupported, "cannot be used", make_backend({"cuda", 1}));
  CHECK_THROWS(Code::kUnsupported, "use \"cpu\", or \"auto\"", make_backend({"metal", 1}));
  std::string why;
  CHECK_EQ(make_backend({"cpu", 1}, &why)->info().backend, std::string("cpu"));
  CHECK_EQ(why, std::string("asked for"));
  make_backend({.backend = "auto", .numerics = "exact"}, &why);
  CHECK_EQ(why, std::string("numerics \"exact\" is for the CPU"));
  for (const char* name : {"", "gpu", "cpu:1", "CUDA"})
    CHECK_THROWS(Code::kInvalidArgument, "expected \"auto\"", make_backend({name, 1}));
  CHECK_THROWS(Code::kInvalidArgument, "threads", make_backend({"cpu", -1}));
}

TEST("cpu_backend: memory is zero, lazy, and refused by name") {
  CpuBackend backend(*cpu::available_kernels().front(), 1);
  const Buffer small = backend.allocate(100, "a test");
  for (int i = 0; i < 100; ++i) CHECK_EQ(int(small.as<uint8_t>()[i]), 0);
  const Buffer large = backend.allocate(size_t(1) << 36, "a test");  // 64 GB, never touched
  large.as<uint8_t>()[size_t(1) << 35] = 1;
  CHECK_EQ(backend.allocate(0, "nothing").bytes(), size_t(0));
  CHECK_THROWS(Code::kOutOfMemory, "for the KV cache", backend.allocate(size_t(1) << 60, "the KV cache"));
}

TEST("cpu_backend: weights stay in the file, vectors become f32") {
  CpuBackend backend(*cpu::available_kernels().front(), 1);
  const std::vector<uint16_t> bf16 = random_bf16(6, 1);
  const std::vector<float> f32 = random_floats(6, 2);
  const Matrix matrix =
      backend.packer().pack_matrix(tensor_of("m", DType::kBF16, {2, 3}, bf16.data()), MatrixUse::kTable);
  CHECK(matrix.data == bf16.data() && matrix.rows == 2 && matrix.cols == 3);
  CHECK_EQ(backend.packer().packed_bytes(), size_t(0));
  const Vector a = backend.packer().pack_vector(tensor_of("a", DType::kBF16, {6}, bf16.data()));
  const Vector b = backend.packer().pack_vector(tensor_of("b", DType::kF32, {6}, f32.data()));
  CHECK_EQ(a.size, 6);
  for (int i = 0; i < 6; ++i) {
    CHECK_EQ(a.data[i], bf16_to_f32(bf16[i]));
    CHECK_EQ(b.data[i], f32[i]);
  }
  CHECK_EQ(backend.packer().packed_bytes(), size_t(48));
  CHECK_THROWS(Code::kUnsupported, "BF16 matrix for m but it is F32",
               backend.packer().pack_matrix(tensor_of("m", DType::kF32, {2, 3}, f32.data()), MatrixUse::kTable));

  const std::vector<uint8_t> blocks = random_bytes(2 * 4 * 3 * 16, 3), scales = random_bytes(2 * 4 * 3, 4);
  const std::vector<uint16_t> bias = random_bf16(8, 5);
  const ExpertMatrix experts =
      backend.packer().pack_experts(tensor_of("blocks", DType::kU8, {2, 4, 3, 16}, blocks.data()),
                                    tensor_of("scales", DType::kU8, {2, 4, 3}, scales.data()),
                                    tensor_of("bias", DType::kBF16, {2, 4}, bias.data()), ExpertUse::kDown);
  CHECK(experts.blocks == blocks.data() && experts.scales == scales.data());
  CHECK(experts.experts == 2 && experts.rows == 4 && experts.cols == 96);
  CHECK_EQ(experts.bias[7], bf16_to_f32(bias[7]));
  CHECK_EQ(backend.packer().packed_bytes(), size_t(80));
}

TEST("embed, gather_rows, read: rows are copied exactly, any width") {
  for (const int hidden : {5, 16, 96}) {
    const std::vector<uint16_t> table = random_bf16(size_t(7) * hidden, 1);
    const std::vector<int32_t> tokens = {6, 0, 3, 3}, wanted = {3, 0};
    for (const cpu::Kernels* kernels : cpu::available_kernels()) {
      CpuBackend backend(*kernels, 2);
      Step step;
      step.tokens = tokens;
      step.num_tokens = 4;
      step.logit_tokens = wanted;
      step.num_rows = 2;
      std::vector<float> x(size_t(4) * hidden), rows(size_t(2) * hidden), host(size_t(2) * hidden);
      backend.embed({4, hidden}, {table.data(), 7, hidden}, step, x.data());
      backend.gather_rows(step, hidden, x.data(), rows.data());
      backend.read(rows.data(), host);
      for (int t = 0; t < 4; ++t) {
        for (int c = 0; c < hidden; ++c) CHECK_EQ(x[t * hidden + c], bf16_to_f32(table[tokens[t] * hidden + c]));
      }
      for (int c = 0; c < hidden; ++c) CHECK(host[c] == x[3 * hidden + c] && host[hidden + c] == x[c]);
    }
  }
}

TEST("rope and rms_norm: many tokens on threads equal the kernel itself") {
  const int tokens = 37, heads = 3, head_dim = 64, row = heads * head_dim;
  const std::vector<float> x = random_floats(size_t(tokens) * row, 1),
                           table = random_floats(size_t(tokens) * head_dim, 2), w = random_floats(row, 3);
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    CpuBackend backend(*kernels, 3);
    Step step;
    step.rope = table;
    std::vector<float> rotated = x, expected = x, normed(x.size()), expected_normed(x.size());
    backend.rope({tokens, heads, head_dim, row}, step, rotated.data());
    kernels->rope({tokens, heads, head_dim, row}, table.data(), expected.data());
    CHECK_BITS(kernels->isa, rotated, expected);
    backend.rms_norm({tokens, row, 1e-5f}, RowsOf::kTokens, x.data(), {w.data(), row}, operand(normed.data()));
    kernels->rms_norm({tokens, row, 1e-5f}, x.data(), w.data(), expected_normed.data());
    CHECK_BITS(kernels->isa, normed, expected_normed);
  }
}

TEST("sample: rows on threads equal rows one by one, each with its own context, and are not changed") {
  const int rows = 7, vocab = 301;
  const std::vector<float> logits = random_floats(size_t(rows) * vocab, 1, 5);
  const std::vector<SamplingContext::Seen> seen = {{0, 0}, {3, 2}, {300, 1}};
  const std::vector<SamplingContext::Bias> bias = {{3, 1.5f}, {100, -INFINITY}};
  std::vector<SamplingArgs> args;
  std::vector<SamplingContext> contexts;
  for (int r = 0; r < rows; ++r) {
    args.push_back({.temperature = r == 0 ? 0.0f : 1.0f,
                    .top_k = 0,
                    .top_p = 1,
                    .min_p = 0,
                    .seed_lo = 7,
                    .seed_hi = 0,
                    .position = unsigned(r),
                    .choice = unsigned(r % 2),
                    .repetition_penalty = 1.3f,
                    .presence_penalty = 0.5f,
                    .frequency_penalty = 0.25f,
                    .mask_reserved = 0});
    contexts.push_back({.seen = r % 3 == 0 ? std::span<const SamplingContext::Seen>() : seen,
                        .bias = r % 2 == 0 ? std::span<const SamplingContext::Bias>() : bias,
                        .top_logprobs = r % 4});
  }
  std::vector<float> used = logits;
  const auto drawn_by = [&](int threads) {
    CpuBackend backend(*cpu::available_kernels().front(), threads);
    backend.sample(rows, vocab, used.data(), args, contexts);
    CHECK_BITS("logits", used, logits);
    return backend.sampled();
  };
  const std::vector<Sampled> one = drawn_by(1), three = drawn_by(3);
  for (int r = 0; r < rows; ++r) {
    CHECK_EQ(one[r].token, three[r].token);
    CHECK_EQ(one[r].logprob, three[r].logprob);
    CHECK(one[r].token >= 0 && one[r].token < vocab);
    CHECK_EQ(one[r].top.size(), size_t(r % 4));
    CHECK_EQ(three[r].top.size(), size_t(r % 4));
    for (size_t i = 0; i < one[r].top.size(); ++i) {
      CHECK(one[r].top[i].token == three[r].top[i].token && one[r].top[i].logprob == three[r].top[i].logprob);
    }
  }
}

TEST("sample: a row that threads share equals the same row on one thread") {
  const int vocab = 201088;
  std::vector<float> logits = random_floats(vocab, 1, 5);
  const SamplingContext context = {.seen = {}, .bias = {}, .top_logprobs = 3};
  for (const float temperature : {0.0f, 0.7f, 1.0f}) {
    for (const float top_p : {0.9f, 1.0f}) {
      const SamplingArgs args = {.temperature = temperature,
                                 .top_k = 0,
                                 .top_p = top_p,
                                 .min_p = 0,
                                 .seed_lo = 7,
                                 .seed_hi = 0,
                                 .position = 0,
                                 .choice = 0,
                                 .repetition_penalty = 1,
                                 .presence_penalty = 0,
                                 .frequency_penalty = 0,
                                 .mask_reserved = 1};
      const auto drawn_by = [&](int threads) {
        CpuBackend backend(*cpu::available_kernels().front(), threads);
        backend.sample(1, vocab, logits.data(), {&args, 1}, {&context, 1});
        return backend.sampled().front();
      };
      const Sampled one = drawn_by(1);
      for (const int threads : {2, 3, 8}) {
        const Sampled shared = drawn_by(threads);
        CHECK_EQ(shared.token, one.token);
        CHECK_EQ(shared.logprob, one.logprob);
        CHECK_EQ(shared.top.size(), size_t(3));
        for (size_t i = 0; i < 3; ++i) CHECK_EQ(shared.top[i].logprob, one.top[i].logprob);
      }
    }
  }
}

}  // namespace oss::test
