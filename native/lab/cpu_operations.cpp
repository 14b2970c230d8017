// Parts of operations that the CPU has as functions of their own: swiglu, mxfp4Dequantize and mxfp4Gemm.
#include <algorithm>
#include <numeric>

#include "kernels/common/mxfp4.h"
#include "native/backend/cpu/choose_kernels.h"
#include "native/base/error.h"
#include "native/base/str.h"
#include "native/base/thread_pool.h"
#include "native/lab/on_device.h"
#include "native/lab/operations.h"

namespace oss::lab {
namespace {

class OnCpu : public OnDevice {
 protected:
  explicit OnCpu(Lab& lab)
      : OnDevice(lab),
        kernels_(cpu::choose_kernels(lab.options().numerics, lab.options().isa).kernels),
        pool_(lab.info().threads) {
    make_step(1);
  }

  const cpu::Kernels& kernels_;
  ThreadPool pool_;
};

int blocks_of(Arguments& from, const char* name) {
  const int cols = from.count(name, kMxBlock);
  if (cols % kMxBlock != 0) {
    throw Error(Code::kInvalidArgument, str("expected a multiple of ", kMxBlock, " for ", name, " but received ", cols),
                name);
  }
  return cols / kMxBlock;
}

// { x f32 [rows, 2·intermediate], gate and up in turn } → { output f32 [rows, intermediate] }
class Swiglu final : public OnCpu {
 public:
  Swiglu(Lab& lab, Arguments& from) : OnCpu(lab), rows_(from.count("rows")), width_(from.count("intermediate")) {
    alpha_ = from.number_or("alpha", 1.702f, -1e30f, 1e30f);
    limit_ = from.number_or("limit", 7, 0, 1e30f);
    const std::vector<float> x = read_floats(
        lab, from.array("x", {DType::kF32}, {{{"rows", rows_}, {"2 x intermediate", 2 * int64_t(width_)}}}));
    for (size_t i = 0; i < x.size(); ++i) (i % 2 == 0 ? gate_ : up_).push_back(x[i]);
    y_ = result(from, "output", {{{"rows", rows_}, {"intermediate", width_}}});
    work = {.bytes = 4.0 * double(x.size()), .flops = 6.0 * rows_ * width_};
  }
  void run(size_t) override {
    pool_.parallel_for(rows_, 8, [&](int64_t begin, int64_t end, int) {
      const size_t first = size_t(begin) * size_t(width_);
      kernels_.swiglu(int(end - begin) * width_, alpha_, limit_, gate_.data() + first, up_.data() + first, y_ + first);
    });
  }

 private:
  const int rows_, width_;
  float alpha_, limit_;
  std::vector<float> gate_, up_;
  float* y_;
};

// { blocks u8 [rows, cols/32, 16], scales u8 [rows, cols/32] } → { output f32 [rows, cols] }
class Mxfp4Dequantize final : public OnCpu {
 public:
  Mxfp4Dequantize(Lab& lab, Arguments& from) : OnCpu(lab) {
    const int rows = from.count("rows"), blocks = blocks_of(from, "cols");
    Array& codes = from.array("blocks", {DType::kU8}, {{{"rows", rows}, {"blocks", blocks}, {"bytes", kMxBlockBytes}}});
    Array& scales = from.array("scales", {DType::kU8}, {{{"rows", rows}, {"blocks", blocks}}});
    codes_ = bytes_on_host(lab, codes);
    scales_ = bytes_on_host(lab, scales);
    y_ = result(from, "output", {{{"rows", rows}, {"cols", blocks * kMxBlock}}});
    work = {.bytes = double(codes_.size() + scales_.size()), .flops = double(scales_.size()) * kMxBlock};
  }
  void run(size_t) override {
    pool_.parallel_for(int64_t(scales_.size()), 1024, [&](int64_t begin, int64_t end, int) {
      kernels_.mxfp4_dequantize(size_t(end - begin),
                                reinterpret_cast<const uint8_t*>(codes_.data()) + begin * kMxBlockBytes,
                                reinterpret_cast<const uint8_t*>(scales_.data()) + begin, y_ + begin * kMxBlock);
    });
  }

