#include "test/native/faulty_reads.h"

#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

namespace {

std::atomic<const oss::test::FaultyReads::Faults*> present = nullptr;
std::atomic<size_t> calls = 0;

}  // namespace

// The system's function under another name: a static executable has no next pread to look up.
static ssize_t read_at(int file, void* to, size_t bytes, off_t offset) {
  const iovec whole = {.iov_base = to, .iov_len = bytes};
  return preadv(file, &whole, 1, offset);
}

extern "C" ssize_t pread(int file, void* to, size_t bytes, off_t offset) {
  const oss::test::FaultyReads::Faults* faults = present;
  if (faults == nullptr) return read_at(file, to, bytes, offset);
  if (calls++ % 2 == 1 && faults->interrupted) {
    errno = EINTR;
    return -1;
  }
  if (uint64_t(offset) >= faults->fails_at) {
    errno = faults->error;
    return -1;
  }
  return read_at(file, to, std::min(bytes, faults->most_bytes), offset);
}

namespace oss::test {

FaultyReads::FaultyReads(const Faults& faults) {
  ::calls = 0;
  present = new Faults(faults);
}

FaultyReads::~FaultyReads() { delete present.exchange(nullptr); }

size_t FaultyReads::calls() const { return ::calls; }

}  // namespace oss::test
