#include "native/base/mapped_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "native/base/error.h"
#include "native/base/refused.h"
#include "native/base/str.h"

namespace oss {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  // Without O_NONBLOCK, opening a named pipe would wait forever for a writer.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) throw refused_file("open", path, errno);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) throw refused_file("examine", path, errno);
  if (S_ISDIR(status.st_mode)) throw Error(Code::kModelFormat, str(path, " is a folder, expected a file"));
  if (!S_ISREG(status.st_mode)) throw Error(Code::kModelFormat, str(path, " is not a regular file"));
  std::shared_ptr<const MappedFile> mapped(new MappedFile(path, file.get(), size_t(status.st_size)));
  file.release();
  return mapped;
}

MappedFile::~MappedFile() { ::close(file_); }

void MappedFile::read(uint64_t offset, size_t bytes, void* to) const {
  for (size_t done = 0; done < bytes;) {
    const ssize_t count = ::pread(file_, static_cast<char*>(to) + done, bytes - done, off_t(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw refused_file("read", path_, errno);
    if (count == 0) {
      throw Error(Code::kModelFormat, str(path_, " ends at byte ", offset + done, "; it had ", size(),
                                          " bytes when it was opened: it must not be changed while it is loaded"));
    }
    done += size_t(count);
  }
}

}  // namespace oss
