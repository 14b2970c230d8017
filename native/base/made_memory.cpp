#include "native/base/made_memory.h"

#include <sys/mman.h>

#include <cerrno>

#include "native/base/refused.h"
#include "native/base/str.h"

namespace oss {

std::byte* MadeMemory::allocate(const HostTensor& tensor) {
  void* data = mmap(nullptr, tensor.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) throw refused_memory(tensor.bytes, str(tensor.name, " of ", tensor.file), errno);
#ifdef MADV_HUGEPAGE
  madvise(data, tensor.bytes, MADV_HUGEPAGE);  // only a hint, for fewer page faults and table walks
#endif
  blocks_.emplace_back(static_cast<std::byte*>(data), Unmap{tensor.bytes});
  bytes_ += tensor.bytes;
  return blocks_.back().get();
}

void MadeMemory::Unmap::operator()(std::byte* data) const { munmap(data, bytes); }

}  // namespace oss
