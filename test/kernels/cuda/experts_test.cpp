#include <algorithm>
#include <memory>

#include "test/kernels/cuda/low_rank.h"
#include "test/kernels/gpu/experts_layer.h"

namespace oss::test {
namespace {

// One matrix of every expert on a device, packed.
struct DeviceExperts {
  DeviceArray<uint8_t> codes, scales;
  DeviceArray<float> bias;

  DeviceExperts(CudaDevice& device, const RawExperts& raw, cuda::RowOrder order)
      : codes(device, raw.experts * cuda::packed_codes_bytes(raw.rows, raw.cols)),
        scales(device, raw.experts * cuda::packed_scales_bytes(raw.rows, raw.cols)),
        bias(device, raw.bias) {
    const cuda::PackExpertsArgs args = {raw.experts, raw.rows, raw.cols, order};
    const DeviceArray<uint8_t> raw_blocks(device, raw.blocks), raw_scales(device, raw.scales);
    device.check(device.module.pack_expert_codes(args, raw_blocks.data(), codes.data(), device.stream), "pack codes");
    device.check(device.module.pack_expert_scales(args, raw_scales.data(), scales.data(), device.stream),
                 "pack scales");
    device.synchronize();
  }
  cuda::PackedExperts packed() const { return {codes.data(), scales.data(), bias.data()}; }
};

// A layer on a device.
class Runner {
 public:
  Runner(CudaDevice& device, const ExpertsLayer& layer)
      : device_(device),
        args_(layer.args),
        gate_up_(device, layer.gate_up, cuda::kRowsGateUp),
        down_(device, layer.down, cuda::kRowsPlain) {}

  // In a step with room for `capacity` tokens (0: exactly the tokens). Memory past the tokens is not touched.
  std::vector<float> operator()(const ExpertsStep& step, int capacity) { return run(step, nullptr, capacity); }
  std::vector<float> operator()(const ExpertsStep& step) { return run(step, nullptr, 0); }
  // The logits [tokens, experts] make the choice: by router and experts, or by few_experts.
  std::vector<float> routed(const ExpertsStep& step, const std::vector<float>& logits, bool few, int capacity = 0) {
    few_ = few;
    return run(step, &logits, capacity);
  }

 private:
  std::vector<float> run(const ExpertsStep& step, const std::vector<float>* logits, int capacity) {
    const int tokens = int(step.x.size()) / args_.hidden;
    ExpertsArgs args = args_;
    args.tokens = std::max(capacity, tokens);
    const auto with_room = [&]<typename T>(const std::vector<T>& of, int width) {
      auto array = std::make_unique<DeviceArray<T>>(device_, size_t(args.tokens) * width);
      array->write(of);
      return array;
    };
    const auto normed = with_room(to_bf16(step.normed), args.hidden);
    const auto index = with_room(step.index, args.top_k);
    const auto weight = with_room(step.weight, args.top_k), x = with_room(step.x, args.hidden);
    const DeviceArray<int32_t> count(device_, std::vector<int32_t>{tokens});
    const DeviceArray<uint8_t> scratch(
        device_, cuda::experts_scratch(args.tokens, args.top_k, args.experts, args.hidden, args.intermediate).bytes);
    const cuda::ExpertsScratch at =
        cuda::experts_scratch(args.tokens, args.top_k, args.experts, args.hidden, args.intermediate);
    device_.check(device_.module.fill(scratch.data() + at.done, 0, at.lists - at.done, device_.stream), "fill");
    const auto device_logits = with_room(logits != nullptr ? *logits : std::vector<float>{}, args.experts);
    if (logits != nullptr && few_) {
      const auto again = with_room(step.x, args.hidden);
      for (float* to : {again->data(), x->data()}) {  // the first launch must restore the counters
        device_.check(device_.module.few_experts(args, count.data(), device_logits->data(), normed->data(),
                                                 gate_up_.packed(), down_.packed(), scratch.data(), to, device_.stream),
                      "few_experts");
      }
      CHECK_BITS("the second time", x->read(), again->read());
    } else if (step.adapted()) {
      const DeviceAdapters on_device(device_, step.adapters, size_t(args.tokens) * args.top_k);
      device_.check(
          device_.module.experts_low_rank(args, on_device.step(), {.gate_up = 1, .down = 1 + args.experts},
                                          count.data(), normed->data(), index->data(), weight->data(),
                                          gate_up_.packed(), down_.packed(), scratch.data(), x->data(), device_.stream),
          "experts_low_rank");
      device_.synchronize();
    } else {
      if (logits != nullptr) {
        device_.check(device_.module.router({args.tokens, args.experts, args.top_k}, count.data(),
                                            device_logits->data(), index->data(), weight->data(), device_.stream),
                      "router");
      }
      device_.check(
          device_.module.experts(args, count.data(), normed->data(), index->data(), weight->data(), gate_up_.packed(),
                                 down_.packed(), scratch.data(), x->data(), device_.stream),
          "experts");
    }
    std::vector<float> out = x->read();
    for (size_t i = size_t(tokens) * args.hidden; i < out.size(); ++i) {
      if (is_poison(out[i])) continue;
      fail(__FILE__, __LINE__, str(device_.name, ": wrote past the tokens, at ", i));
      break;
    }
    out.resize(size_t(tokens) * args.hidden);
    return out;
  }

