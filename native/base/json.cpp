#include "native/base/json.h"

#include <algorithm>
#include <charconv>
#include <locale>
#include <sstream>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {
namespace {

constexpr char kHex[] = "0123456789abcdef";

// Length of the well-formed UTF-8 character at the start of `text`, 0 when there is none. The bounds of the second byte
// exclude overlong forms, surrogates and everything past U+10FFFF (Unicode 15, table 3-7).
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : 0; };
  const auto continues = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint8_t first = byte(0), second = byte(1);
  if (text.empty()) return 0;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const uint8_t low = first == 0xE0 ? 0xA0 : 0x80, high = first == 0xED ? 0x9F : 0xBF;
    return second >= low && second <= high && continues(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const uint8_t low = first == 0xF0 ? 0x90 : 0x80, high = first == 0xF4 ? 0x8F : 0xBF;
    return second >= low && second <= high && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

void append_utf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += char(code);
  } else if (code < 0x800) {
    out += {char(0xC0 | code >> 6), char(0x80 | (code & 0x3F))};
  } else if (code < 0x10000) {
    out += {char(0xE0 | code >> 12), char(0x80 | (code >> 6 & 0x3F)), char(0x80 | (code & 0x3F))};
  } else {
    out += {char(0xF0 | code >> 18), char(0x80 | (code >> 12 & 0x3F)), char(0x80 | (code >> 6 & 0x3F)),
            char(0x80 | (code & 0x3F))};
  }
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  Json document() {
    Json value = parse_value(0);
    skip_space();
    if (at_ < text_.size()) fail("expected the end of the text, found ", here());
    return value;
  }

 private:
  template <typename... Parts>
  [[noreturn]] void fail_at(size_t at, const Parts&... parts) const {
    throw Error(Code::kModelFormat, str(source_, ": byte ", at, ": ", parts...));
  }
  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    fail_at(at_, parts...);
  }

  std::string here() const {
    if (at_ >= text_.size()) return "the end of the text";
    const uint8_t byte = uint8_t(text_[at_]);
    if (byte >= 0x20 && byte < 0x7F) return str('\'', text_[at_], '\'');
    return str("byte 0x", kHex[byte >> 4], kHex[byte & 15]);
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char wanted) {
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  void skip_space() {
    while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') ++at_;
  }

  Json parse_value(int depth) {
    skip_space();
    if (depth > Json::kMaxDepth) fail("more than ", Json::kMaxDepth, " levels of nesting");
    if (++values_ > Json::kMaxValues) fail("more than ", Json::kMaxValues, " values");
    switch (peek()) {
      case '{':
        return Json(parse_object(depth));
      case '[':
        return Json(parse_array(depth));
      case '"':
        return Json(parse_string());
      case 't':
        return parse_word("true", Json(true));
      case 'f':
        return parse_word("false", Json(false));
      case 'n':
        return parse_word("null", Json(nullptr));
      default:
        return Json(parse_number());
    }
  }

  Json parse_word(std::string_view word, Json value) {
    if (text_.substr(at_, word.size()) != word) fail("expected ", word);
    at_ += word.size();
    return value;
  }

  Json::Object parse_object(int depth) {
    Json::Object object;
    std::vector<size_t> key_offsets;
    ++at_;
    skip_space();
    if (!take('}')) {
      do {
        skip_space();
        if (peek() != '"') fail("expected a key in quotes, found ", here());
        key_offsets.push_back(at_);
        std::string key = parse_string();
        skip_space();
        if (!take(':')) fail("expected ':' after the key ", quote(key), ", found ", here());
        object.emplace_back(std::move(key), parse_value(depth + 1));
        skip_space();
      } while (take(','));
      if (!take('}')) fail("expected ',' or '}', found ", here());
    }
    refuse_duplicates(object, key_offsets);
    return object;
  }

  void refuse_duplicates(const Json::Object& object, const std::vector<size_t>& key_offsets) const {
    std::vector<size_t> order(object.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    const auto key = [&](size_t i) -> const std::string& { return object[i].first; };
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return key(a) != key(b) ? key(a) < key(b) : a < b; });
    const auto twice =
        std::adjacent_find(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) == key(b); });
    if (twice != order.end())
      fail_at(key_offsets[twice[1]], "the key ", quote(key(twice[1])), " appears twice, first at byte ",
              key_offsets[twice[0]]);
  }

  Json::Array parse_array(int depth) {
    Json::Array array;
    ++at_;
    skip_space();
    if (take(']')) return array;
    do {
      array.push_back(parse_value(depth + 1));
      skip_space();
    } while (take(','));
    if (!take(']')) fail("expected ',' or ']', found ", here());
    return array;
  }

  std::string parse_string() {
    std::string out;
    ++at_;
    while (!take('"')) {
      const size_t length = utf8_length(text_.substr(at_));
      if (at_ >= text_.size()) fail("a string without its closing quote");
      if (length == 0) fail("a string with bytes that are not UTF-8, ", here());
      if (uint8_t(peek()) < 0x20) fail("a control character inside a string, ", here());
      if (peek() == '\\') {
        parse_escape(out);
      } else {
        out.append(text_, at_, length);
        at_ += length;
      }
    }
    return out;
  }

  void parse_escape(std::string& out) {
    const size_t start = at_++;
    constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    const size_t letter = at_ < text_.size() ? kLetters.find(text_[at_]) : std::string_view::npos;
    if (letter != std::string_view::npos) {
      out += kMeanings[letter];
      ++at_;
      return;
    }
    if (!take('u')) fail("an unknown escape, \\ followed by ", here());
    uint32_t code = parse_hex4();
    if (code >= 0xD800 && code <= 0xDBFF) {
      const uint32_t low = take('\\') && take('u') ? parse_hex4() : 0;
      if (low < 0xDC00 || low > 0xDFFF) fail_at(start, "a high surrogate without its low surrogate");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code <= 0xDFFF) {
      fail_at(start, "a low surrogate without its high surrogate");
    }
    append_utf8(out, code);
  }

  uint32_t parse_hex4() {
    uint32_t code = 0;
    for (int digit = 0; digit < 4; ++digit, ++at_) {
      const char c = peek();
      if (c >= '0' && c <= '9') {
        code = code * 16 + uint32_t(c - '0');
      } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
        code = code * 16 + uint32_t((c | 0x20) - 'a' + 10);
      } else {
        fail("expected four hexadecimal digits after \\u, found ", here());
      }
    }
    return code;
  }

  void parse_digits() {
    if (peek() < '0' || peek() > '9') fail("expected a digit, found ", here());
    while (peek() >= '0' && peek() <= '9') ++at_;
  }

  Json::Number parse_number() {
    const size_t start = at_;
    const bool negative = take('-');
    if (!negative && (peek() < '0' || peek() > '9')) fail("expected a value, found ", here());
    if (!take('0')) parse_digits();  // nothing follows a leading zero: 012 is not a number
    const size_t integer_end = at_;
    if (take('.')) parse_digits();
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      parse_digits();
    }
    Json::Number number;
    if (at_ == integer_end) {
      int64_t integer = 0;
      if (std::from_chars(text_.data() + start, text_.data() + at_, integer).ec == std::errc()) {
        number.integer = integer;
        number.value = double(integer);
        return number;
      }
    }
    // A stream with the classic locale: strtod uses the locale of the process, and not every libc++ has from_chars for
    // double.
    number.text = text_.substr(start, at_ - start);
    std::istringstream digits(number.text);
    digits.exceptions(std::ios::badbit);  // without memory it would report that this is not a number
    digits.imbue(std::locale::classic());
    if (!(digits >> number.value)) fail_at(start, "a number beyond the range of double");
    return number;
  }

  const std::string_view text_;
  const std::string& source_;
  size_t at_ = 0;
  size_t values_ = 0;
};

}  // namespace

