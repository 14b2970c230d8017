// Tells whether a file that stays open has been written to: by its size and its time, which takes one or two microseconds.
// Another file that gets its name is no change: the one that was opened stays what it is.
#pragma once
#include <time.h>

#include <cstdint>
#include <string>

namespace oss {

class FileVersion {
 public:
  // What it is now. Throws as refused_file() when the system cannot tell.
  FileVersion(int file, const std::string& path);

  // Throws kModelFormat when it is another one now.
  void check(int file, const std::string& path) const;

 private:
  uint64_t size_;
  timespec modified_;
};

}  // namespace oss