  CudaDevice& device_;
  ExpertsArgs args_;
  DeviceExperts gate_up_, down_;
  bool few_ = false;
};

struct FewShape {
  int hidden, intermediate, experts, top_k, tokens, capacity;
};
void check_few_experts(const FewShape& s) {
  ExpertsLayer layer(s.hidden, s.intermediate, s.experts, s.top_k);
  layer.randomize(31);
  const ExpertsStep step = random_experts_step(layer.args, s.tokens, 37);
  for (const bool crowded : {false, true}) {  // every token chooses the same experts
    std::vector<float> logits = exact_values(size_t(s.tokens) * s.experts, 39);
    for (size_t i = 0; crowded && i < logits.size(); ++i) logits[i] = 0.001f * logits[i] + float(i % size_t(s.experts));
    for_each_cuda_device([&](CudaDevice& device) {
      Runner run(device, layer);
      CHECK_BITS(str(device.name, " hidden ", s.hidden, " tokens ", s.tokens, crowded ? " crowded" : ""),
                 run.routed(step, logits, true, s.capacity), run.routed(step, logits, false, s.capacity));
    });
  }
}

}  // namespace

TEST("cuda experts: every code with every scale, in every place of the second matrix, exactly") {
  const DownCodes codes(1, cuda::kMaxScaleByte);
  for_each_cuda_device([&](CudaDevice& device) {
    Runner run(device, codes.layer);
    for (const int tokens : {96, 8}) codes.check(device.name, tokens, std::ref(run));
  });
}

TEST("cuda experts: every code with every scale, in every place of the first matrix") {
  for (const int first : {0, 64}) {
    const GateUpCodes codes(1, first);
    for_each_cuda_device([&](CudaDevice& device) {
      Runner run(device, codes.layer);
      const std::vector<float> together = codes.check(device.name, 96, std::ref(run));
      CHECK_BITS(device.name + " in eights", codes.check(device.name, 8, std::ref(run)), together);
    });
  }
}

TEST("cuda experts: against a double loop; an expert with no token, one with all of them; room for more tokens") {
  struct Shape {
    int hidden, intermediate, experts, top_k, tokens, capacity;
  };
  for (const Shape s : {Shape{64, 128, 5, 4, 1, 1},
                        {160, 96, 32, 4, 1, 8},
                        {96, 160, 32, 4, 7, 7},
                        {128, 64, 4, 4, 8, 8},
                        {32, 32, 2, 1, 2, 5},
                        {64, 96, 32, 4, 9, 9},
                        {160, 160, 5, 4, 9, 64},
                        {128, 128, 4, 2, 40, 40},
                        {96, 32, 32, 4, 70, 70},
                        {32, 64, 5, 4, 130, 130},
                        {64, 32, 6, 4, 70, 520},
                        {96, 64, 12, 8, 7, 7},
                        {2880, 32, 5, 4, 8, 8},
                        {2880, 32, 2, 1, 9, 9},
                        {32, 32, 4, 4, 0, 3}}) {
    ExpertsLayer layer(s.hidden, s.intermediate, s.experts, s.top_k);
    layer.randomize(11);
    ExpertsStep step = random_experts_step(layer.args, s.tokens, 17);
    for (const bool crowded : {false, true}) {
      if (crowded) crowd(layer.args, step);
      const ExpertsReference expected(layer, step);
      for_each_cuda_device([&](CudaDevice& device) {
        expected.check(str(device.name, " hidden ", s.hidden, " tokens ", s.tokens, crowded ? " crowded" : ""),
                       Runner(device, layer)(step, s.capacity), matrix_tolerance(s.hidden + s.intermediate));
      });
    }
  }
}

TEST("cuda experts: a token's result is the same in every batch and from every kernel, bit for bit") {
  const int tokens = 75;
  for (const int hidden : {96, 640}) {  // parts without a tile, and with one or two
    ExpertsLayer layer(hidden, hidden == 96 ? 160 : 64, 5, 4);
    layer.randomize(21);
    const ExpertsStep step = random_experts_step(layer.args, tokens, 27);
    for_each_cuda_device([&](CudaDevice& device) {
      Runner run(device, layer);
      const std::vector<float> together = run(step);
      CHECK_BITS(device.name + " again", run(step), together);
      const auto check_part = [&](int first, int count, int capacity) {
        check_experts_part(
            str(device.name, ", room for ", capacity, ","), layer.args, step, first, count,
            [&](const ExpertsStep& part) { return run(part, capacity); }, together);
      };
      check_part(0, tokens, 600);
      check_part(3, 1, 1);
      check_part(74, 1, 8);
      check_part(74, 1, 9);
      check_part(10, 7, 8);
      check_part(20, 8, 8);
      check_part(20, 8, 40);
      check_part(30, 9, 9);
    });
  }
}

TEST("cuda experts_low_rank: against a double loop; alone and together; tokens without a term keep their bits") {
  struct Shape {
    int hidden, intermediate, experts, top_k, tokens, capacity;
  };
  for (const Shape s :
       {Shape{64, 128, 5, 4, 1, 1}, {96, 160, 32, 4, 7, 9}, {160, 96, 6, 2, 40, 40}, {64, 32, 6, 4, 70, 520}}) {
    ExpertsLayer layer(s.hidden, s.intermediate, s.experts, s.top_k);
    layer.randomize(51);
    const ExpertsStep step = adapted_experts_step(layer.args, s.tokens, 57);
    const ExpertsReference expected(layer, step);
    for_each_cuda_device([&](CudaDevice& device) {
      const std::string what = str(device.name, " hidden ", s.hidden, " tokens ", s.tokens);
      Runner run(device, layer);
      const std::vector<float> y = run(step, s.capacity);
      expected.check(what, y, matrix_tolerance(s.hidden + s.intermediate));
      for (int t = 0; t < s.tokens; t += s.tokens < 10 ? 1 : 7)
        check_experts_part(what, layer.args, step, t, 1, std::ref(run), y);
      check_experts_terms(what, layer.args, step, y, run(random_experts_step(layer.args, s.tokens, 57), s.capacity));
    });
  }
}

TEST("cuda few_experts: bit for bit the results of router and experts") {
  for (const FewShape& s : {FewShape{64, 128, 5, 4, 1, 1},
                            {160, 96, 32, 4, 1, 8},
                            {96, 160, 32, 4, 7, 7},
                            {640, 64, 4, 4, 8, 8},
                            {32, 32, 2, 1, 2, 5},
                            {64, 96, 32, 4, 9, 9},
                            {160, 160, 5, 4, 16, 16},
                            {96, 64, 12, 8, 7, 8},
                            {128, 64, 2, 1, 16, 16},
                            {64, 32, 40, 4, 13, 16},
                            {32, 32, 4, 4, 0, 3}}) {
    check_few_experts(s);
  }
}

TEST("cuda few_experts: rows as long as in the released models, bit for bit, too") {
  for (const FewShape& s : {FewShape{2880, 32, 5, 4, 2, 2}, {32, 2880, 5, 4, 3, 3}, {2848, 32, 4, 4, 1, 1}})
    check_few_experts(s);
}

TEST("cuda experts: refuses shapes that do not fit") {
  for_each_cuda_device([](CudaDevice& device) {
    const cuda::PackExpertsArgs odd = {1, 24, 32, cuda::kRowsPlain}, rope = {1, 64, 32, cuda::kRowsRope};
    CHECK(device.module.pack_expert_codes(odd, nullptr, nullptr, device.stream) != 0);
    CHECK(device.module.pack_expert_scales(rope, nullptr, nullptr, device.stream) != 0);
    const ExpertsArgs wide = {1, 4096, 64, 4, 4, 7.0f, 1.702f};
    CHECK(device.module.experts(wide, nullptr, nullptr, nullptr, nullptr, {}, {}, nullptr, nullptr, device.stream) !=
          0);
    const ExpertsArgs many = {17, 64, 64, 4, 4, 7.0f, 1.702f};
    CHECK(device.module.few_experts(many, nullptr, nullptr, nullptr, {}, {}, nullptr, nullptr, device.stream) != 0);
  });
}

}  // namespace oss::test
