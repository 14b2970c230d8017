#include "native/base/file_version.h"

#include <sys/stat.h>

#include <cerrno>

#include "native/base/error.h"
#include "native/base/refused.h"
#include "native/base/str.h"

namespace oss {

FileVersion::FileVersion(int file, const std::string& path) {
  struct stat status{};
  if (::fstat(file, &status) != 0) throw refused_file("examine", path, errno);
  size_ = uint64_t(status.st_size);
#if defined(__APPLE__)
  modified_ = status.st_mtimespec;
#else
  modified_ = status.st_mtim;
#endif
}

void FileVersion::check(int file, const std::string& path) const {
  const FileVersion now(file, path);
  const bool same =
      now.size_ == size_ && now.modified_.tv_sec == modified_.tv_sec && now.modified_.tv_nsec == modified_.tv_nsec;
  if (same) return;
  throw Error(Code::kModelFormat,
              str(path,
                  " has been written to while it was in use (its size or its time is another one): "
                  "load it again when it is complete, and put new versions beside it, not into it"));
}

}  // namespace oss
