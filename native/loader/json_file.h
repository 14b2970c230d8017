// Reads the JSON files of a checkpoint, key by key.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss {

Json read_json_file(const std::string& path);

// The members of one JSON object. Every error names file and key, the expected and the found value. A member that is
// null counts as absent, since Python writes None as null.
class JsonReader {
 public:
  // `prefix` names the object inside its file: "rope_scaling." or empty.
  JsonReader(std::string file, const Json& json, std::string prefix = "");

  const std::string& file() const { return file_; }
  bool has(const char* key) const { return find(key) != nullptr; }

  // Getters without a fallback throw kModelFormat when the key is absent; all of them when it has another type.
  int count(
      const char* key) const;  // an integer in [1, 2^24]: above every dimension of a model, so products fit 64 bits
  int64_t tokens(const char* key) const;  // an integer in [1, 2^40]
  double number(const char* key) const;
  double number(const char* key, double fallback) const;
  bool boolean(const char* key, bool fallback) const;
  std::string string(const char* key) const;
  std::vector<std::string> strings(const char* key) const;
  std::vector<int32_t> token_ids(const char* key) const;  // one integer, or a list of them; empty when absent
  JsonReader object(const char* key) const;

  template <typename... Parts>
  [[noreturn]] void fail(Code code, const char* key, const Parts&... parts) const {
    throw Error(code, str(file_, ": ", prefix_, key, ": ", parts...));
  }

 private:
  const Json* find(const char* key) const;
  const Json& require(const char* key, const char* expected) const;
  int64_t integer(const char* key, int64_t highest) const;

  std::string file_;
  const Json* json_;
  std::string prefix_;
};

}  // namespace oss
