// The tokenizer's core. test/lib/tokenizer/tokenizer.test.ts runs the same goldens through the binding, and compares
// with another tokenizer on random texts.
#include "native/tokenizer/tokenizer.h"

#include <fstream>
#include <random>
#include <thread>

#include "native/base/json.h"
#include "native/tokenizer/pretokenize.h"
#include "native/tokenizer/vocabulary.h"
#include "test/native/check.h"

namespace oss::tokenizer {
namespace {

using Ids = std::vector<uint32_t>;

std::string join(const Ids& ids) { return str_shape(ids); }

// The pieces of the split pattern, separated by '|'.
std::string split(std::string_view text) {
  std::string out;
  const uint8_t* p = reinterpret_cast<const uint8_t*>(text.data());
  const uint8_t* end = p + text.size();
  while (p < end) {
    const uint8_t* next = piece_end(p, end);
    if (!out.empty()) out += '|';
    out.append(reinterpret_cast<const char*>(p), size_t(next - p));
    p = next;
  }
  return out;
}

// Byte-pair merges exactly by the definition: quadratic and simple.
Ids merge_slowly(const std::string& piece) {
  const Vocabulary& vocabulary = Vocabulary::get();
  const auto find = [&](const std::string& part) {
    return vocabulary.find(reinterpret_cast<const uint8_t*>(part.data()), part.size());
  };
  std::vector<std::string> parts;
  for (const char byte : piece) parts.emplace_back(1, byte);
  while (find(piece) == Vocabulary::kNone) {
    uint32_t best = Vocabulary::kNone;
    size_t at = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const uint32_t rank = find(parts[i] + parts[i + 1]);
      if (rank < best) {
        best = rank;
        at = i;
      }
    }
    if (best == Vocabulary::kNone) break;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + long(at) + 1);
  }
  if (find(piece) != Vocabulary::kNone) return {find(piece)};
  Ids ids;
  for (const std::string& part : parts) ids.push_back(find(part));
  return ids;
}

template <typename Check>
void for_each_golden(const std::string& name, const Check& check) {
  std::ifstream file(test::source_path("test/golden/harmony/cases/" + name));
  CHECK(file.good());
  for (std::string line; std::getline(file, line);) {
    // Lone surrogates exist in JavaScript only; the binding turns them into U+FFFD.
    for (const char* surrogate : {"\\ud83d\"", "\\udc00"}) {
      if (const size_t at = line.find(surrogate); at != line.npos) line.replace(at, 6, "\\ufffd");
    }
    const Json golden = parse_json(line, name);
    Ids ids;
    for (const Json& id : *golden.find("ids")->array()) ids.push_back(uint32_t(*id.integer()));
    check(*golden.find("text")->string(), ids);
  }
}

SpecialSet all_specials() { return SpecialSet().set(); }

TEST("tokenizer: ordinary goldens, counted and decoded too") {
  for_each_golden("tokenizer.jsonl", [](const std::string& text, const Ids& ids) {
    CHECK_EQ(join(encode(text)), join(ids));
    CHECK_EQ(count(text), ids.size());
    CHECK_EQ(decode(ids), text);
  });
}

TEST("tokenizer: special-aware goldens") {
  for_each_golden("tokenizer-special.jsonl", [](const std::string& text, const Ids& ids) {
    CHECK_EQ(join(encode(text, all_specials())), join(ids));
    CHECK_EQ(decode(ids), text);
  });
}

TEST("tokenizer: the 1,091 special tokens") {
  std::ifstream file(test::source_path("test/golden/harmony/special-tokens.json"));
  std::string json((std::istreambuf_iterator<char>(file)), {});
  const Json tokens = parse_json(json, "special-tokens.json");
  CHECK_EQ(tokens.array()->size(), size_t(kNumSpecial));
  for (const Json& token : *tokens.array()) {
    const uint32_t id = uint32_t(*token.find("id")->integer());
    const std::string& text = *token.find("text")->string();
    CHECK_EQ(special_text(id), text);
    CHECK_EQ(join(encode(text, all_specials())), join({id}));
    CHECK(encode(text).size() > 1);
    SpecialSet others = all_specials();
    others.reset(id - kFirstSpecial);
    CHECK_EQ(join(encode(text, others)), join(encode(text)));
  }
}

