// What a Metal GPU is, and how fast it reads memory. bench/metal/check.mjs runs it.
//
//   oss_metal_roof --facts
//   oss_metal_roof [--bytes 2000000000] [--samples 15]
//
//   {"chip":"Apple M4 Pro","family":9,"macos":"15.1",…}
//   {"rangeBytes":65536,"bytes":1999634432,"readBytesPerSecond":2.4e+11,"range":[2.3e+11,2.41e+11],"samples":15}
//
// The second form prints a line for each size of a threadgroup's range: nobody knows which is best on which GPU. A
// sample is a command buffer that reads everything eight times. Memory holds different words; their sum is checked.
#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/metal/read.h"
#include "native/backend/metal/encoder.h"
#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPasses = 8;  // of a sample: submitting costs a tenth of a millisecond or so
constexpr size_t kVectorBytes = 16, kWordBytes = 4;
constexpr size_t kRound = size_t(kReadThreads) * kReadsInFlight * kVectorBytes;  // of a threadgroup
constexpr size_t kRangesInRounds[] = {1, 4, 16, 64};                             // 16 KB to 1 MB to a threadgroup
constexpr size_t kMostRange = 64 * kRound;
constexpr int kSimdgroups = kReadThreads / 32;

struct Options {
  bool facts = false;
  uint64_t bytes = 2'000'000'000;  // far more than any cache
  int samples = 15;
};

Options read_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--facts")
      options.facts = true;
    else if (arg == "--bytes" && i + 1 < argc)
      options.bytes = std::stoull(argv[++i]);
    else if (arg == "--samples" && i + 1 < argc)
      options.samples = std::stoi(argv[++i]);
    else
      throw Error(Code::kInvalidArgument, str("expected --facts, --bytes N or --samples N but received \"", arg, "\""));
  }
  if (options.bytes == 0 || options.samples < 1)
    throw Error(Code::kInvalidArgument, "expected at least one byte and one sample");
  return options;
}

void print_facts(const metal::DeviceLimits& of) {
  std::printf("{\"chip\":\"%s\",\"family\":%d,\"macos\":\"%d.%d\",\"workingSetBytes\":%" PRIu64
              ",\"bufferBytes\":%" PRIu64 ",\"memoryBytes\":%" PRIu64 ",\"threadgroupBytes\":%d}\n",
              of.name.c_str(), of.family, of.macos_major, of.macos_minor, of.working_set_bytes, of.buffer_bytes,
              of.memory_bytes, of.threadgroup_bytes);
}

// Memory of the device until the end of the program.
template <typename T>
T* allocate(metal::Device& device, size_t count) {
  auto* made = static_cast<T*>(device.allocate(count * sizeof(T)));
  if (made == nullptr) throw Error(Code::kOutOfMemory, str("the GPU has no ", count * sizeof(T), " bytes"));
  return made;
}

void measure(const std::shared_ptr<metal::Device>& device, const Options& options) {
  const metal::DeviceLimits& limits = device->limits();
  const uint64_t most = std::min(limits.buffer_bytes, limits.working_set_bytes / 2);
  const size_t bytes = std::max<size_t>(1, std::min(options.bytes, most) / kMostRange) * kMostRange;
  auto* words = allocate<uint32_t>(*device, bytes / kWordBytes);
  auto* sums = allocate<uint32_t>(*device, bytes / kRound * kSimdgroups);
  uint32_t expected = 0;
  for (size_t i = 0; i < bytes / kWordBytes; ++i) expected += words[i] = uint32_t(i) * 2654435761u;
  device->make_resident();

  metal::Encoder encoder(device);
  for (const size_t rounds : kRangesInRounds) {
    const size_t range = rounds * kRound, groups = bytes / range;
    const ReadLaunch launch = {.vectors = int(range / kVectorBytes)};
    const auto read = [&] {
      encoder.dispatch("read_memory", {uint32_t(groups)}, kReadThreads,
                       {metal::bytes_of(launch), metal::reads(words, bytes / kWordBytes),
                        metal::writes(sums, groups * kSimdgroups)});
    };
    std::vector<double> rates;
    for (int sample = -2; sample < options.samples; ++sample) {  // the first two raise the clocks
      const auto started = Clock::now();
      for (int pass = 0; pass < kPasses; ++pass) read();  // one after the other, because they write the same
      encoder.wait();
      const double seconds = std::chrono::duration<double>(Clock::now() - started).count();
      if (sample >= 0) rates.push_back(double(kPasses) * double(bytes) / seconds);
    }
    uint32_t found = 0;
    for (size_t i = 0; i < groups * kSimdgroups; ++i) found += sums[i];
    if (found != expected) throw Error(Code::kInternal, str("ranges of ", range, " bytes: the sum is wrong"));
    std::ranges::sort(rates);
    std::printf("{\"rangeBytes\":%zu,\"bytes\":%zu,\"readBytesPerSecond\":%.4g,\"range\":[%.4g,%.4g],\"samples\":%d}\n",
                range, bytes, rates[rates.size() / 2], rates.front(), rates.back(), options.samples);
    std::fflush(stdout);
  }
}

int run(int argc, char** argv) {
  const Options options = read_options(argc, argv);
  const metal::Found found = metal::find_device();
  if (found.device == nullptr) throw Error(Code::kUnsupported, str("there is no Metal GPU: ", found.reason));
  if (options.facts)
    print_facts(found.device->limits());
  else
    measure(found.device, options);
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
