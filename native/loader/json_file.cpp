#include "native/loader/json_file.h"

#include <limits>

#include "native/base/mapped_file.h"

namespace oss {
namespace {

constexpr size_t kMaxFileBytes = 100'000'000;  // the limit of a safetensors header; the index of the 120b has 60 KB

}  // namespace

Json read_json_file(const std::string& path) {
  const auto file = MappedFile::open(path);
  if (file->size() > kMaxFileBytes)
    throw Error(Code::kModelFormat, str(path, ": expected at most ", kMaxFileBytes, " bytes, found ", file->size()));
  return parse_json(file->text(), path);
}

JsonReader::JsonReader(std::string file, const Json& json, std::string prefix)
    : file_(std::move(file)), json_(&json), prefix_(std::move(prefix)) {
  if (!json.object()) throw Error(Code::kModelFormat, str(file_, ": expected an object, found ", json.describe()));
}

const Json* JsonReader::find(const char* key) const {
  const Json* value = json_->find(key);
  return value && !value->is_null() ? value : nullptr;
}

const Json& JsonReader::require(const char* key, const char* expected) const {
  const Json* value = json_->find(key);
  if (!value) fail(Code::kModelFormat, key, "expected ", expected, ", found nothing");
  return *value;
}

int64_t JsonReader::integer(const char* key, int64_t highest) const {
  const std::string expected = str("an integer in [1, ", highest, "]");
  const Json& value = require(key, expected.c_str());
  if (!value.integer() || *value.integer() < 1 || *value.integer() > highest)
    fail(Code::kModelFormat, key, "expected ", expected, ", found ", value.describe());
  return *value.integer();
}

int JsonReader::count(const char* key) const { return int(integer(key, int64_t(1) << 24)); }

int64_t JsonReader::tokens(const char* key) const { return integer(key, int64_t(1) << 40); }

double JsonReader::number(const char* key) const {
  const Json& value = require(key, "a number");
  if (!value.number()) fail(Code::kModelFormat, key, "expected a number, found ", value.describe());
  return value.number()->value;
}

double JsonReader::number(const char* key, double fallback) const { return has(key) ? number(key) : fallback; }

bool JsonReader::boolean(const char* key, bool fallback) const {
  const Json* value = find(key);
  if (!value) return fallback;
  if (!value->boolean()) fail(Code::kModelFormat, key, "expected true or false, found ", value->describe());
  return *value->boolean();
}

std::string JsonReader::string(const char* key) const {
  const Json& value = require(key, "a string");
  if (!value.string()) fail(Code::kModelFormat, key, "expected a string, found ", value.describe());
  return *value.string();
}

std::vector<std::string> JsonReader::strings(const char* key) const {
  const Json& value = require(key, "a list of strings");
  if (!value.array()) fail(Code::kModelFormat, key, "expected a list of strings, found ", value.describe());
  std::vector<std::string> out;
  for (const Json& item : *value.array()) {
    if (!item.string()) fail(Code::kModelFormat, key, "expected a list of strings, found ", item.describe(), " in it");
    out.push_back(*item.string());
  }
  return out;
}

std::vector<int32_t> JsonReader::token_ids(const char* key) const {
  std::vector<int32_t> out;
  const auto add = [&](const Json& value) {
    if (!value.integer() || *value.integer() < 0 || *value.integer() > std::numeric_limits<int32_t>::max())
      fail(Code::kModelFormat, key, "expected a token id or a list of them, found ", value.describe());
    out.push_back(int32_t(*value.integer()));
  };
  const Json* value = find(key);
  if (value && value->array()) {
    for (const Json& item : *value->array()) add(item);
  } else if (value) {
    add(*value);
  }
  return out;
}

JsonReader JsonReader::object(const char* key) const {
  const Json& value = require(key, "an object");
  if (!value.object()) fail(Code::kModelFormat, key, "expected an object, found ", value.describe());
  return JsonReader(file_, value, prefix_ + key + ".");
}

}  // namespace oss
