#include "bench/cpu/roofs.h"

#include <algorithm>

#include "kernels/common/synthetic.h"
#include "native/base/bandwidth.h"
#include "native/base/thread_pool.h"

namespace oss::bench {

Roofs higher(const Roofs& a, const Roofs& b) {
  Roofs out = {.bytes_per_second = std::max(a.bytes_per_second, b.bytes_per_second)};
  for (size_t i = 0; i < kUnitCount; ++i)
    out.operations_per_second[i] = std::max(a.operations_per_second[i], b.operations_per_second[i]);
  return out;
}

RoofMeter::RoofMeter(int threads, size_t bytes, double seconds) : threads_(threads), seconds_(seconds) {
  ThreadPool pool(threads);
  HostTensor words;
  words.name = "the roof of memory";
  words.bytes = bytes;
  words.synthetic = {.kind = kSyntheticCodes, .key = 1, .scale = 0};
  words_ = {memory_.materialize(words, pool).as<uint64_t>(), bytes / sizeof(uint64_t)};
}

Roofs RoofMeter::measure() const {
  Roofs out;
  for (int pass = 0; pass < 7; ++pass)
    out.bytes_per_second = std::max(out.bytes_per_second, read_bandwidth(words_, threads_));
  for (size_t i = 0; i < kUnitCount; ++i) {
    const PeakLoop* loop = peak_loop(kUnits[i].unit);
    if (loop != nullptr) out.operations_per_second[i] = operations_per_second(*loop, threads_, seconds_);
  }
  return out;
}

Unit unit_of(const DeviceInfo& info, bool on_bf16_unit) {
  const auto named = [&](const char* part) { return info.isa.find(part) != std::string::npos; };
  if (on_bf16_unit && named("amx")) return Unit::kBf16Matrix;
  if (on_bf16_unit && named("bf16")) return Unit::kBf16;
  return named("avx2") ? Unit::kFloat32Avx2 : Unit::kFloat32;
}

}  // namespace oss::bench
