// A file's bytes as read-only memory that survives later changes to the file.
//
// When a file is shortened, its mapped pages disappear. Access to such a page is a bus error, which ends the process.
// Here zeros replace the missing pages, and the code that used them calls check() afterwards.
#pragma once
#include <cstddef>
#include <string>

namespace oss {

class Mapping {
 public:
  // Maps the first `bytes` of an open file, which may be closed afterwards; `path` is for messages. Throws kOutOfMemory
  // when the address space is full.
  Mapping(std::string path, int file, size_t bytes);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const std::byte* data() const { return data_; }  // page-aligned; null when there are no bytes
  size_t size() const { return bytes_; }

  // Throws kModelFormat when a page was missing at its first access. Cheap; any thread.
  void check() const;

  struct Range;  // of addresses, for the signal handler

 private:
  std::string path_;
  size_t bytes_;
  const std::byte* data_ = nullptr;
  Range* range_ = nullptr;
};

}  // namespace oss
