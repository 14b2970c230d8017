#include "bench/cpu/bench.h"

#include <chrono>
#include <cstdio>
#include <numeric>

#include "native/base/json.h"
#include "native/base/str.h"
#include "native/model/rope.h"

namespace oss::bench {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

void Bench::run() {
  group([&] { small_operations(); });
  group([&] { embed(); });
  group([&] { qkv(); });
  group([&] { attention(); });
  group([&] { linear_o(); });
  group([&] { linear_router(); });
  group([&] { experts(); });
  group([&] { head(); });
  group([&] { sample(); });
}

void Bench::group(const std::function<void()>& body) {
  if (!roofs_) {
    FILE* table = options_.json ? stderr : stdout;
    std::fprintf(table, "%s, %s, %s, %d threads, numerics %s, dense %s\n%-34s %10s %-22s %8s %9s %8s\n",
                 options_.shape.c_str(), info_.device.c_str(), info_.isa.c_str(), info_.threads, info_.numerics.c_str(),
                 dense_name(), "shape", "us", "[min .. max]", "GB/s", "GFLOP/s", "% of roof");
    roofs_ = meter_.measure();
    describe(*roofs_);
  }
  body();
  buffers_.clear();
  backend_ = make();
  if (rows_.empty()) return;
  const Roofs before = *roofs_;
  roofs_ = meter_.measure();
  for (const Row& row : rows_) report(row, higher(before, *roofs_));
  describe(*roofs_);
  rows_.clear();
}

void Bench::describe(const Roofs& roofs) {
  FILE* table = options_.json ? stderr : stdout;
  std::fprintf(table, "  roofs: memory %.1f GB/s", roofs.bytes_per_second / 1e9);
  std::string units;
  for (size_t i = 0; i < kUnitCount; ++i) {
    const PeakLoop* loop = peak_loop(kUnits[i].unit);
    const double peak = roofs.operations_per_second[i];
    if (loop == nullptr) {
      std::fprintf(table, "; %s absent", kUnits[i].name);
      units += str(",\"", kUnits[i].name, "\":null");
    } else {
      std::fprintf(table, "; %s %.0f Gop/s", loop->instruction, peak / 1e9);
      units += str(",\"", kUnits[i].name, "\":{\"instruction\":", quote(loop->instruction),
                   ",\"operationsPerSecond\":", peak, "}");
    }
  }
  std::fprintf(table, "\n");
  std::fflush(table);
  if (!options_.json) return;
  std::printf(
      "{\"measure\":\"roofs\",\"shape\":%s,\"isa\":%s,\"threads\":%d,\"numerics\":%s,\"dense\":\"%s\","
      "\"bytesPerSecond\":%.4g%s}\n",
      quote(options_.shape).c_str(), quote(info_.isa).c_str(), info_.threads, quote(info_.numerics).c_str(),
      dense_name(), roofs.bytes_per_second, units.c_str());
  std::fflush(stdout);
}

void Bench::report(const Row& row, const Roofs& roofs) const {
  const Unit unit = unit_of(info_, row.on_bf16_unit);
  const auto* named = std::ranges::find(kUnits, unit, [](const auto& one) { return one.unit; });
  const double peak = roofs.operations_per_second[named - kUnits];
  const double by_memory = row.bytes / roofs.bytes_per_second, by_unit = peak > 0 ? row.flops / peak : 0;
  const double share = std::max(by_memory, by_unit) / row.median;
  const char* roof = by_memory >= by_unit ? "memory" : named->name;
  const double gigabytes = row.bytes / row.median / 1e9, gigaflops = row.flops / row.median / 1e9;

  FILE* table = options_.json ? stderr : stdout;
  std::string shape = str(row.kernel, "  ", row.tokens);
  if (row.context > 0) shape += str(" of ", row.context);
  char spread[40];
  std::snprintf(spread, sizeof spread, "[%.3g .. %.3g]", row.least * 1e6, row.most * 1e6);
  std::fprintf(table, "%-34s %10.4g %-22s %8.3g %9.4g %8.1f of %s\n", shape.c_str(), row.median * 1e6, spread,
               gigabytes, gigaflops, 100 * share, roof);
  std::fflush(table);
  if (!options_.json) return;
  std::printf(
      "{\"measure\":\"kernel\",\"shape\":%s,\"isa\":%s,\"threads\":%d,\"numerics\":%s,\"dense\":\"%s\",\"kernel\":%s,"
      "\"tokens\":%d,\"context\":%d,"
      "\"microseconds\":{\"median\":%.4g,\"min\":%.4g,\"max\":%.4g,\"repeats\":%d},\"bytes\":%.0f,\"flops\":%.0f,"
      "\"gigabytesPerSecond\":%.4g,\"gigaflopsPerSecond\":%.4g,\"roof\":\"%s\",\"roofShare\":%.3g}\n",
      quote(options_.shape).c_str(), quote(info_.isa).c_str(), info_.threads, quote(info_.numerics).c_str(),
      dense_name(), quote(row.kernel).c_str(), row.tokens, row.context, row.median * 1e6, row.least * 1e6,
      row.most * 1e6, row.repeats, row.bytes, row.flops, gigabytes, gigaflops, roof, share);
  std::fflush(stdout);
}

void Bench::measure(const Row& row, const std::function<void(size_t)>& call) {
  size_t next = 0;
  const auto time = [&](size_t calls) {
    const Clock::time_point start = Clock::now();
    for (size_t i = 0; i < calls; ++i) call(next++);
    return seconds_since(start) / double(calls);
  };
  // Short calls are timed in bundles of half a millisecond. All repetitions together take a sixth of a second, or five
  // times as long as one call.
  const double sample_seconds = tiny_ ? 1e-4 : 5e-4, row_seconds = tiny_ ? 1e-3 : 0.15;
  time(1);  // grows the backend's memory
  const double once = time(1);
  const auto calls = size_t(std::clamp(sample_seconds / once, 1.0, 1000.0));
  const auto repeats = size_t(std::clamp(row_seconds / (once * double(calls)), 5.0, 51.0));
  std::vector<double> times;
  while (times.size() < repeats) times.push_back(time(calls));
  std::ranges::sort(times);
  Row measured = row;
  measured.median = (times[times.size() / 2] + times[(times.size() - 1) / 2]) / 2;
  measured.least = times.front();
  measured.most = times.back();
  measured.repeats = int(repeats);
  rows_.push_back(measured);
}

std::unique_ptr<Bench::StepArrays> Bench::make_step(int sequences, int each, int context) {
  auto out = std::make_unique<StepArrays>();
  const int pages_each = (context + kPageTokens - 1) / kPageTokens;
  out->pages = sequences * pages_each;
  out->table.resize(size_t(out->pages));
  std::iota(out->table.begin(), out->table.end(), 0);
  std::ranges::shuffle(out->table, random_);
  RopeTable rope(c_);
  for (int s = 0; s < sequences; ++s) {
    for (int position = context - each; position < context; ++position) {
      out->tokens.push_back(int32_t(random_() % unsigned(c_.vocab)));
      out->positions.push_back(position);
      out->sequence.push_back(s);
      const float* row = rope.row(position);
      out->rope.insert(out->rope.end(), row, row + c_.head_dim);
    }
    out->logit_tokens.push_back(int32_t(out->tokens.size()) - 1);
  }
  out->step = {.num_tokens = sequences * each,
               .num_sequences = sequences,
               .num_rows = sequences,
               .tokens = out->tokens,
               .positions = out->positions,
               .sequence = out->sequence,
               .block_tables = {out->table, out->table},
               .max_pages = pages_each,
               .rope = out->rope,
               .logit_tokens = out->logit_tokens,
               .adapters = {}};
  return out;
}

}  // namespace oss::bench
