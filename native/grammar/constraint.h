// Compiles the constraints of requests. Grammars are cached by their text, so a repeated schema costs one look-up. The
// frame around them is always built anew.
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

// A cache with the most recently used entry first. Entries that do not fit are dropped from the end. They stay in
// memory while requests use them.
template <typename Value>
class RecentlyUsed {
 public:
  explicit RecentlyUsed(std::shared_ptr<GrammarMemory> memory) : memory_(std::move(memory)) {}
  std::shared_ptr<Value> find(const std::string& key);
  void add(std::string key, std::shared_ptr<Value> value);
  // Drops the least recently used entry, unless it is the only one. Returns false when there is none to drop.
  bool drop_one();
  size_t size() const;

 private:
  static constexpr size_t kMostKept = 64;
  struct Entry {
    std::string key;
    std::shared_ptr<Value> value;
  };
  const std::shared_ptr<GrammarMemory> memory_;  // includes the keys
  mutable std::mutex mutex_;
  std::list<Entry> entries_;
};

// The constraints of one engine. Compiled constraints stay after their requests end, as long as they fit into
// `most_bytes`; the engine frees them. Any thread.
class Constraints {
 public:
  explicit Constraints(int vocab, size_t most_bytes = 256u << 20);

  // `json` is the text of a Constraint of lib/generation/constraint.ts, in which schemas are themselves JSON texts.
  // `ends` are the tokens that end a text.
  //
  // Throws kInvalidArgument, with the part and the reason, for a schema or pattern that is not supported or that no
  // text satisfies. A schema with "unsupported": "relax" is replaced by any object or value instead, and is listed
  // among the constraint's relaxed parts. Throws kUnsupported where the vocabulary lacks a needed token, and kCancelled
  // soon after `cancelled` becomes true.
  std::shared_ptr<const Constraint> compile(std::string_view json, std::span<const int32_t> ends,
                                            const std::atomic<bool>* cancelled = nullptr);
  // The same constraint if it is still cached, else null.
  std::shared_ptr<const Constraint> find(std::string_view json, std::span<const int32_t> ends);

  // Grammars grow with use: drops the least recently used entries until the rest fits.
  void trim();
  size_t bytes() const { return memory_->bytes; }       // of all that are cached or in use, about
  size_t grammars() const { return grammars_.size(); }  // cached

 private:
  friend class Parts;
  const int vocab_;
  const std::shared_ptr<GrammarMemory> memory_;
  RecentlyUsed<Grammar> grammars_;
  RecentlyUsed<const Constraint> constraints_;
};

// Compiles a constraint without a cache.
std::shared_ptr<const Constraint> compile_constraint(std::string_view json, int vocab, std::span<const int32_t> ends,
                                                     const std::atomic<bool>* cancelled = nullptr);

}  // namespace oss::grammar
