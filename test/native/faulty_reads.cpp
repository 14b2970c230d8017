#include "test/native/faulty_reads.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

namespace {

std::atomic<const oss::test::FaultyReads::Faults*> present = nullptr;
std::atomic<size_t> calls = 0;

}  // namespace

extern "C" ssize_t pread(int file, void* to, size_t bytes, off_t offset) {
  using Pread = ssize_t (*)(int, void*, size_t, off_t);
  static const auto system = reinterpret_cast<Pread>(dlsym(RTLD_NEXT, "pread"));
  const oss::test::FaultyReads::Faults* faults = present;
  if (faults == nullptr) return system(file, to, bytes, offset);
  if (calls++ % 2 == 1 && faults->interrupted) {
    errno = EINTR;
    return -1;
  }
  if (uint64_t(offset) >= faults->fails_at) {
    errno = faults->error;
    return -1;
  }
  return system(file, to, std::min(bytes, faults->most_bytes), offset);
}

namespace oss::test {

FaultyReads::FaultyReads(const Faults& faults) {
  ::calls = 0;
  present = new Faults(faults);
}

FaultyReads::~FaultyReads() { delete present.exchange(nullptr); }

size_t FaultyReads::calls() const { return ::calls; }

}  // namespace oss::test
