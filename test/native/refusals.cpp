#include "test/native/refusals.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>

namespace {

// Calls of one kind: the range that is refused now, and the number of refused calls.
struct Calls {
  std::atomic<bool> watched{false};
  std::atomic<int64_t> first{0}, last{0}, seen{0}, refused{0};

  bool refuse() {
    if (!watched.load(std::memory_order_acquire)) return false;
    const int64_t at = seen++;
    if (at < first || at >= last) return false;
    ++refused;
    return true;
  }
  void begin(const oss::test::Refused& which) {
    first = which.first;
    last = which.last;
    seen = refused = 0;
    watched.store(true, std::memory_order_release);
  }
  void end() { watched.store(false, std::memory_order_release); }
};

Calls memory, mappings, threads;
thread_local bool is_mine = false;
std::atomic<bool> mine_count{false};

}  // namespace

// Every form that uses this delete. AddressSanitizer has further forms, whose memory must not reach this delete.
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  if (mine_count.load(std::memory_order_relaxed) == is_mine && memory.refuse()) return nullptr;
  return std::malloc(bytes > 0 ? bytes : 1);
}
void* operator new(size_t bytes) {
  void* data = operator new(bytes, std::nothrow);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete(void* data, size_t) noexcept { std::free(data); }
void operator delete(void* data, const std::nothrow_t&) noexcept { std::free(data); }

#if defined(__APPLE__)
// What a program defines comes before the system's libraries, for the program's own calls.
#define REPLACED(name) name
#define REAL(name) (reinterpret_cast<decltype(&name)>(dlsym(RTLD_NEXT, #name)))
#else
#define REPLACED(name) __wrap_##name
#define REAL(name) __real_##name
#endif

extern "C" {
#if !defined(__APPLE__)
void* __real_mmap(void* at, size_t bytes, int protection, int flags, int file, off_t offset);
int __real_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument);
#endif

void* REPLACED(mmap)(void* at, size_t bytes, int protection, int flags, int file, off_t offset) {
  if (!mappings.refuse()) return REAL(mmap)(at, bytes, protection, flags, file, offset);
  errno = ENOMEM;
  return MAP_FAILED;
}

int REPLACED(pthread_create)(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                             void* argument) {
  return threads.refuse() ? EAGAIN : REAL(pthread_create)(thread, attributes, body, argument);
}
}

namespace oss::test {

RefusedMemory::RefusedMemory(Whose whose, Refused refused) {
  is_mine = true;
  mine_count = whose == Whose::kMine;
  memory.begin(refused);
}
RefusedMemory::~RefusedMemory() {
  memory.end();
  is_mine = false;
}
int64_t RefusedMemory::refusals() const { return memory.refused; }

RefusedMappings::RefusedMappings(Refused refused) { mappings.begin(refused); }
RefusedMappings::~RefusedMappings() { mappings.end(); }
int64_t RefusedMappings::refusals() const { return mappings.refused; }

RefusedThreads::RefusedThreads(Refused refused) { threads.begin(refused); }
RefusedThreads::~RefusedThreads() { threads.end(); }
int64_t RefusedThreads::refusals() const { return threads.refused; }

}  // namespace oss::test
