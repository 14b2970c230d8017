// Limits the cost of compiling a constraint. Costs are counted, not timed, so every machine refuses the same
// constraints. Code reports work before it does it; that call also ends a compilation that was cancelled.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>

namespace oss::grammar {

enum class Work {
  kSchemas,      // compiled, merged, or reached through a reference
  kBytes,        // of schemas read, copied or written as text
  kComparisons,  // of two schemas, to show that they have no value in common
  kNodes,        // of the graph, made or visited by its analysis
};

class Budget {
 public:
  static constexpr size_t kKinds = 4;

  // `cancelled` (null: never) must outlive this object.
  explicit Budget(const std::atomic<bool>* cancelled = nullptr) : cancelled_(cancelled) {}

  // Starts another schema or pattern. Each has its own budget, and all together have eight times as much.
  void begin_part() { part_.fill(0); }
  // Throws kInvalidArgument "too large to compile: ..." past the budget, kCancelled when the compilation was cancelled.
  void spend(Work kind, uint64_t amount = 1) {
    uint64_t& spent = part_[size_t(kind)];
    spent += amount;
    whole_[size_t(kind)] += amount;
    // Checked rarely, because the flag may be in another core's cache.
    if ((uncounted_ += amount) >= kInterval || spent > kLimits[size_t(kind)]) check(kind);
  }
  const std::atomic<bool>* cancelled() const { return cancelled_; }
  uint64_t spent(Work kind) const { return part_[size_t(kind)]; }
  static constexpr uint64_t limit(Work kind) { return kLimits[size_t(kind)]; }

 private:
  // Each limit takes about 200 ms at most on one core of a small server.
  static constexpr std::array<uint64_t, kKinds> kLimits = {20'000, 64u << 20, 2'000'000, 20'000'000};
  static constexpr uint64_t kParts = 8;
  static constexpr uint64_t kInterval = 4096;

  void check(Work kind);

  const std::atomic<bool>* cancelled_;
  std::array<uint64_t, kKinds> part_{}, whole_{};
  uint64_t uncounted_ = 0;
};

}  // namespace oss::grammar
