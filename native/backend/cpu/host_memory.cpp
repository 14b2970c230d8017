#include "native/backend/cpu/host_memory.h"

#include <sys/mman.h>

#include <cerrno>

#include "native/base/refused.h"

namespace oss {

Buffer map_memory(size_t bytes, const char* what) {
  if (bytes == 0) return {};
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) throw refused_memory(bytes, what, errno);
  return Buffer(data, bytes, [](void* begin, size_t size) { munmap(begin, size); });
}

void* Scratch::reserve_bytes(size_t bytes, const char* what) {
  if (bytes > buffer_.bytes()) {
    buffer_ = Buffer();  // first free the old buffer: both together may be too much
    buffer_ = map_memory(bytes, what);
  }
  return buffer_.as<void>();
}

}  // namespace oss
