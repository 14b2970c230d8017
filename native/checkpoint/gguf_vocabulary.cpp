// Compares the vocabulary of a GGUF file with the built-in one, o200k_harmony, by some of its tokens.
#include <array>
#include <string>

#include "native/base/json.h"
#include "native/base/utf8.h"
#include "native/checkpoint/layout_gguf.h"
#include "native/tokenizer/tokenizer.h"

namespace oss {
namespace {

constexpr int kFullVocabulary = 201088;
constexpr uint32_t kStep = 1009;  // a prime: 199 ordinary tokens of all lengths

// GPT-2's table: printable Latin-1 bytes stand for themselves, the others for U+0100 and on, in order.
bool stands_for_itself(uint32_t byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
}

std::string printable(const std::string& bytes) {
  static const std::array<uint32_t, 256> kCharacters = [] {
    std::array<uint32_t, 256> table{};
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; ++byte) table[byte] = stands_for_itself(byte) ? byte : next++;
    return table;
  }();
  std::string text;
  for (const char byte : bytes) {
    const uint32_t character = kCharacters[uint8_t(byte)];
    if (character < 0x80) {
      text += char(character);
    } else {
      text += char(0xC0 | (character >> 6));
      text += char(0x80 | (character & 0x3F));
    }
  }
  return text;
}

void expect_text(const GgufMetadata& metadata, const char* key, std::string_view expected) {
  if (!metadata.has(key)) return;
  const std::string_view found = metadata.string(key);
  if (found != expected)
    metadata.fail(Code::kUnsupported, key, "expected ", quote(expected), ", the tokenizer of gpt-oss, found ",
                  quote(found));
}

}  // namespace

void check_gguf_vocabulary(const GgufMetadata& metadata, int vocab, bool ollama) {
  constexpr char kTokens[] = "tokenizer.ggml.tokens";
  expect_text(metadata, "tokenizer.ggml.model", "gpt2");
  // Ollama's files have the mark of another tokenizer, which its own loader replaces (handle_gptoss).
  if (!ollama) expect_text(metadata, "tokenizer.ggml.pre", "gpt-4o");
  if (vocab != kFullVocabulary || !metadata.has(kTokens)) return;
  const std::vector<std::string_view> tokens = metadata.strings(kTokens);
  const auto check = [&](uint32_t id, const std::string& expected) {
    if (tokens[id] != expected)
      metadata.fail(Code::kUnsupported, kTokens, "token ", id, ": expected ", quote(expected),
                    " of the vocabulary o200k_harmony, found ", quote(tokens[id]));
  };
  for (uint32_t id = 0; id < tokenizer::kFirstSpecial; id += kStep)
    check(id, printable(tokenizer::decode(std::array<uint32_t, 1>{id})));
  for (const uint32_t id : {199998u, 199999u, 200002u, 200003u, 200005u, 200006u, 200007u, 200008u, 200012u})
    check(id, tokenizer::special_text(id));
}

}  // namespace oss
