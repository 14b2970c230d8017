// Constraints as requests bring them, compiled. Grammars are kept by their text, so that a schema that comes again costs a
// look-up; the frame around them is made anew.
#pragma once
#include <memory>
#include <span>
#include <string_view>

#include "native/grammar/matcher.h"

namespace oss::grammar {

constexpr size_t kMaxGrammars = 64;              // kept after their requests have ended; the least recently used goes
constexpr size_t kMaxConstraintBytes = 1 << 20;  // of JSON text

// `json` is the text of a Constraint of lib/constraint.ts, shape and types checked. `ends` are the tokens that end a text.
// Throws kInvalidArgument, naming the part and why, for a schema or pattern that is not supported or that no text
// satisfies; kUnsupported where the vocabulary lacks what is needed. Any thread.
std::shared_ptr<const Constraint> compile_constraint(std::string_view json, int vocab, std::span<const int32_t> ends);

}  // namespace oss::grammar
