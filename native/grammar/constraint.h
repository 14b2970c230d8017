// Constraints as requests bring them, compiled. Grammars are kept by their text, so that a schema that comes again costs a
// look-up; the frame around them is made anew.
#pragma once
#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "native/grammar/matcher.h"

namespace oss::grammar {

constexpr size_t kMaxSchemaBytes = 1 << 20, kMaxConstraintBytes = 8 << 20;  // of JSON text

// What was used last comes first; what does not fit goes from the end, and stays only as long as requests use it.
template <typename Value>
class RecentlyUsed {
 public:
  explicit RecentlyUsed(std::shared_ptr<GrammarMemory> memory) : memory_(std::move(memory)) {}
  std::shared_ptr<Value> find(const std::string& key);
  void add(std::string key, std::shared_ptr<Value> value);
  // The one that was used least recently goes, unless it is the last; false when there is none.
  bool drop_one();
  size_t size() const;

 private:
  static constexpr size_t kMostKept = 64;
  struct Entry {
    std::string key;
    std::shared_ptr<Value> value;
  };
  const std::shared_ptr<GrammarMemory> memory_;  // keys count, too
  mutable std::mutex mutex_;
  std::list<Entry> entries_;
};

// The constraints of one engine: what was compiled is kept while it fits into `most_bytes`, also after its requests have
// ended, and goes with the engine. Any thread.
class Constraints {
 public:
  explicit Constraints(int vocab, size_t most_bytes = 256u << 20);

  // `json` is the text of a Constraint of lib/generation/constraint.ts, in which schemas are texts of JSON themselves. `ends` are the
  // tokens that end a text. Throws kInvalidArgument, naming the part and why, for a schema or pattern that is not supported
  // or that no text satisfies; a schema with "unsupported": "relax" is replaced by any object or value instead, and named
  // among the constraint's relaxed parts. Throws kUnsupported where the vocabulary lacks what is needed, and kCancelled soon
  // after `cancelled` has become true.
  std::shared_ptr<const Constraint> compile(std::string_view json, std::span<const int32_t> ends,
                                            const std::atomic<bool>* cancelled = nullptr);
  // The same when it was compiled not long ago; else null.
  std::shared_ptr<const Constraint> find(std::string_view json, std::span<const int32_t> ends);

  // Grammars grow while they are used: gives back what has not been used for long, until the rest fits.
  void trim();
  size_t bytes() const { return memory_->bytes; }       // of all that are kept or in use, about
  size_t grammars() const { return grammars_.size(); }  // kept

 private:
  friend class Parts;
  const int vocab_;
  const std::shared_ptr<GrammarMemory> memory_;
  RecentlyUsed<Grammar> grammars_;
  RecentlyUsed<const Constraint> constraints_;
};

// One that is kept nowhere.
std::shared_ptr<const Constraint> compile_constraint(std::string_view json, int vocab, std::span<const int32_t> ends,
                                                     const std::atomic<bool>* cancelled = nullptr);

}  // namespace oss::grammar
