// Operations that read large weights: linear, lmHead and experts.
#include <algorithm>
#include <set>

#include "kernels/common/mxfp4.h"
#include "kernels/common/q8.h"
#include "native/base/error.h"
#include "native/base/str.h"
#include "native/lab/on_device.h"
#include "native/lab/operations.h"

namespace oss::lab {
namespace {

// { x [rows, in], weight bf16 [out, in], bias f32 [out]?, residual f32 [rows, out]? } → { output f32 [rows, out] }
class Linear : public OnDevice {
 public:
  struct Names {
    const char *in, *out, *result;
    RowsOf rows;
  };
  Linear(Lab& lab, Arguments& from, size_t cold_bytes, Names names, bool precise) : OnDevice(lab), rows_(names.rows) {
    const int rows = from.count("rows", 1, 1 << 20), in = from.count(names.in), out = from.count(names.out);
    Array* residual = nullptr;
    const Shape shape = {{{"rows", rows}, {names.out, out}}};
    if (names.rows == RowsOf::kTokens) {
      if (from.has("residual")) residual = &from.array("residual", {DType::kF32}, shape);
      if (from.has("bias")) {
        Array& bias = from.array("bias", {DType::kF32, DType::kBF16}, {{{names.out, out}}});
        bring_to_host(lab, bias);
        bias_ = weights.add_vector(bias);
        has_bias_ = true;
      }
    }
    args_ = {.rows = rows, .in = in, .out = out, .accumulate = residual != nullptr, .precise = precise};
    Array& weight = from.array("weight", {DType::kBF16}, {{{names.out, out}, {names.in, in}}});
    bring_to_host(lab, weight);
    weight_ = weights.add_matrix(weight, out, in,
                                 precise && rows_ == RowsOf::kTokens ? MatrixUse::kRouter : MatrixUse::kProduct);
    x_ = operand(from.array("x", {DType::kF32, DType::kBF16}, {{{"rows", rows}, {names.in, in}}}), precise);
    make_step(rows, rows_ == RowsOf::kLogits ? rows : 0);
    limits.hidden = in;
    limits.vocab = std::max(out, limits.vocab);
    y_ = result(from, names.result, shape, residual);
    weights.pack(backend_, cold_bytes);
    const bool q8 = weights.matrix(0, weight_).data == nullptr;
    const double elements = double(out) * in;
    work = {.bytes = q8 ? elements * kQ8BlockBytes / kQ8Block : 2 * elements,
            .flops = 2 * elements * rows,
            .on_bf16_unit = true};
  }
  void run(size_t call) override {
    const size_t i = call % weights.copies();
    backend_.linear(args_, rows_, x_, weights.matrix(i, weight_), has_bias_ ? &weights.vector(i, bias_) : nullptr, y_);
  }

