// What compiling a constraint may cost, counted and not timed: the same constraint is refused everywhere or nowhere.
// Whoever does work says so beforehand; here that is also where a compilation that nobody waits for any more ends.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>

namespace oss::grammar {

enum class Work {
  kSchemas,      // compiled, merged, or followed through a reference
  kBytes,        // of schemas read, copied or written as text
  kComparisons,  // of two schemas, to tell that they have no value in common
  kNodes,        // of the graph that are made, or passed while it is analysed
};

class Budget {
 public:
  static constexpr size_t kKinds = 4;

  // `cancelled` (null: never) outlives it.
  explicit Budget(const std::atomic<bool>* cancelled = nullptr) : cancelled_(cancelled) {}

  // What follows is about another schema or pattern: each has a budget of its own, and all together eight times as much.
  void begin_part() { part_.fill(0); }
  // Throws kInvalidArgument "too large to compile: ..." past the budget, kCancelled when nobody waits any more.
  void spend(Work kind, uint64_t amount = 1) {
    uint64_t& spent = part_[size_t(kind)];
    spent += amount;
    whole_[size_t(kind)] += amount;
    // Looked at seldom, for it may lie in another core's cache.
    if ((uncounted_ += amount) >= kInterval || spent > kLimits[size_t(kind)]) check(kind);
  }
  const std::atomic<bool>* cancelled() const { return cancelled_; }
  uint64_t spent(Work kind) const { return part_[size_t(kind)]; }
  static constexpr uint64_t limit(Work kind) { return kLimits[size_t(kind)]; }

 private:
  // Each takes some 200 ms at most on one core of a small server.
  static constexpr std::array<uint64_t, kKinds> kLimits = {20'000, 64u << 20, 2'000'000, 20'000'000};
  static constexpr uint64_t kParts = 8;
  static constexpr uint64_t kInterval = 4096;

  void check(Work kind);

  const std::atomic<bool>* cancelled_;
  std::array<uint64_t, kKinds> part_{}, whole_{};
  uint64_t uncounted_ = 0;
};

}  // namespace oss::grammar
