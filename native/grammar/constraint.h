// Constraints as requests bring them, compiled. Grammars are kept by their text, so that a schema that comes again costs a
// look-up; the frame around them is made anew.
#pragma once
#include <atomic>
#include <memory>
#include <span>
#include <string_view>

#include "native/grammar/matcher.h"

namespace oss::grammar {

// Grammars, and whole constraints, that are kept after their requests have ended; the least recently used go.
constexpr size_t kMaxKept = 64, kMaxKeptBytes = 256u << 20;
constexpr size_t kMaxSchemaBytes = 1 << 20, kMaxConstraintBytes = 8 << 20;  // of JSON text

// `json` is the text of a Constraint of lib/constraint.ts, in which schemas are texts of JSON themselves. `ends` are the
// tokens that end a text. Throws kInvalidArgument, naming the part and why, for a schema or pattern that is not supported or
// that no text satisfies; a schema with "unsupported": "relax" is replaced by any object or value instead, and named among
// the constraint's relaxed parts. Throws kUnsupported where the vocabulary lacks what is needed, and kCancelled soon after
// `cancelled` has become true. Any thread.
std::shared_ptr<const Constraint> compile_constraint(std::string_view json, int vocab, std::span<const int32_t> ends,
                                                     const std::atomic<bool>* cancelled = nullptr);
// The same when it was compiled not long ago; else null.
std::shared_ptr<const Constraint> known_constraint(std::string_view json, int vocab, std::span<const int32_t> ends);

}  // namespace oss::grammar