 private:
  const RowsOf rows_;
  LinearArgs args_;
  Operand x_;
  size_t weight_, bias_ = 0;
  bool has_bias_ = false;
  float* y_;
};

// { x [tokens, hidden], index i32, weight f32 [tokens, topK], gateUpBlocks u8 [experts, 2·intermediate, hidden/32, 16],
//   gateUpScales u8 [experts, 2·intermediate, hidden/32], gateUpBias f32 [experts, 2·intermediate], and so for down,
//   residual f32 [tokens, hidden]? } → { output f32 [tokens, hidden] }
// With `draws`, index is [draws, tokens, topK], and calls take one after the other.
class Experts final : public OnDevice {
 public:
  Experts(Lab& lab, Arguments& from, size_t cold_bytes) : OnDevice(lab) {
    const int tokens = from.count("tokens", 1, 1 << 16), hidden = in_blocks(from, "hidden"),
              intermediate = in_blocks(from, "intermediate"), experts = from.count("experts", 1, 1024);
    args_ = {.tokens = tokens,
             .hidden = hidden,
             .intermediate = intermediate,
             .experts = experts,
             .top_k = from.count_or("topK", std::min(4, experts), 1, experts),
             .limit = from.number_or("limit", 7, 0, 1e30f),
             .alpha = from.number_or("alpha", 1.702f, -1e30f, 1e30f)};
    gate_up_ = matrix(from, {"gateUpBlocks", "gateUpScales", "gateUpBias"}, {experts, 2 * intermediate, hidden},
                      ExpertUse::kGateUp);
    down_ = matrix(from, {"downBlocks", "downScales", "downBias"}, {experts, hidden, intermediate}, ExpertUse::kDown);
    draws_ = size_t(from.count_or("draws", 1, 1, 4096));
    const Shape pairs = {{{"tokens", tokens}, {"topK", args_.top_k}}},
                all = {{{"draws", int64_t(draws_)}, {"tokens", tokens}, {"topK", args_.top_k}}},
                rows = {{{"tokens", tokens}, {"hidden", hidden}}};
    const std::vector<int32_t> index = read_integers(lab, from.array("index", {DType::kI32}, all));
    for (const int32_t expert : index) {
      if (expert < 0 || expert >= experts)
        throw Error(Code::kInvalidArgument, str("expected index in [0, ", experts, ") but received ", expert), "index");
    }
    for (size_t t = 0; t < draws_ * size_t(tokens); ++t) {
      const auto begin = index.begin() + ptrdiff_t(t) * args_.top_k;
      if (std::set<int32_t>(begin, begin + args_.top_k).size() != size_t(args_.top_k))
        throw Error(Code::kInvalidArgument, str("index names an expert twice for token ", t % size_t(tokens)), "index");
    }
    index_ = upload(index);
    weight_ = input(from.array("weight", {DType::kF32}, pairs));
    x_ = operand(from.array("x", {DType::kF32, DType::kBF16}, rows));
    make_step(tokens);
    limits.hidden = hidden;
    limits.intermediate = intermediate;
    limits.experts = experts;
    limits.top_k = args_.top_k;
    const Array zeros = array_of(DType::kF32, std::span<const float>(std::vector<float>(rows.elements())));
    const Array* residual = from.has("residual") ? &from.array("residual", {DType::kF32}, rows) : &zeros;
    out_ = result(from, "output", rows, residual);
    weights.pack(backend_, cold_bytes);
    double distinct = 0;  // of a draw, the mean
    pairs_ = size_t(tokens) * size_t(args_.top_k);
    for (size_t draw = 0; draw < draws_; ++draw) {
      const auto begin = index.begin() + ptrdiff_t(draw * pairs_);
      distinct += double(std::set<int32_t>(begin, begin + ptrdiff_t(pairs_)).size()) / double(draws_);
    }
    const auto bytes = [](double out, double in) { return out * in * 17 / 32 + 4 * out; };
    work = {.bytes = distinct * (bytes(2.0 * intermediate, hidden) + bytes(hidden, intermediate)),
            .flops = 6.0 * tokens * args_.top_k * hidden * intermediate,
            .on_bf16_unit = true};
  }
  void run(size_t call) override {
    const size_t i = call % weights.copies();
    const int32_t* index = index_ + call / weights.copies() % draws_ * pairs_;
    backend_.experts(args_, x_, index, weight_, weights.experts(i, gate_up_), weights.experts(i, down_), {}, out_);
  }

 private:
  struct Names {
    const char *blocks, *scales, *bias;
  };
  static int in_blocks(Arguments& from, const char* name) {
    const int value = from.count(name, kMxBlock);
    if (value % kMxBlock != 0) {
      throw Error(Code::kInvalidArgument,
                  str("expected a multiple of ", kMxBlock, " for ", name, " but received ", value), name);
    }
    return value;
  }
  size_t matrix(Arguments& from, const Names& names, ExpertShape of, ExpertUse use) {
    const std::pair<const char*, int64_t> experts = {"experts", of.experts}, rows = {"rows", of.rows},
                                          blocks_of_row = {"blocks", of.cols / kMxBlock};
    Array& blocks = from.array(names.blocks, {DType::kU8}, {{experts, rows, blocks_of_row, {"bytes", kMxBlockBytes}}});
    Array& scales = from.array(names.scales, {DType::kU8}, {{experts, rows, blocks_of_row}});
    Array& bias = from.array(names.bias, {DType::kF32, DType::kBF16}, {{experts, rows}});
    for (Array* array : {&blocks, &scales, &bias}) bring_to_host(lab_, *array);
    return weights.add_experts(blocks, scales, bias, of, use);
  }

  ExpertsArgs args_;
  size_t gate_up_, down_, draws_, pairs_;
  Operand x_;
  const int32_t* index_;  // [draws, tokens, topK]; each use of all copies takes the next draw
  const float* weight_;
  float* out_;
};

}  // namespace

std::unique_ptr<Operation> make_linear(Lab& lab, Arguments& from, size_t cold_bytes) {
  const bool precise = from.word_or("precision", "standard", {"standard", "high"}) == "high";
  return std::make_unique<Linear>(lab, from, cold_bytes, Linear::Names{"in", "out", "output", RowsOf::kTokens},
                                  precise);
}
std::unique_ptr<Operation> make_lm_head(Lab& lab, Arguments& from, size_t cold_bytes) {
  return std::make_unique<Linear>(lab, from, cold_bytes, Linear::Names{"hidden", "vocab", "logits", RowsOf::kLogits},
                                  true);
}
std::unique_ptr<Operation> make_experts(Lab& lab, Arguments& from, size_t cold_bytes) {
  return std::make_unique<Experts>(lab, from, cold_bytes);
}

}  // namespace oss::lab
