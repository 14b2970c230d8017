// Masks that are made in slices, their cost, and the memory of their grammars.
#include <algorithm>
#include <atomic>
#include <regex>

#include "native/base/str.h"
#include "test/native/grammar_harness.h"

namespace oss::grammar {
namespace {

// Every text of these letters up to a length, in order.
std::vector<std::string> texts_of(std::string_view letters, size_t longest) {
  std::vector<std::string> texts = {""};
  for (size_t i = 0; i < texts.size() && texts[i].size() < longest; ++i) {
    for (const char letter : letters) texts.push_back(texts[i] + letter);
  }
  return texts;
}

// The mask made in slices of `work`, and the number of slices.
std::pair<TokenMask, int> in_slices(Matcher& matcher, uint64_t work) {
  for (int slices = 1;; ++slices) {
    Slice slice{.work = work};
    if (const TokenMask* mask = matcher.mask(kPlenty, slice)) return {*mask, slices};
  }
}

// A pattern with many open ways, which differ for each text.
const char* const kManyWays = "[ -~]*[a-m .,].{300}";

TEST("grammar slices: ambiguous counts accept the same as another engine, with few open ways") {
  for (const char* ambiguous :
       {"(a{1,3} ?){1,2}", "(a{1,3} ?){2,4}", "((a{0,2} ?){1,2} ){0,2}a?", "(a|aa| a){2,3} ", "((a{2,3}){1,2} ?){1,2}",
        "(a{0,2}( a){1,2}){1,3}", "(((a?){0,2} ){1,2}a){0,2}", "(a{1,2} ){1,3}(a{1,2} ){0,2}"}) {
    const auto constraint = compiled(pattern(ambiguous));
    const std::regex other(ambiguous);
    for (const std::string& text : texts_of("a ", 9)) {
      if (accepts(constraint, text) != std::regex_match(text, other)) {
        test::fail(__FILE__, __LINE__, str(ambiguous, ": \"", text, "\""));
      }
    }
  }
  // If covered ways were kept, a text would have 1,200 ways of derivation.
  Constraints constraints(kSmall);
  const auto words = constraints.compile(pattern(R"((\\w{1,20} ?){1,60})"), {&kEndOfText, 1});
  Matcher matcher(words);
  CHECK_EQ(first_refused(matcher, "many words of one text and another text with some more words"), std::string::npos);
  CHECK(constraints.bytes() < (4u << 20));
}

TEST("grammar slices: a mask is the same in slices of any size, and each slice makes progress") {
  for (const char* format : {kManyWays, "(a|b|ab)*.{0,300}[a-f]{2}.{150}", "([a-z]{1,50},){1,100}[0-9]+"}) {
    Matcher whole(compiled(pattern(format))), some(compiled(pattern(format))), tiny(compiled(pattern(format)));
    for (const char letter : std::string("abca,c")) {
      const TokenMask mask = whole.mask(kPlenty);
      const auto [by_some, few] = in_slices(some, 5'000);
      const auto [by_tiny, many] = in_slices(tiny, 100);
      CHECK(mask == by_some && mask == by_tiny && few <= many);
      const int32_t token = token_of(uint8_t(letter));
      if (!allows(mask, token)) break;
      for (Matcher* matcher : {&whole, &some, &tiny}) matcher->accept(token);
    }
  }
}

TEST("grammar slices: while a mask is made, cached masks of its grammar are returned, and others wait") {
  const auto constraint = compiled(pattern(kManyWays));
  Matcher first(constraint), second(constraint);
  for (Matcher* matcher : {&first, &second}) CHECK_EQ(first_refused(*matcher, "a"), std::string::npos);
  first.mask(kPlenty);
  first.accept(token_of('b'));
  Slice little{.work = 1000};
  CHECK(first.mask(kPlenty, little) == nullptr);
  CHECK_EQ(little.work, uint64_t(0));
  // The same text: its mask is in the cache.
  Slice plenty{.waits = false};
  const TokenMask* known = second.mask(kPlenty, plenty);
  CHECK(known != nullptr);
  second.accept(token_of(','));
  CHECK(second.mask(kPlenty, plenty) == nullptr);
  first.mask(kPlenty);
  CHECK(second.mask(kPlenty, plenty) != nullptr);
  {
    // A matcher that is destroyed gives up its turn.
    Matcher third(constraint);
    CHECK_EQ(first_refused(third, "cde"), std::string::npos);
    Slice none{.work = 1};
    CHECK(third.mask(kPlenty, none) == nullptr);
  }
  second.accept(token_of('x'));
  CHECK(second.mask(kPlenty, plenty) != nullptr);
}

TEST("grammar slices: a mask stops when it is cancelled") {
  Matcher matcher(compiled(pattern(kManyWays)));
  CHECK_EQ(first_refused(matcher, "a"), std::string::npos);
  matcher.mask(kPlenty);
  matcher.accept(token_of('b'));
  const std::atomic<bool> cancelled{true};
  Slice slice{.cancelled = &cancelled};
  CHECK_THROWS(Code::kCancelled, "the request that needs the mask has ended", matcher.mask(kPlenty, slice));
  CHECK(allows(matcher.mask(kPlenty), token_of('c')));  // and continues when it is asked again
}

TEST("grammar memory: grammars share a limit, the least recently used are evicted, and all are freed at the end") {
  Constraints constraints(kSmall, 2u << 20);
  const auto compile = [&](int i) {
    return constraints.compile(pattern(str("([a-z]{0,9000}[0-9]){0,", 9000 - i, "}")), {&kEndOfText, 1});
  };
  const auto use = [](const std::shared_ptr<const Constraint>& constraint) {
    Matcher matcher(constraint);
    CHECK_EQ(first_refused(matcher, std::string(700, 'a') + "7"), std::string::npos);
  };
  for (int i = 0; i < 12; ++i) {
    use(compile(i));
    constraints.trim();
    CHECK(constraints.bytes() <= 2u << 20);
  }
  CHECK(constraints.grammars() < 12);
  const auto known = [&](int i) {
    return constraints.find(pattern(str("([a-z]{0,9000}[0-9]){0,", 9000 - i, "}")), {&kEndOfText, 1});
  };
  CHECK(known(11) != nullptr && known(0) == nullptr);
  // Grammars in use count until they are destroyed. They drop what can be computed again, and continue.
  std::vector<std::shared_ptr<const Constraint>> in_use;
  for (int i = 0; i < 12; ++i) in_use.push_back(compile(i));
  for (int round = 0; round < 2; ++round) {
    for (const auto& constraint : in_use) use(constraint);
  }
  const size_t used = constraints.bytes();
  CHECK(used < 24u << 20);
  in_use.clear();
  constraints.trim();
  CHECK(constraints.bytes() < used && constraints.bytes() <= 2u << 20);
}

TEST("grammar memory: a pattern that takes too much is refused by name") {
  std::string why;
  try {
    Matcher matcher(compiled(pattern("[a-z0-9]*[a-m].{4000}"), kFull));
    for (int i = 0; i < 3000; ++i) {
      matcher.mask(kPlenty);
      matcher.accept(token_of(uint8_t("az0b"[i % 4])));
    }
  } catch (const Error& error) {
    why = str(code_name(error.code()), " ", error.what());
  }
  CHECK(why.find("UNSUPPORTED the constraint leaves") == 0);
}

}  // namespace
}  // namespace oss::grammar
