// A strict JSON reader (RFC 8259) for files that strangers made: config.json, safetensors headers, shard indexes.
//
// Own code rather than a package for two reasons: a key that appears twice must be refused (a second tensor of the same
// name is an attack or a broken writer, and common parsers keep the last one silently), and the build needs g++ and npm
// alone. It refuses what RFC 8259 leaves to the reader: duplicate keys, unpaired surrogates, numbers beyond double,
// more than kMaxDepth levels and more than kMaxValues values.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "native/base/decimal.h"

namespace oss {

class Json {
 public:
  static constexpr int kMaxDepth = 64;            // the files we read use 4 levels; bounds the recursion
  static constexpr size_t kMaxValues = 1u << 20;  // the 120b header has 6,200; bounds memory to some 100 MB

  struct Number {
    double value = 0;
    std::optional<int64_t> integer;  // present when written without fraction and exponent, and it fits
    std::string text{};              // as it is written, where `integer` is absent
    Decimal decimal() const;         // exactly what is written
  };
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;  // in the order of the file
  using Value = std::variant<std::nullptr_t, bool, Number, std::string, Array, Object>;

  explicit Json(Value value) : value_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  // Each returns null when the value is of another type.
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const Number* number() const { return std::get_if<Number>(&value_); }
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  const Object* object() const { return std::get_if<Object>(&value_); }

  std::optional<int64_t> integer() const { return number() ? number()->integer : std::nullopt; }
  const Json* find(std::string_view key) const;  // a member of this object; null when absent or not an object
  std::string describe() const;                  // for messages: "silu" (string), 7.5 (number), a list of 3, ...

 private:
  Value value_;
};

// Throws Error kModelFormat "SOURCE: byte 17: what was expected and found". `source` is a path, or a path and a part.
Json parse_json(std::string_view text, const std::string& source);

// In quotes, control characters escaped, cut after 80 characters: text from a file, made fit for a message.
std::string quote(std::string_view text);

}  // namespace oss