Decimal Json::Number::decimal() const {
  if (integer) return Decimal(*integer);
  return text.empty() ? Decimal::of(value) : Decimal::of(text);
}

const Json* Json::find(std::string_view key) const {
  if (!object()) return nullptr;
  for (const auto& [name, value] : *object())
    if (name == key) return &value;
  return nullptr;
}

std::string Json::describe() const {
  if (is_null()) return "null";
  if (boolean()) return *boolean() ? "true (boolean)" : "false (boolean)";
  if (integer()) return str(*integer(), " (integer)");
  if (number()) return str(number()->value, " (number)");
  if (string()) return quote(*string()) + " (string)";
  if (array()) return str("a list of ", array()->size());
  return str("an object of ", object()->size());
}

Json parse_json(std::string_view text, const std::string& source) { return Parser(text, source).document(); }

std::string quote(std::string_view text) {
  constexpr size_t kLongest = 80;
  std::string out = "\"";
  for (size_t count = 0; !text.empty(); ++count) {
    if (count == kLongest) return out + "…\"";
    const size_t length = utf8_length(text);
    const uint8_t byte = uint8_t(text[0]);
    if (length == 0 || byte < 0x20 || byte == 0x7F) {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      if (byte == '"' || byte == '\\') out += '\\';
      out.append(text, 0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out + '"';
}

}  // namespace oss
