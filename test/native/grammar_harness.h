// Compares constraints of the small vocabulary with texts, byte for byte.
#pragma once
#include <string>
#include <vector>

#include "native/grammar/constraint.h"
#include "native/grammar/json_text.h"
#include "native/tokenizer/tokenizer.h"
#include "native/tokenizer/vocabulary.h"
#include "test/native/check.h"

namespace oss::grammar {

constexpr int kSmall = 512, kFull = 201088;
constexpr int32_t kEndOfText = 510;  // of the small vocabulary, where it is also an ordinary token
constexpr int64_t kPlenty = 1'000'000;

inline std::string json_schema(const std::string& schema) {
  return R"({"kind":"text","format":{"type":"json_schema","schema":)" + json_string(schema) + "}}";
}
inline std::string pattern(const std::string& regex) {
  return R"({"kind":"text","format":{"type":"regex","pattern":")" + regex + "\"}}";
}

inline std::shared_ptr<const Constraint> compiled(const std::string& json, int vocab = kSmall) {
  const int32_t end = vocab == kFull ? 200002 : kEndOfText;
  return compile_constraint(json, vocab, {&end, 1});
}

inline std::string bytes_of(int32_t token) { return tokenizer::decode(std::vector<uint32_t>{uint32_t(token)}); }

inline int32_t token_of(uint8_t byte) { return int32_t(tokenizer::Vocabulary::get().find(&byte, 1)); }

// Reads byte for byte; returns the index of the first refused byte, or npos.
inline size_t first_refused(Matcher& matcher, std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const int32_t token = token_of(uint8_t(text[i]));
    if (!allows(matcher.mask(kPlenty), token)) return i;
    matcher.accept(token);
  }
  return std::string_view::npos;
}

inline bool accepts(const std::shared_ptr<const Constraint>& constraint, std::string_view text) {
  Matcher matcher(constraint);
  return first_refused(matcher, text) == std::string_view::npos && allows(matcher.mask(kPlenty), kEndOfText);
}

struct Case {
  std::string constraint;
  std::vector<std::string> accepted, refused;
};

inline void check(const Case& one) {
  const auto constraint = compiled(one.constraint);
  for (const std::string& text : one.accepted) {
    if (!accepts(constraint, text)) test::fail(__FILE__, __LINE__, one.constraint + " refuses " + text);
  }
  for (const std::string& text : one.refused) {
    if (accepts(constraint, text)) test::fail(__FILE__, __LINE__, one.constraint + " accepts " + text);
  }
}

}  // namespace oss::grammar