TEST("tokenizer: a text that only looks like a special token is ordinary text") {
  for (const char* text : {"<|", "|>", "<||>", "<|>", "<|start", "<|start|", "<|Start|>", "<| start|>", "<|reserved_|>",
                           "<|reserved_7|>", "<|reserved_0200014|>", "<|reserved_200014 |>", "<|reserved_200002|>",
                           "<|reserved_201089|>", "<|reserved_99999999999999999999|>", "<|endofprompt|>"}) {
    CHECK_EQ(join(encode(text, all_specials())), join(encode(text)));
  }
  CHECK_EQ(join(encode("<|<|start|>|>", all_specials())), join({27, 91, 200006, 91, 29}));
  CHECK_EQ(join(encode("<|start|><|start|>", all_specials())), join({200006, 200006}));
}

TEST("pretokenize: the alternatives of the split pattern") {
  CHECK_EQ(split("hello world"), "hello| world");
  CHECK_EQ(split("camelCaseHTTPServer"), "camel|Case|HTTPServer");
  CHECK_EQ(split("日本A日"), "日本A日");
  CHECK_EQ(split("aA"), "a|A");
  CHECK_EQ(split("Aʰ"), "Aʰ");
  CHECK_EQ(split("ʰAB"), "ʰ|AB");
  CHECK_EQ(split("AʰB!Ab"), "Aʰ|B|!Ab");
  CHECK_EQ(split("we'll WE'LL it'S'x"), "we'll| WE'LL| it'S|'x");
  CHECK_EQ(split("it'ſx 'ſ"), "it'ſ|x| '|ſ");
  CHECK_EQ(split("a'rE'"), "a'rE|'");
  CHECK_EQ(split("1234567٣"), "123|456|7٣");
  CHECK_EQ(split("x==/\r\n/y"), "x|==/\r\n/|y");
  CHECK_EQ(split(" !! a"), " !!| a");
  CHECK_EQ(split("a   b"), "a|  | b");
  CHECK_EQ(split("a \n \n  b"), "a| \n \n| | b");
  CHECK_EQ(split("a   "), "a|   ");
  CHECK_EQ(split("a\u0085b"), "a|\u0085b");             // U+0085 is whitespace, so it may lead a word
  CHECK_EQ(split("\u0085\u0085!"), "\u0085|\u0085|!");  // … and is no symbol
  CHECK_EQ(split("!\uFEFF!"), "!\uFEFF!");              // U+FEFF and U+200B are symbols
  CHECK_EQ(split("!\u200B!"), "!\u200B!");
  CHECK_EQ(split("\u0301A"), "\u0301|A");  // a mark may lead a word or be one
  CHECK_EQ(split("\u0301a"), "\u0301a");
  CHECK_EQ(split("!!\u0301!"), "!!\u0301!");
}

TEST("pretokenize: malformed bytes are symbols, and nothing is read past the end") {
  const std::string tails[] = {"\xC3", "\xE2\x80",         "\xF0\x9F\x98",    "\x80",
                               "\xFF", "\xF7\xBF\xBF\xBF", "\xF4\x90\x80\x80"};
  for (const std::string& tail : tails) {
    const std::vector<char> exact(tail.begin(), tail.end());  // on the heap without a terminator, for the sanitizer
    CHECK_EQ(decode(encode({exact.data(), exact.size()})), tail);
    CHECK_EQ(decode(encode("word " + tail + "word")), "word " + tail + "word");
  }
}

TEST("bpe: short and long pieces merge by the definition") {
  std::mt19937 random(1);
  const std::string alphabets[] = {"ab", "aeinorst", "abcdefghijklmnopqrstuvwxyz"};
  for (int i = 0; i < 300; ++i) {
    const std::string& alphabet = alphabets[i % 3];
    std::string piece(1 + random() % 200, ' ');
    for (char& letter : piece) letter = alphabet[random() % alphabet.size()];
    CHECK_EQ(join(encode(piece)), join(merge_slowly(piece)));
  }
  for (const size_t size : {63, 64, 65, 128, 129, 300}) {
    const std::string same(size, ' ');
    CHECK_EQ(join(encode(same)), join(merge_slowly(same)));
  }
}

TEST("bpe: a cached piece is correct, also after it was evicted") {
  std::mt19937 random(2);
  std::vector<std::string> pieces;
  for (int i = 0; i < 30000; ++i) {  // more than the cache holds; lengths on both sides of its limit
    std::string piece(2 + random() % 33, ' ');
    for (char& letter : piece) letter = char('a' + random() % 4);
    pieces.push_back(piece);
  }
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < pieces.size(); i += 1 + random() % 20) {
      const Ids ids = encode(pieces[i]);
      CHECK(ids == encode(pieces[i]));
      CHECK(ids == merge_slowly(pieces[i]));
      CHECK_EQ(count(pieces[i]), ids.size());
    }
  }
}

