// A file's bytes as read-only memory that outlives what others do to the file.
//
// Whoever shortens a file takes pages away from those who have mapped it, and touching one of them is a bus error,
// which ends a process. Here zeros take the place of what has gone, and whoever has computed with them asks afterwards.
#pragma once
#include <cstddef>
#include <string>

namespace oss {

class Mapping {
 public:
  // The first `bytes` of an open file, which may be closed then; `path` is for messages. Throws kOutOfMemory when the
  // address space is full.
  Mapping(std::string path, int file, size_t bytes);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const std::byte* data() const { return data_; }  // page-aligned; null when there are no bytes
  size_t size() const { return bytes_; }

  // Throws kModelFormat when any page had gone by the time it was touched. Cheap; any thread.
  void check() const;

  struct Range;  // of addresses, as the signal handler knows it

 private:
  std::string path_;
  size_t bytes_;
  const std::byte* data_ = nullptr;
  Range* range_ = nullptr;
};

}  // namespace oss
