#include "native/loader/gguf_metadata.h"

#include <cstring>
#include <limits>
#include <optional>

#include "native/base/json.h"

namespace oss {
namespace {

template <typename T>
T load(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// None for types that are no integers, and for integers past 63 bits.
std::optional<int64_t> integer_of(uint32_t type, std::string_view bytes) {
  switch (type) {
    case 0:
    case kGgufBool:
      return load<uint8_t>(bytes);
    case 1:
      return load<int8_t>(bytes);
    case 2:
      return load<uint16_t>(bytes);
    case 3:
      return load<int16_t>(bytes);
    case 4:
      return load<uint32_t>(bytes);
    case 5:
      return load<int32_t>(bytes);
    case 11:
      return load<int64_t>(bytes);
    case 10: {
      const uint64_t value = load<uint64_t>(bytes);
      if (value > uint64_t(std::numeric_limits<int64_t>::max())) return {};
      return int64_t(value);
    }
    default:
      return {};
  }
}

// The string at the front of the bytes, which it leaves. The file was checked when it was opened. A file that was cut
// since then reads as zeros, so lengths are checked again.
std::string_view next_string(std::string_view& bytes) {
  if (bytes.size() < sizeof(uint64_t)) return {};
  const uint64_t length = load<uint64_t>(bytes);
  bytes.remove_prefix(sizeof length);
  const std::string_view text = bytes.substr(0, length);
  bytes.remove_prefix(text.size());
  return text;
}

std::string describe(const GgufValue& value) {
  constexpr const char* kNames[] = {"u8",   "i8",     "u16",  "i16", "u32", "i32", "f32",
                                    "bool", "string", "list", "u64", "i64", "f64"};
  if (value.is_list) return str("a list of ", value.count);
  std::string_view bytes = value.bytes;
  if (value.type == kGgufString) return str(quote(next_string(bytes).substr(0, 80)), " (string)");
  if (const auto integer = integer_of(value.type, bytes)) return str(*integer, " (", kNames[value.type], ")");
  if (value.type == 6) return str(load<float>(bytes), " (f32)");
  if (value.type == 12) return str(load<double>(bytes), " (f64)");
  return str(load<uint64_t>(bytes), " (u64)");
}

}  // namespace

const GgufValue& GgufMetadata::require(const std::string& key, const char* expected) const {
  const auto found = file_.values.find(key);
  if (found == file_.values.end()) fail(Code::kModelFormat, key, "expected ", expected, ", found nothing");
  return found->second;
}

int64_t GgufMetadata::integer(const std::string& key, int64_t least, int64_t most) const {
  if (is_list(key)) fail(Code::kModelFormat, key, "expected an integer, found ", describe(file_.values.at(key)));
  return integers(key, least, most).front();
}

std::vector<int64_t> GgufMetadata::integers(const std::string& key, int64_t least, int64_t most) const {
  const std::string expected = str("an integer in [", least, ", ", most, "]");
  const GgufValue& value = require(key, expected.c_str());
  const uint32_t bytes = gguf_value_bytes(value.type);
  std::vector<int64_t> out;
  for (uint64_t i = 0; i < value.count; ++i) {
    const auto item = bytes > 0 ? integer_of(value.type, value.bytes.substr(i * bytes)) : std::nullopt;
    if (!item || *item < least || *item > most)
      fail(Code::kModelFormat, key, "expected ", expected, ", found ",
           value.is_list && item ? str(*item) : describe(value));
    out.push_back(*item);
  }
  return out;
}

double GgufMetadata::number(const std::string& key) const {
  const GgufValue& value = require(key, "a number");
  if (!value.is_list && value.type == 6) return load<float>(value.bytes);
  if (!value.is_list && value.type == 12) return load<double>(value.bytes);
  if (!value.is_list && gguf_value_bytes(value.type) > 0 && value.type != kGgufBool) {
    if (const auto integer = integer_of(value.type, value.bytes)) return double(*integer);
  }
  fail(Code::kModelFormat, key, "expected a number, found ", describe(value));
}

bool GgufMetadata::boolean(const std::string& key) const {
  const GgufValue& value = require(key, "true or false");
  if (value.is_list || value.type != kGgufBool)
    fail(Code::kModelFormat, key, "expected true or false, found ", describe(value));
  return value.bytes[0] != 0;
}

std::string_view GgufMetadata::string(const std::string& key) const {
  const GgufValue& value = require(key, "a string");
  if (value.is_list || value.type != kGgufString)
    fail(Code::kModelFormat, key, "expected a string, found ", describe(value));
  std::string_view bytes = value.bytes;
  return next_string(bytes);
}

std::vector<std::string_view> GgufMetadata::strings(const std::string& key) const {
  const GgufValue& value = require(key, "a list of strings");
  if (!value.is_list || value.type != kGgufString)
    fail(Code::kModelFormat, key, "expected a list of strings, found ", describe(value));
  std::vector<std::string_view> out;
  out.reserve(value.count);
  std::string_view bytes = value.bytes;
  for (uint64_t i = 0; i < value.count; ++i) out.push_back(next_string(bytes));
  return out;
}

uint64_t GgufMetadata::length(const std::string& key) const {
  const GgufValue& value = require(key, "a list");
  if (!value.is_list) fail(Code::kModelFormat, key, "expected a list, found ", describe(value));
  return value.count;
}

}  // namespace oss
