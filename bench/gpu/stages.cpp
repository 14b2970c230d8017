// The cost of each phase of a decode step in the engine. It measures the recorded graph with all phases, and without
// each phase. The difference is the time that the phase adds to the others, which overlap with it.
//
//   oss_gpu_stages MODEL [--batch 1] [--prompt 2048] [--tokens 96] [--seconds 60]      MODEL e.g. synthetic:120b
//
//   {"stage":"without attention_split","batch":1,"context":2144,"microseconds":1490,"saves":120}
//
// A phase is left out when the module's entry returns at once, so its output stays unchanged. Without the router all
// tokens choose the same experts. So with more than one token, that row also has fewer experts.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "bench/gpu/decode_steps.h"
#include "native/backend/cuda/cuda_module.h"

namespace oss {
namespace {

// Engines made by this program use a copy of the module.
cuda::Module original;
int left_out_accumulate = 0;  // of linear: 1 = o, 0 = the head

template <auto kEntry>
struct LeftOut;
template <typename... Args, cuda::Status (*cuda::Module::*kEntry)(Args...)>
struct LeftOut<kEntry> {
  static cuda::Status call(Args...) { return 0; }
};
cuda::Status linear_left_out(const LinearArgs& args, const int32_t* rows, const cuda::bf16* x, const cuda::bf16* x_low,
                             const void* w, const float* bias, float* y, const cuda::Prefetch& next,
                             cuda::Stream stream) {
  if (args.accumulate == left_out_accumulate) return 0;
  return original.linear(args, rows, x, x_low, w, bias, y, next, stream);
}

struct Stage {
  const char* name;
  void (*leave_out)(cuda::Module&);
};
template <auto kEntry>
void leave_out(cuda::Module& module) {
  module.*kEntry = LeftOut<kEntry>::call;
}
template <int kAccumulate>
void leave_out_linear(cuda::Module& module) {
  left_out_accumulate = kAccumulate;
  module.linear = linear_left_out;
}
constexpr Stage kStages[] = {
    {"all", [](cuda::Module&) {}},
    {"without norm_qkv", leave_out<&cuda::Module::norm_qkv>},
    {"without attention_split", leave_out<&cuda::Module::attention_split>},
    {"without linear o", leave_out_linear<1>},
    {"without norm_linear router", leave_out<&cuda::Module::norm_linear>},
    {"without few_experts", leave_out<&cuda::Module::few_experts>},
    {"without linear head", leave_out_linear<0>},
};

struct Options {
  std::string model;
  int batch = 1, prompt = 2048, tokens = 96;
  double seconds = 60;
};

// Microseconds of a step; only steps in which all sequences decode.
double step_microseconds(const Options& options) {
  DecodeBench bench(options.model, options.batch, options.prompt + options.tokens + 64);
  DecodeSteps steps{.batch = options.batch, .prompt = options.prompt, .steps = 7};
  bench.run(steps);  // records
  steps.steps = options.tokens - 1;
  double least = 1e30;
  for (int i = 0; i < 3; ++i)
    for (const double microseconds : bench.run(steps).microseconds) least = std::min(least, microseconds);
  return least;
}

int run(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--batch" && i + 1 < argc)
      options.batch = std::stoi(argv[++i]);
    else if (arg == "--prompt" && i + 1 < argc)
      options.prompt = std::stoi(argv[++i]);
    else if (arg == "--tokens" && i + 1 < argc)
      options.tokens = std::stoi(argv[++i]);
    else if (arg == "--seconds" && i + 1 < argc)
      options.seconds = std::stod(argv[++i]);
    else
      options.model = arg;
  }
  if (options.model.empty() || options.batch < 1 || options.tokens < 2) {
    std::fprintf(stderr, "expected a model, at least one sequence and at least two tokens\n");
    return 2;
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(options.seconds);
  original = cuda_module();
  double all = 0;
  for (const Stage& stage : kStages) {
    if (std::chrono::steady_clock::now() > deadline) {
      std::printf("{\"stage\":\"%s\",\"batch\":%d,\"skipped\":\"out of time\"}\n", stage.name, options.batch);
      continue;
    }
    cuda::Module module = original;
    stage.leave_out(module);
    set_cuda_module_for_tests(&module);
    const double microseconds = step_microseconds(options);
    set_cuda_module_for_tests(nullptr);
    if (all == 0) all = microseconds;
    std::printf("{\"stage\":\"%s\",\"batch\":%d,\"context\":%d,\"microseconds\":%.5g,\"saves\":%.4g}\n", stage.name,
                options.batch, options.prompt + options.tokens, microseconds, all - microseconds);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace oss

int main(int argc, char** argv) {
  try {
    return oss::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
