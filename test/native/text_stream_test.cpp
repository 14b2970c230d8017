#include "native/engine/text_stream.h"

#include <algorithm>
#include <random>
#include <string_view>

#include "native/tokenizer/tokenizer.h"
#include "native/tokenizer/vocabulary.h"
#include "test/native/check.h"

namespace oss {
namespace {

using Strings = std::vector<std::string>;

uint32_t find_token(std::string_view bytes) {
  return tokenizer::Vocabulary::get().find(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

int32_t token_of(std::string_view bytes) {
  const uint32_t id = find_token(bytes);
  if (id == tokenizer::Vocabulary::kNone) throw Error(Code::kInternal, "no such token");
  return int32_t(id);
}

// The whole output of a stream, with "#" where it stopped.
struct Reader {
  explicit Reader(const Strings& stops) : stream(make_stop_strings(stops)) {}
  void push(int32_t token) {
    const TextStream::Piece piece = stream.push(token);
    text += piece.text;
    if (piece.stopped) text += '#';
    stopped = piece.stopped;
  }
  // Byte by byte, until it stops; then the end.
  const std::string& read(std::string_view bytes) {
    for (size_t i = 0; i < bytes.size() && !stopped; ++i) push(token_of(bytes.substr(i, 1)));
    return text += stream.end();
  }

  TextStream stream;
  std::string text;
  bool stopped = false;
};

std::string read(const Strings& stops, std::string_view bytes) { return Reader(stops).read(bytes); }

TEST("text stream: U+FFFD as in the WHATWG decoder, for any token borders") {
  const std::pair<std::string, std::string> cases[] = {
      {"plain", "plain"},
      {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "é€😀"},
      {"\xEF\xBB\xBF"
       "a\xEF\xBB\xBF",
       "\uFEFF"
       "a\uFEFF"},  // byte order marks stay
      {"\x80\xBF"
       "a",
       "\uFFFD\uFFFD"
       "a"},                                                                 // bytes that begin nothing
      {"\xC0\xAF", "\uFFFD\uFFFD"},                                          // overlong
      {"\xE0\x80\xBF\xF0\x81\x82", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"},  // overlong
      {"\xED\xA0\x80\xED\xBF\xBF", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"},  // surrogates
      {"\xF4\x91\x92\x93\xFF"
       "A\x80\xBF"
       "B",
       "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"
       "A\uFFFD\uFFFD"
       "B"},  // past U+10FFFF
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
       "A",
       "\uFFFD\uFFFD\uFFFD\uFFFD"
       "A"},  // the beginning of a character
      {"\xF4\x8F\xBF\xBF\xED\x9F\xBF", "\U0010FFFF\uD7FF"},
      {"a\xF0\x9F\x98", "a\uFFFD"},  // the end within a character
      {"\xC3", "\uFFFD"},
  };
  for (const auto& [bytes, text] : cases) {
    CHECK_EQ(read({}, bytes), text);
    CHECK_EQ(read({"unlikely", "\uFFFD!", "é!", "€!"}, bytes), text);
  }
}

TEST("text stream: never half a character") {
  TextStream stream(nullptr);
  CHECK_EQ(stream.push(token_of("\xF0\x9F")).text, "");
  CHECK_EQ(stream.push(token_of("\x98")).text, "");
  CHECK_EQ(stream.push(token_of("\x80")).text, "😀");
  CHECK_EQ(stream.push(token_of("\xE2")).text, "");
  CHECK_EQ(stream.push(token_of("a")).text,
           "\uFFFD"
           "a");
  CHECK_EQ(stream.end(), "");
}

TEST("text stream: special tokens give their spelling, unknown ids give nothing") {
  Reader reader({"call|"});
  for (const int32_t token : {200006, -1, 201089, INT32_MAX, 200014, 201088, token_of("\xC3"), 201089, 199999}) {
    reader.push(token);
  }
  CHECK_EQ(reader.text, "<|start|><|reserved_200014|><|reserved_201088|>\uFFFD<|endoftext|>");
  reader.push(200012);
  CHECK(reader.stopped);
  CHECK_EQ(reader.text, "<|start|><|reserved_200014|><|reserved_201088|>\uFFFD<|endoftext|><|#");
}

TEST("text stream: stop strings") {
  CHECK_EQ(read({"aab"}, "xaaab!"), "xa#");
  CHECK_EQ(read({"aab", "aaab"}, "xaaab!"), "x#");          // both end here: the longest
  CHECK_EQ(read({"aabc", "ab"}, "xaabc"), "xa#");           // the one that ends first
  CHECK_EQ(read({"ab", "abc"}, "abc"), "#");                // one begins with the other
  CHECK_EQ(read({"abcd", "bc"}, "xabcd"), "xa#");           // one within the other
  CHECK_EQ(read({"abcd", "bce"}, "abcf abce"), "abcf a#");  // falls back from one to the other
  CHECK_EQ(read({"a", "a", "a"}, "ba"), "b#");
  CHECK_EQ(read({"€uro", "¢"}, "ĥ€ur €ura\xE2\x82 ¥¢"), "ĥ€ur €ura\uFFFD ¥#");
  CHECK_EQ(read({"abc"}, "ab"), "ab");
  CHECK_EQ(read({"a\uFFFD"}, "xa\xE2\x82z"), "x#");  // found in the text that the caller sees
  CHECK_EQ(read({"a\uFFFD"}, "xa\xE2\x82"), "x");    // at the end, too
  CHECK_EQ(read({std::string("\0\n", 2)}, std::string("a\0b\0\nc", 6)), std::string("a\0b#", 4));
}

TEST("text stream: releases text as soon as it can no longer become a stop string") {
  TextStream stream(make_stop_strings({"abab!", "bb"}));
  CHECK_EQ(stream.push(token_of("ab")).text, "");
  CHECK_EQ(stream.push(token_of("ab")).text, "");
  CHECK_EQ(stream.push(token_of("ab")).text, "ab");
  CHECK_EQ(stream.push(token_of("a")).text, "ab");
  CHECK_EQ(stream.push(token_of("c")).text, "abac");
  CHECK_EQ(stream.push(token_of("b")).text, "");
  CHECK_EQ(stream.end(), "b");
  CHECK_EQ(stream.end(), "");
}

TEST("text stream: a stop string within one token, and an incomplete character behind it") {
  TextStream stream(make_stop_strings({"er", " "}));
  const TextStream::Piece piece = stream.push(token_of("there"));
  CHECK(piece.stopped);
  CHECK_EQ(piece.text, "th");
  CHECK_EQ(stream.end(), "");

  TextStream other(make_stop_strings({" "}));
  CHECK(other.push(token_of(" \xF0\x9F")).stopped);
  CHECK_EQ(other.end(), "");
}

TEST("text stream: refuses invalid stop strings") {
  CHECK(make_stop_strings({}) == nullptr);
  CHECK_THROWS(Code::kInvalidArgument, "index 1 is empty", make_stop_strings({"a", ""}));
  CHECK_THROWS(Code::kInvalidArgument, "index 0 is not UTF-8 at byte 1", make_stop_strings({"a\xA9"}));
  CHECK_THROWS(Code::kInvalidArgument, "index 1 is not UTF-8 at byte 0", make_stop_strings({"a", "\xE2\x82"}));
  CHECK_THROWS(Code::kInvalidArgument, "1024 stop strings but received 1025", make_stop_strings(Strings(1025, "a")));
  CHECK_THROWS(Code::kInvalidArgument, "65536 bytes together but received 65537",
               make_stop_strings({std::string(65000, 'a'), std::string(537, 'b')}));
  CHECK(make_stop_strings(Strings(1024, "a")) != nullptr);
  CHECK(make_stop_strings({std::string(65536, 'a')}) != nullptr);
}

// This would move 64 GB if a token cost as much as the held text.
TEST("text stream: the longest stop string, almost complete at every token") {
  constexpr size_t kLength = 65536, kTokens = 1000000;
  TextStream stream(make_stop_strings({std::string(kLength - 1, 'a') + "b"}));
  const int32_t a = token_of("a");
  std::string text;
  for (size_t i = 0; i < kTokens; ++i) text += stream.push(a).text;
  CHECK_EQ(text.size(), kTokens - (kLength - 1));
  const TextStream::Piece piece = stream.push(token_of("b"));
  CHECK(piece.stopped);
  CHECK_EQ(piece.text, "");
}

struct Match {
  size_t begin = std::string::npos, end = 0;
};

Match find_first(const std::string& text, const Strings& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    Match longest;
    for (const std::string& stop : stops) {
      const bool here = stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0;
      if (here) longest = {std::min(longest.begin, end - stop.size()), end};
    }
    if (longest.end != 0) return longest;
  }
  return {};
}

// The longest end of the text that begins a stop string.
size_t naive_held(const std::string& text, const Strings& stops) {
  size_t held = 0;
  for (const std::string& stop : stops) {
    for (size_t size = std::min(stop.size() - 1, text.size()); size > held; --size) {
      if (text.compare(text.size() - size, size, stop, 0, size) == 0) held = size;
    }
  }
  return held;
}

std::string random_text(std::mt19937& random, const Strings& alphabet, size_t min, size_t max) {
  std::string text;
  for (size_t n = min + random() % (max - min + 1); n > 0; --n) text += alphabet[random() % alphabet.size()];
  return text;
}

// The bytes in `out` that are whole characters; `text` is well-formed.
std::string whole_characters(const std::string& text, size_t bytes) {
  while (bytes < text.size() && (uint8_t(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

TEST("text stream: random texts, stop strings and token borders against a naive search") {
  std::mt19937 random(20);
  const Strings alphabets[] = {
      {"a", "b"}, {"a", "b", "c"}, {"é", "è", "a"}, {"€", "₭", "©", "é"}, {"😀", "😁", "\uFFFD"}};
  for (int round = 0; round < 20000; ++round) {
    const Strings& alphabet = alphabets[random() % std::size(alphabets)];
    const std::string text = random_text(random, alphabet, 0, 24);
    Strings stops;
    for (size_t n = 1 + random() % 4; n > 0; --n) stops.push_back(random_text(random, alphabet, 1, 6));
    const Match match = find_first(text, stops);

    TextStream stream(make_stop_strings(stops));
    std::string released;
    bool stopped = false;
    size_t at = 0;
    while (at < text.size() && !stopped) {
      size_t size = std::min<size_t>(1 + random() % 4, text.size() - at);
      if (find_token(text.substr(at, size)) == tokenizer::Vocabulary::kNone) size = 1;
      const TextStream::Piece piece = stream.push(token_of(text.substr(at, size)));
      at += size;
      released += piece.text;
      stopped = piece.stopped;
      if (!stopped) {
        const std::string whole = whole_characters(text, at);
        CHECK_EQ(released, whole.substr(0, whole.size() - naive_held(whole, stops)));
      }
    }
    CHECK_EQ(stopped, match.end != 0);
    if (stopped) CHECK_EQ(released, text.substr(0, match.begin));
    if (stopped) CHECK(match.end <= at);
    released += stream.end();
    CHECK_EQ(released, text.substr(0, match.begin));
  }
}

TEST("text stream: random bytes give the same text with and without stop strings") {
  std::mt19937 random(3);
  const Strings alphabet = {"a",    "\xC3", "\xA9", "\xE2", "\x82", "\xAC", "\xF0",
                            "\x9F", "\x98", "\x80", "\xEF", "\xBF", "\xBD"};
  for (int round = 0; round < 5000; ++round) {
    const std::string bytes = random_text(random, alphabet, 0, 16);
    const std::string text = read({}, bytes);
    const Strings stops = {"€a", "é\uFFFD", "\uFFFD\uFFFDa", "😀"};
    const Match match = find_first(text, stops);
    std::string expected = text.substr(0, match.begin), actual = read(stops, bytes);
    if (!actual.empty() && actual.back() == '#') actual.pop_back();
    CHECK_EQ(actual, expected);
  }
}

}  // namespace
}  // namespace oss
