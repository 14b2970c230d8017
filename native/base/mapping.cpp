#include "native/base/mapping.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <utility>

#include "native/base/error.h"
#include "native/base/refused.h"
#include "native/base/str.h"

namespace oss {

// Never freed, only reused, because the signal handler may be looking at any of them.
struct Mapping::Range {
  std::atomic<uintptr_t> begin{0}, end{0};  // both 0: free
  std::atomic<bool> gone{false};
  Range* next = nullptr;
};

namespace {

std::atomic<Mapping::Range*> ranges{nullptr};
std::mutex taking;
struct sigaction others_action;

static_assert(std::atomic<uintptr_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

// Replaces everything from the missing page to the end, since all bytes past the file's end are missing. POSIX does not
// list mmap as safe in a signal handler, but on our systems it is a plain system call.
bool replace_with_zeros(uintptr_t at) {
  for (Mapping::Range* range = ranges.load(); range != nullptr; range = range->next) {
    const uintptr_t begin = range->begin.load(), end = range->end.load();
    if (at < begin || at >= end) continue;
    const uintptr_t page = at & ~(uintptr_t(::sysconf(_SC_PAGESIZE)) - 1);
    if (::mmap(reinterpret_cast<void*>(page), end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
        MAP_FAILED)
      return false;
    range->gone.store(true);
    return true;
  }
  return false;
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const bool mended = replace_with_zeros(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = error;
  if (mended) return;
  if ((others_action.sa_flags & SA_SIGINFO) != 0) return others_action.sa_sigaction(signal, info, context);
  if (others_action.sa_handler != SIG_DFL && others_action.sa_handler != SIG_IGN)
    return others_action.sa_handler(signal);
  ::sigaction(SIGBUS, &others_action, nullptr);  // the access repeats, and the other handler gets the signal
}

void handle_bus_errors() {
  static const bool handled = [] {
    struct sigaction ours{};
    ours.sa_sigaction = on_bus_error;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    return ::sigaction(SIGBUS, &ours, &others_action) == 0;
  }();
  static_cast<void>(handled);
}

Mapping::Range* take_range(const void* data, size_t bytes) {
  const std::lock_guard lock(taking);
  Mapping::Range* range = ranges.load();
  while (range != nullptr && range->end.load() != 0) range = range->next;
  if (range == nullptr) {
    range = new Mapping::Range;
    range->next = ranges.load();
    ranges.store(range);
  }
  range->gone = false;
  range->begin = reinterpret_cast<uintptr_t>(data);
  range->end = reinterpret_cast<uintptr_t>(data) + bytes;
  return range;
}

void give_range_back(Mapping::Range* range) {
  const std::lock_guard lock(taking);
  range->begin = 0;
  range->end = 0;
}

}  // namespace

Mapping::Mapping(std::string path, int file, size_t bytes) : path_(std::move(path)), bytes_(bytes) {
  if (bytes == 0) return;  // mmap refuses an empty range
  void* data = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) throw refused_file("map", path_, errno);
  data_ = static_cast<const std::byte*>(data);
  handle_bus_errors();
  range_ = take_range(data, bytes);
}

Mapping::~Mapping() {
  if (data_ == nullptr) return;
  give_range_back(range_);
  ::munmap(const_cast<std::byte*>(data_), bytes_);
}

void Mapping::check() const {
  if (range_ == nullptr || !range_->gone.load(std::memory_order_relaxed)) return;
  throw Error(
      Code::kModelFormat,
      str("pages of ", path_, " have gone: it was shortened, or could not be read, while it was in use; it had ",
          bytes_, " bytes when it was opened"));
}

}  // namespace oss
