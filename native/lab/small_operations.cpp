// Operations that read few weights: embed, rmsNorm, router and sample.
#include <algorithm>
#include <cmath>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/lab/on_device.h"
#include "native/lab/operations.h"

namespace oss::lab {
namespace {

// { table bf16 [vocab, hidden], tokens i32 [count] } → { output f32 [count, hidden] }
class Embed final : public OnDevice {
 public:
  Embed(Lab& lab, Arguments& from, size_t cold_bytes) : OnDevice(lab) {
    const int hidden = from.count("hidden"), vocab = from.count("vocab");
    const std::vector<int32_t> tokens = read_integers(lab, from.array("tokens", {DType::kI32}));
    if (tokens.empty()) throw Error(Code::kInvalidArgument, "expected at least one of tokens", "tokens");
    for (const int32_t token : tokens) {
      if (token < 0 || token >= vocab)
        throw Error(Code::kInvalidArgument, str("expected tokens in [0, ", vocab, ") but received ", token), "tokens");
    }
    args_ = {.tokens = int(tokens.size()), .hidden = hidden};
    Array& table = from.array("table", {DType::kBF16}, {{{"vocab", vocab}, {"hidden", hidden}}});
    bring_to_host(lab, table);
    table_ = weights.add_matrix(table, vocab, hidden, MatrixUse::kTable);
    make_step(args_.tokens);
    arrays().tokens = tokens;
    step.tokens = arrays().tokens;
    limits.hidden = hidden;
    limits.vocab = vocab;
    x_ = result(from, "output", {{{"tokens", args_.tokens}, {"hidden", hidden}}});
    weights.pack(backend_, cold_bytes);
    work = {.bytes = 2.0 * args_.tokens * hidden};
  }
  void run(size_t call) override { backend_.embed(args_, weights.matrix(call % weights.copies(), table_), step, x_); }

 private:
  EmbedArgs args_;
  size_t table_;
  float* x_;
};

// { x f32 [rows, hidden], weight f32 or bf16 [hidden] } → { output [rows, hidden] }
class RmsNorm final : public OnDevice {
 public:
  RmsNorm(Lab& lab, Arguments& from, size_t cold_bytes) : OnDevice(lab) {
    args_ = {.rows = from.count("rows"), .hidden = from.count("hidden"), .eps = from.number_or("epsilon", 1e-5f, 0, 1)};
    const Shape shape = {{{"rows", args_.rows}, {"hidden", args_.hidden}}};
    Array& weight = from.array("weight", {DType::kF32, DType::kBF16}, {{{"hidden", args_.hidden}}});
    bring_to_host(lab, weight);
    weight_ = weights.add_vector(weight);
    x_ = input(from.array("x", {DType::kF32}, shape));
    make_step(args_.rows);
    limits.hidden = args_.hidden;
    y_ = operand_result(from, "output", shape);
    weights.pack(backend_, cold_bytes);
    work = {.bytes = 4.0 * args_.rows * args_.hidden, .flops = 4.0 * args_.rows * args_.hidden};
  }
  void run(size_t call) override {
    backend_.rms_norm(args_, RowsOf::kTokens, x_, weights.vector(call % weights.copies(), weight_), y_);
  }

 private:
  RmsNormArgs args_;
  size_t weight_;
  const float* x_;
  Operand y_;
};

// { logits f32 [tokens, experts] } → { index i32, weight f32 [tokens, topK] }
class Router final : public OnDevice {
 public:
  Router(Lab& lab, Arguments& from, size_t) : OnDevice(lab) {
    const int tokens = from.count("tokens"), experts = from.count("experts", 1, 1024);
    args_ = {.tokens = tokens, .experts = experts, .top_k = from.count_or("topK", std::min(4, experts), 1, experts)};
    logits_ = input(from.array("logits", {DType::kF32}, {{{"tokens", tokens}, {"experts", experts}}}));
    make_step(tokens);
    limits.experts = experts;
    limits.top_k = args_.top_k;
    const Shape shape = {{{"tokens", tokens}, {"topK", args_.top_k}}};
    index_ = integer_result(from, "index", shape);
    weight_ = result(from, "weight", shape);
    work = {.bytes = 4.0 * tokens * experts};
  }
  void run(size_t) override { backend_.router(args_, logits_, index_, weight_); }

 private:
  RouterArgs args_;
  const float* logits_;
  int32_t* index_;
  float* weight_;
};

// { logits f32 [rows, vocab] } → { token i32 [rows], logprob f32 [rows] }; row r draws from the random stream r.
class Sample final : public OnDevice {
 public:
  Sample(Lab& lab, Arguments& from, size_t) : OnDevice(lab), vocab_(from.count("vocab")) {
    waits = true;  // for the draws
    const int rows = from.count("rows", 1, 4096);
    const uint64_t seed = from.seed_or("seed", 0);
    const SamplingArgs one = {.temperature = from.number_or("temperature", 1, 0, 100),
                              .top_k = from.count_or("topK", 0, 0),
                              .top_p = from.number_or("topP", 1, 1e-38f, 1),
                              .min_p = from.number_or("minP", 0, 0, 1),
                              .seed_lo = unsigned(seed),
                              .seed_hi = unsigned(seed >> 32),
                              .position = unsigned(from.count_or("position", 0, 0)),
                              .choice = 0,
                              .repetition_penalty = 1,
                              .presence_penalty = 0,
                              .frequency_penalty = 0,
                              .mask_reserved = 0};
    args_.assign(size_t(rows), one);
    for (int r = 0; r < rows; ++r) args_[size_t(r)].choice = unsigned(r);
    contexts_.resize(size_t(rows));
    // The draws may use the logits' memory.
    const Array& logits = from.array("logits", {DType::kF32, DType::kBF16}, {{{"rows", rows}, {"vocab", vocab_}}});
    logits_ = upload(read_floats(lab, logits));
    make_step(rows, rows);
    limits.vocab = vocab_;
    work = {.bytes = 4.0 * rows * vocab_};
  }
  void run(size_t) override {
    backend_.sample(int(args_.size()), vocab_, logits_, args_, contexts_);
    drawn_ = backend_.sampled();
  }
  Outputs outputs() override {
    std::vector<int32_t> tokens;
    std::vector<float> logprobs;
    for (const Sampled& one : drawn_) {
      tokens.push_back(one.token);
      logprobs.push_back(one.logprob);
    }
    return {{"token", array_of(DType::kI32, std::span<const int32_t>(tokens))},
            {"logprob", array_of(DType::kF32, std::span<const float>(logprobs))}};
  }

 private:
  const int vocab_;
  std::vector<SamplingArgs> args_;
  std::vector<SamplingContext> contexts_;
  float* logits_;
  std::vector<Sampled> drawn_;
};

}  // namespace

std::unique_ptr<Operation> make_embed(Lab& lab, Arguments& from, size_t cold_bytes) {
  return std::make_unique<Embed>(lab, from, cold_bytes);
}
std::unique_ptr<Operation> make_rms_norm(Lab& lab, Arguments& from, size_t cold_bytes) {
  return std::make_unique<RmsNorm>(lab, from, cold_bytes);
}
std::unique_ptr<Operation> make_router(Lab& lab, Arguments& from, size_t cold_bytes) {
  return std::make_unique<Router>(lab, from, cold_bytes);
}
std::unique_ptr<Operation> make_sample(Lab& lab, Arguments& from, size_t cold_bytes) {
  return std::make_unique<Sample>(lab, from, cold_bytes);
}

}  // namespace oss::lab
