// Detects whether an open file has been written to, by its size and its time. A check takes one or two microseconds.
// Another file under the same name is not a change, because the open file stays the same.
#pragma once
#include <time.h>

#include <cstdint>
#include <string>

namespace oss {

class FileVersion {
 public:
  // The current version. Throws as refused_file() when the system cannot report it.
  FileVersion(int file, const std::string& path);

  // Throws kModelFormat when the version has changed.
  void check(int file, const std::string& path) const;

 private:
  uint64_t size_;
  timespec modified_;
};

}  // namespace oss
