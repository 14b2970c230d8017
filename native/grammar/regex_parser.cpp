#include "native/grammar/regex_tree.h"

#include <algorithm>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"
#include "native/base/utf8.h"
#include "native/grammar/graph.h"

namespace oss::grammar {
namespace {

using Tree = RegexTree;

constexpr int kMaxNesting = 64;  // of groups: bounds the recursion

const CodePointSet kDigit = {{'0', '9'}};
const CodePointSet kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CodePointSet kSpace = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                             {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const CodePointSet kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

class Parser {
 public:
  Parser(std::string_view pattern, const std::string& name) : text_(pattern), name_(name) {}

  Tree whole() {
    Tree out = alternatives(0);
    if (at_ < text_.size()) refuse("a \")\" that closes no group");
    return out;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const { refuse_regex(name_, text_, at_, what); }
  bool take(std::string_view token) {
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  bool next_is(char c) const { return at_ < text_.size() && text_[at_] == c; }

  Tree alternatives(int depth) {
    Tree out{Tree::kAlternatives};
    do {
      count(sequences_);
      out.parts.push_back(sequence(depth));
    } while (take("|"));
    return out;
  }

  Tree sequence(int depth) {
    Tree out{Tree::kSequence};
    while (at_ < text_.size() && !next_is('|') && !next_is(')')) out.parts.push_back(part(depth));
    return out;
  }

  // Parts that match no character take no count.
  Tree part(int depth) {
    const size_t at = at_;
    const auto assertion = [&](Tree::Kind kind) {
      Tree out{kind};
      out.at = at;
      return out;
    };
    if (take("^")) return uncounted(assertion(Tree::kBegin));
    if (take("$")) return uncounted(assertion(Tree::kEnd));
    const bool is_ahead = take("(?=");
    if (!is_ahead && !take("(?!")) return counted(atom(depth));
    Tree out = assertion(is_ahead ? Tree::kAhead : Tree::kNotAhead);
    out.parts.push_back(group_body(depth + 1));
    return uncounted(std::move(out));
  }

  Tree uncounted(Tree of) const {
    if (next_is('*') || next_is('+') || next_is('?') || next_is('{')) refuse("a count of an anchor or of look-ahead");
    return of;
  }

  Tree counted(Tree of) {
    uint32_t min = 1, max = 1;
    if (take("*")) {
      min = 0, max = kUnlimited;
    } else if (take("+")) {
      max = kUnlimited;
    } else if (take("?")) {
      min = 0;
    } else if (take("{")) {
      min = max = number();
      if (take(",")) max = next_is('}') ? kUnlimited : number();
      if (!take("}") || max < min) refuse("a count that is not {n}, {n,} or {n,m}");
    } else {
      return of;
    }
    take("?");
    if (next_is('*') || next_is('+') || next_is('?') || next_is('{')) refuse("a count of a count");
    Tree out{Tree::kCounted};
    out.parts.push_back(std::move(of));
    out.min = min;
    out.max = max;
    return out;
  }

  uint32_t number() {
    uint32_t value = 0;
    const size_t begin = at_;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      value = value * 10 + uint32_t(text_[at_] - '0');
      if (value > kMaxCount) refuse(str("a count above ", kMaxCount));
    }
    if (at_ == begin) refuse("a count without a number");
    return value;
  }

  Tree atom(int depth) {
    if (take("(")) return group(depth + 1);
    if (take("[")) return characters(set());
    if (take(".")) return characters(complement_of(kLineEnds));
    if (take("\\")) return characters(escape(false));
    if (next_is('*') || next_is('+') || next_is('?') || next_is('{')) refuse("a count of nothing");
    if (next_is('}') || next_is(']')) refuse("a bracket that is not escaped");
    const uint32_t code = code_point();
    return characters({{code, code}});
  }

  Tree group(int depth) {
    if (take("?") && !take(":")) {
      if (text_.substr(at_).starts_with("<=") || text_.substr(at_).starts_with("<!")) refuse("look-behind");
      if (!take("<")) refuse("a group with flags");
      const size_t end = std::min(text_.find('>', at_), text_.size());
      if (end == at_ || end == text_.size()) refuse("a group whose name does not end");
      at_ = end + 1;  // the name is not used, because back-references are refused
    }
    return group_body(depth);
  }

  Tree group_body(int depth) {
    if (depth > kMaxNesting) refuse(str("a group more than ", kMaxNesting, " levels deep"));
    Tree out = alternatives(depth);
    if (!take(")")) refuse("a group that is not closed");
    return out;
  }

  // Checked before memory is used: each part takes about a hundred bytes here, and a node of the graph later.
  void count(size_t& parts) {
    if (++parts > Graph::kMaxNodes) {
      throw Error(Code::kInvalidArgument,
                  str(name_, ": too large to compile: more than ", Graph::kMaxNodes, " characters or groups"));
    }
  }

  Tree characters(CodePointSet set) {
    count(characters_);
    Tree out{Tree::kCharacters};
    out.characters = normalized(std::move(set));
    return out;
  }

  CodePointSet set() {
    const bool negated = take("^");
    CodePointSet out;
    while (!take("]")) {
      if (at_ >= text_.size()) refuse("a set that is not closed");
      const CodePointSet first = set_member();
      const bool is_range = next_is('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']';
      if (!is_range) {
        out.insert(out.end(), first.begin(), first.end());
        continue;
      }
      ++at_;
      const CodePointSet last = set_member();
      const auto is_one = [](const CodePointSet& s) { return s.size() == 1 && s[0].first == s[0].last; };
      if (!is_one(first) || !is_one(last) || last[0].first < first[0].first) refuse("a range that has no ends");
      out.push_back({first[0].first, last[0].first});
    }
    out = normalized(std::move(out));
    return negated ? complement_of(out) : out;
  }

  CodePointSet set_member() {
    if (take("\\")) return escape(true);
    const uint32_t code = code_point();
    return {{code, code}};
  }

  uint32_t code_point() {
    const Utf8 next = utf8_begin(text_.substr(at_));
    if (next.kind != Utf8::kWhole) refuse("text that is not UTF-8");
    const uint8_t lead = uint8_t(text_[at_]);
    uint32_t code = next.length == 1 ? lead : lead & (0x7Fu >> next.length);
    for (size_t i = 1; i < next.length; ++i) code = code << 6 | (uint8_t(text_[at_ + i]) & 0x3Fu);
    at_ += next.length;
    return code;
  }

  CodePointSet escape(bool in_set) {
    if (at_ >= text_.size()) refuse("a backslash at the end");
    const char c = text_[at_++];
    const auto one = [](uint32_t code) { return CodePointSet{{code, code}}; };
    switch (c) {
      case 'd':
        return kDigit;
      case 'D':
        return complement_of(kDigit);
      case 'w':
        return kWord;
      case 'W':
        return complement_of(kWord);
      case 's':
        return kSpace;
      case 'S':
        return complement_of(kSpace);
      case 't':
        return one('\t');
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case 'x':
        return one(hex(2));
      case 'u':
        return one(unicode());
      case 'c':
        if (at_ < text_.size() &&
            ((text_[at_] >= 'a' && text_[at_] <= 'z') || (text_[at_] >= 'A' && text_[at_] <= 'Z'))) {
          return one(uint32_t(text_[at_++]) & 31);
        }
        break;
      case '0':
        if (!(at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9')) return one(0);
        break;
      case 'b':
        if (in_set) return one('\b');
        break;
      default:
        if (std::string_view("^$\\.*+?()[]{}|/-").find(c) != std::string_view::npos) return one(uint8_t(c));
        // Without the `u` flag other characters match themselves. Characters with a meaning elsewhere are refused.
        if (uint8_t(c) < 0x80 && !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))) {
          return one(uint8_t(c));
        }
    }
    --at_;
    refuse(str("the escape \"\\", c, "\""));
  }

  uint32_t unicode() {
    if (take("{")) {
      uint32_t code = 0;
      while (at_ < text_.size() && !next_is('}') && code <= 0x10FFFF) code = code * 16 + hex(1);
      if (!take("}") || code > 0x10FFFF) refuse("a code point that there is not");
      return code;
    }
    const uint32_t unit = hex(4);
    if (unit < 0xD800 || unit > 0xDFFF) return unit;
    if (unit <= 0xDBFF && take("\\u")) {
      const uint32_t low = hex(4);
      if (low >= 0xDC00 && low <= 0xDFFF) return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }
    refuse("half of a surrogate pair");
  }

  uint32_t hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : ' ';
      if (c >= '0' && c <= '9') {
        value = value * 16 + uint32_t(c - '0');
      } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
        value = value * 16 + uint32_t((c | 0x20) - 'a' + 10);
      } else {
        refuse("an escape without its hexadecimal digits");
      }
    }
    return value;
  }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
  size_t characters_ = 0, sequences_ = 0;
};

}  // namespace

RegexTree parse_regex(std::string_view pattern, const std::string& name) { return Parser(pattern, name).whole(); }

void refuse_regex(const std::string& name, std::string_view pattern, size_t at, const std::string& what) {
  throw Error(Code::kInvalidArgument,
              str(name, ": ", what, " at byte ", at, " of ", quote(pattern), " is not supported"));
}

}  // namespace oss::grammar
