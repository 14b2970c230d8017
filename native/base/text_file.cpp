#include "native/base/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "native/base/refused.h"

namespace oss {

std::optional<std::string> read_text_file(const std::string& path) {
  constexpr size_t kMost = 1 << 20;
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) {
    if (is_file_limit(errno)) throw refused_file("open", path, errno);
    return std::nullopt;
  }
  std::string text;
  char chunk[4096];
  ssize_t count = 0;
  try {
    while (text.size() < kMost) {
      count = ::read(file, chunk, sizeof chunk);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) break;
      text.append(chunk, size_t(count));
    }
  } catch (...) {
    ::close(file);
    throw;
  }
  ::close(file);
  if (count < 0) return std::nullopt;
  return text;
}

}  // namespace oss
