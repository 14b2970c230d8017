// Decode steps of one model with the module in this program's folder, for knobs.mjs: it copies this program to each
// module that it compares.
//
//   oss_gpu_decode MODEL [--batches 1,8,16] [--prompt 2048] [--samples 7] [--steps 48] [--assumed]
//
//   {"batch":1,"context":2224,"microseconds":[1602,1601,…],"tokens":"8c2f…","bits":"04a1…"}
//
// --assumed: prompts are not computed, so that a batch of 256 after 2,048 tokens each begins at once.
// A sample is the mean of `steps` steps. `tokens` is a hash of the output; `bits` also includes the log probabilities.
#include <cinttypes>
#include <cstdio>
#include <sstream>

#include "bench/gpu/decode_steps.h"

namespace oss {
namespace {

constexpr int kWarm = 16;  // steps: a shape is recorded at its second use, and clocks rise

int run(int argc, char** argv) {
  DecodeSteps steps{.samples = 7, .steps = 48, .warm = kWarm};
  std::string model, batches = "1,8,16";
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--batches" && i + 1 < argc)
      batches = argv[++i];
    else if (arg == "--prompt" && i + 1 < argc)
      steps.prompt = std::stoi(argv[++i]);
    else if (arg == "--samples" && i + 1 < argc)
      steps.samples = std::stoi(argv[++i]);
    else if (arg == "--steps" && i + 1 < argc)
      steps.steps = std::stoi(argv[++i]);
    else if (arg == "--assumed")
      steps.assumed = true;
    else
      model = arg;
  }
  std::vector<int> sizes;
  std::istringstream in(batches);
  for (std::string size; std::getline(in, size, ',');) sizes.push_back(std::stoi(size));
  if (model.empty() || sizes.empty() || std::min({steps.prompt, steps.samples, steps.steps}) < 1) {
    std::fprintf(stderr, "expected a model, batches, and at least one token, sample and step\n");
    return 2;
  }
  const int most = *std::max_element(sizes.begin(), sizes.end()), timed = kWarm + steps.samples * steps.steps;
  // Streams that begin early write more tokens.
  DecodeBench bench(model, most, steps.prompt + timed + 64 + (steps.assumed ? 0 : 4 * most));
  for (const int batch : sizes) {
    steps.batch = batch;
    const DecodeBench::Result result = bench.run(steps);
    std::string times;
    char text[32];
    for (const double time : result.microseconds) {
      std::snprintf(text, sizeof text, "%s%.6g", times.empty() ? "" : ",", time);
      times += text;
    }
    std::printf("{\"batch\":%d,\"context\":%d,\"microseconds\":[%s],\"tokens\":\"%016" PRIx64
                "\",\"bits\":\"%016" PRIx64 "\"}\n",
                batch, steps.prompt + timed / 2, times.c_str(), result.tokens, result.bits);
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
