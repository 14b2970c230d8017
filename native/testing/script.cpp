#include "native/testing/script.h"

#include <algorithm>

#include "native/base/json.h"
#include "native/base/str.h"
#include "native/tokenizer/tokenizer.h"

namespace oss {

void Script::check(int64_t vocab) const {
  for (const std::vector<int32_t>& tokens : choices_) {
    if (tokens.empty()) throw Error(Code::kInvalidArgument, "a script has no tokens: at least one is needed");
    for (const int32_t token : tokens) {
      if (token < 0 || token >= vocab) {
        throw Error(Code::kInvalidArgument, str("token ", token, " of a script is outside the vocabulary of ", vocab));
      }
    }
  }
  if (choices_.empty()) throw Error(Code::kInvalidArgument, "a script has no choices: at least one is needed");
}

std::optional<int32_t> Script::token(int choice, int64_t position) const {
  const std::vector<int32_t>& tokens = of(choice);
  return size_t(position) < tokens.size() ? std::optional(tokens[size_t(position)]) : std::nullopt;
}

std::optional<Error> Script::refusal(int choice, int64_t position, const grammar::TokenMask& allowed) const {
  constexpr int64_t kShown = 12;  // tokens shown before the wrong one
  const std::vector<int32_t>& tokens = of(choice);
  if (grammar::allows(allowed, tokens[size_t(position)])) return std::nullopt;
  const auto text = [&](int64_t from, int64_t to) {
    const auto first = tokens.begin() + std::max<int64_t>(from, 0);
    const std::vector<uint32_t> ids(first, tokens.begin() + to);
    return quote(tokenizer::decode(ids));
  };
  return Error(Code::kInvalidArgument,
               str("the script breaks the constraint of its request at token ", position, ": after ",
                   text(position - kShown, position), " it writes ", text(position, position + 1)));
}

}  // namespace oss
