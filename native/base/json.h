// A strict JSON reader (RFC 8259) for untrusted files: config.json, safetensors headers, shard indexes.
//
// We do not use a package, for two reasons. A key that appears twice must be refused: a second tensor of the same name
// is an attack or a broken writer, and common parsers silently keep the last one. The build must need only g++ and npm.
//
// It refuses what RFC 8259 leaves to the implementation: duplicate keys, unpaired surrogates, numbers beyond double,
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
  static constexpr int kMaxDepth = 64;            // our files use 4 levels; bounds the recursion
  static constexpr size_t kMaxValues = 1u << 20;  // the 120b header has 6,200; bounds memory to about 100 MB

  struct Number {
    double value = 0;
    std::optional<int64_t> integer;  // present when written without fraction and exponent and within range
    std::string text{};              // the original text, where `integer` is absent
    Decimal decimal() const;         // the exact number
  };
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;  // in file order
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

// Returns `text` in quotes for a message: control characters are escaped, and it is cut after 80 characters.
std::string quote(std::string_view text);

}  // namespace oss
