// The metadata of a GGUF file, key by key. Every error names file and key, the expected and the found value.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/loader/gguf.h"

namespace oss {

// The types of values whose items have no fixed size or need a check.
constexpr uint32_t kGgufBool = 7, kGgufString = 8, kGgufList = 9;

// The bytes of a value of this type; 0 for strings, lists and unknown types.
constexpr uint32_t gguf_value_bytes(uint32_t type) {
  constexpr uint32_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < sizeof kBytes / sizeof *kBytes ? kBytes[type] : 0;
}

class GgufMetadata {
 public:
  explicit GgufMetadata(const GgufFile& file) : file_(file) {}

  const std::string& file() const { return file_.path; }
  bool has(const std::string& key) const { return file_.values.contains(key); }
  bool is_list(const std::string& key) const { return has(key) && file_.values.at(key).is_list; }

  // Getters throw kModelFormat when the key is absent or has another type.
  int64_t integer(const std::string& key, int64_t least, int64_t most) const;
  double number(const std::string& key) const;
  bool boolean(const std::string& key) const;
  std::string_view string(const std::string& key) const;
  // A list of integers, of true and false (as 1 and 0), or a single one of them. Checked as integer().
  std::vector<int64_t> integers(const std::string& key, int64_t least, int64_t most) const;
  std::vector<std::string_view> strings(const std::string& key) const;
  uint64_t length(const std::string& key) const;  // of a list

  template <typename... Parts>
  [[noreturn]] void fail(Code code, const std::string& key, const Parts&... parts) const {
    throw Error(code, str(file_.path, ": ", key, ": ", parts...));
  }

 private:
  const GgufValue& require(const std::string& key, const char* expected) const;

  const GgufFile& file_;
};

}  // namespace oss