 private:
  std::vector<std::byte> codes_, scales_;
  float* y_;
};

// { x f32 [rows, in], blocks u8 [out, in/32, 16], scales u8 [out, in/32], bias f32 [out]? } → { output f32 [rows, out] }
// The product of one expert, by the kernel of the experts' down projection.
class Mxfp4Gemm final : public OnCpu {
 public:
  Mxfp4Gemm(Lab& lab, Arguments& from, size_t cold_bytes) : OnCpu(lab) {
    const int rows = from.count("rows", 1, 1 << 16), blocks = blocks_of(from, "in"), out = 32 * blocks_of(from, "out");
    const int in = blocks * kMxBlock;
    args_ = {.tokens = rows, .hidden = out, .intermediate = in, .experts = 1, .top_k = 1, .limit = 0, .alpha = 0};
    Array& codes = from.array("blocks", {DType::kU8}, {{{"out", out}, {"blocks", blocks}, {"bytes", kMxBlockBytes}}});
    Array& scales = from.array("scales", {DType::kU8}, {{{"out", out}, {"blocks", blocks}}});
    Array bias = {.dtype = DType::kF32, .elements = size_t(out), .host = std::vector<std::byte>(size_t(out) * 4)};
    if (from.has("bias")) bias = from.array("bias", {DType::kF32, DType::kBF16}, {{{"out", out}}});
    for (Array* array : {&codes, &scales, &bias}) bring_to_host(lab, *array);
    weight_ = weights.add_experts(codes, scales, bias, {1, out, in}, ExpertUse::kDown);
    const std::vector<float> x =
        read_floats(lab, from.array("x", {DType::kF32, DType::kBF16}, {{{"rows", rows}, {"in", in}}}));
    split_.resize(x.size());
    for (int r = 0; r < rows; ++r)
      kernels_.experts_split(size_t(in), x.data() + size_t(r) * size_t(in), split_.data() + size_t(r) * size_t(in));
    pairs_.resize(size_t(rows));
    std::iota(pairs_.begin(), pairs_.end(), 0);
    y_ = result(from, "output", {{{"rows", rows}, {"out", out}}});
    weights.pack(backend_, cold_bytes);
    work = {.bytes = double(out) * in * 17 / 32, .flops = 2.0 * rows * double(out) * in};
  }
  void run(size_t call) override {
    const ExpertMatrix& of = weights.experts(call % weights.copies(), weight_);
    const cpu::ExpertWeights w = {of.blocks, of.scales, of.bias};
    pool_.parallel_for(args_.hidden / 32, 1, [&](int64_t begin, int64_t end, int) {
      kernels_.experts_down(args_, w, int(begin) * 32, int(end) * 32, pairs_.data(), args_.tokens, split_.data(), y_);
    });
  }

 private:
  ExpertsArgs args_;
  size_t weight_;
  std::vector<float> split_;
  std::vector<int32_t> pairs_;
  float* y_;
};

}  // namespace

bool has_cpu_kernels(const Lab& lab) { return lab.info().backend == "cpu"; }
// The units of numerics "fast" multiply MXFP4 only within the experts.
bool has_mxfp4_gemm(const Lab& lab) { return has_cpu_kernels(lab) && lab.info().numerics == "exact"; }

std::unique_ptr<Operation> make_swiglu(Lab& lab, Arguments& from, size_t) {
  return std::make_unique<Swiglu>(lab, from);
}
std::unique_ptr<Operation> make_mxfp4_dequantize(Lab& lab, Arguments& from, size_t) {
  return std::make_unique<Mxfp4Dequantize>(lab, from);
}
std::unique_ptr<Operation> make_mxfp4_gemm(Lab& lab, Arguments& from, size_t cold_bytes) {
  return std::make_unique<Mxfp4Gemm>(lab, from, cold_bytes);
}

}  // namespace oss::lab