TEST("tokenizer: encode_into fills the array and counts the rest") {
  const std::string text = "<|start|>unbelievableness 漢字<|end|>";
  for (const SpecialSet& allowed : {SpecialSet(), all_specials()}) {
    const Ids ids = encode(text, allowed);
    for (size_t size = 0; size <= ids.size() + 1; ++size) {
      std::vector<uint32_t> target(size, 7);  // on the heap and exact, for the sanitizer
      CHECK_EQ(encode_into(target, text, allowed), ids.size());
      for (size_t i = 0; i < size; ++i) CHECK_EQ(target[i], i < ids.size() ? ids[i] : 7u);
    }
  }
}

TEST("tokenizer: encode_within gives all tokens or nothing") {
  for (const std::string& text : {std::string("The quick brown fox jumps over the lazy dog."), std::string(3000, 'x'),
                                  std::string(100000, ' '), std::string("a<|end|>b<|end|>")}) {
    SpecialSet all;
    all.set();
    for (const SpecialSet& allowed : {SpecialSet(), all}) {
      const Ids ids = encode(text, allowed);
      CHECK(encode_within(text, ids.size(), allowed) == ids);
      CHECK(encode_within(text, ids.size() - 1, allowed) == std::nullopt);
      CHECK(encode_within(text, 0, allowed) == std::nullopt);
      CHECK(encode_within(text, SIZE_MAX, allowed) == ids);
    }
  }
  CHECK(encode_within("", 0) == Ids{});
}

TEST("vocabulary: the least number of tokens by bytes is a lower bound") {
  const Vocabulary& vocabulary = Vocabulary::get();
  const auto least = [&](std::string_view text) {
    return vocabulary.least_tokens({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  };
  size_t above = 0;
  for (uint32_t id = 0; id < vocabulary.size(); ++id) above += vocabulary.least_tokens(vocabulary.bytes(id)) > 1;
  CHECK_EQ(above, size_t(0));
  std::mt19937 random(5);
  for (const char* alphabet : {" ", "-", "ab", "0123456789", "etaoin shrdlu", "\n\t ", "\u6F22\u5B57", "=-*_"}) {
    const std::string_view letters = alphabet;
    std::string text;
    for (int i = 0; i < 20000; ++i) text += letters[random() % letters.size()];
    CHECK(least(text) <= encode(text).size());
  }
  // A piece of letters is known not to fit long before its merges, because tokens of letters are short.
  CHECK_EQ(least(std::string(128, ' ')), size_t(1));
  CHECK(least(std::string(27'000'000, 'q')) > 131072);
}

TEST("tokenizer: a cancelled encoding stops, in a long piece too, and the next one is whole") {
  std::atomic<bool> cancelled = true;
  CHECK_THROWS(Code::kCancelled, "cancelled", encode("a b", {}, &cancelled));
  const std::string piece(20'000'000, 'a');
  cancelled = false;
  std::thread other([&] { cancelled = true; });
  CHECK_THROWS(Code::kCancelled, "cancelled", encode(piece, {}, &cancelled));
  other.join();
  CHECK_EQ(join(encode("hello world")), join({24912, 2375}));
}

TEST("vocabulary: every token is found by its bytes and encodes to itself when it is one piece") {
  const Vocabulary& vocabulary = Vocabulary::get();
  CHECK_EQ(vocabulary.size(), 199998u);
  size_t differing = 0;
  for (uint32_t id = 0; id < vocabulary.size(); ++id) {
    const Bytes bytes = vocabulary.bytes(id);
    CHECK_EQ(vocabulary.find(bytes.data(), bytes.size()), id);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    differing += split(text) == text && encode(text) != Ids{id};
  }
  CHECK_EQ(differing, size_t(0));
}

TEST("tokenizer: pieces of 100,000 characters") {
  for (const char* unit : {"a", "A", " ", "\n", "7", "!", "\u00A0", "한", "漢", "😀", "\u0301", "\u200D"}) {
    std::string text;
    for (int i = 0; i < 100000; ++i) text += unit;
    const Ids ids = encode(text);
    CHECK_EQ(count(text), ids.size());
    CHECK(decode(ids) == text);
  }
}

TEST("tokenizer: decode refuses ids past the last, and says where") {
  CHECK_EQ(decode(Ids{}), "");
  CHECK_EQ(decode(Ids{201088}), "<|reserved_201088|>");
  CHECK_THROWS(Code::kInvalidArgument, "201089 at index 2", decode(Ids{1, 200006, 201089}));
  CHECK_THROWS(Code::kInvalidArgument, "4294967295 at index 0", decode(Ids{~0u}));
}

TEST("tokenizer: threads share one vocabulary") {
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (Ids& result : results) threads.emplace_back([&] { result = encode("the same text in every thread"); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) CHECK(result == results[0]);
}

}  // namespace
}  // namespace oss::tokenizer
