#include "test/emu/guard.h"

#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

#include "native/base/str.h"
#include "test/emu/block.h"

namespace oss::emu {
namespace {

// The data of the signal handler while `body` runs. The handler allocates nothing: `written` has room for every page.
struct Watch {
  const std::vector<Span>* memory;
  const Pages* closed = nullptr;  // null: writes are only recorded
  Pages written;
  enum { kNothing, kTouches, kReads, kWrites } trespass = kNothing;  // the first violation
  Index block, thread;                                               // its thread
  char* page = nullptr;                                              // its page
  bool past_l1 = false;
  char* opened = nullptr;  // the page that the last read past L1 opened
};
Watch* watch = nullptr;
struct sigaction before;

void protect(char* begin, size_t bytes, int how) { mprotect(begin, bytes, how); }

// Opens the touched page, so that the thread can repeat the access.
void touched(int, siginfo_t* info, void*) {
  char* const at = static_cast<char*>(info->si_addr);
  const bool ours = watch != nullptr && std::ranges::any_of(*watch->memory, [at](const Span& span) {
                      return at >= span.begin && at < span.begin + span.bytes;
                    });
  if (!ours) {
    sigaction(SIGSEGV, &before, nullptr);  // the access repeats, and the previous handler gets the signal
    return;
  }
  char* const page = at - reinterpret_cast<uintptr_t>(at) % kPageBytes;
  if (watch->closed == nullptr) {
    watch->written.push_back(page);
    return protect(page, kPageBytes, PROT_READ | PROT_WRITE);
  }
  const bool closed = std::ranges::binary_search(*watch->closed, page);
  if (watch->past_l1 && !closed) {
    watch->opened = page;
    return protect(page, kPageBytes, PROT_READ);
  }
  if (watch->trespass == Watch::kNothing) {
    watch->trespass = closed ? Watch::kTouches : Watch::kReads;
    watch->block = running_block.index;
    watch->thread = current->index;
    watch->page = page;
    return protect(page, kPageBytes, closed ? PROT_READ | PROT_WRITE : PROT_READ);
  }
  if (watch->trespass == Watch::kReads && watch->page == page) watch->trespass = Watch::kWrites;  // the access repeats
  protect(page, kPageBytes, PROT_READ | PROT_WRITE);
}

// The handler has a separate stack, because stacks of emulated threads may be too small for a signal.
void run_watched(Watch& mine, const std::function<void()>& body) {
  constexpr size_t kHandlerStack = 256 << 10;
  stack_t old{};
  sigaltstack(nullptr, &old);
  std::vector<char> memory;
  if ((old.ss_flags & SS_DISABLE) != 0 || old.ss_size < kHandlerStack) {
    memory.resize(kHandlerStack);
    const stack_t own = {.ss_sp = memory.data(), .ss_flags = 0, .ss_size = memory.size()};
    sigaltstack(&own, nullptr);
  }
  struct sigaction action{};
  action.sa_sigaction = touched;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &before);
  watch = &mine;
  for (const Span& span : *mine.memory) protect(span.begin, span.bytes, mine.closed == nullptr ? PROT_READ : PROT_NONE);
  body();
  for (const Span& span : *mine.memory) protect(span.begin, span.bytes, PROT_READ | PROT_WRITE);
  watch = nullptr;
  sigaction(SIGSEGV, &before, nullptr);
  if (!memory.empty()) sigaltstack(&old, nullptr);
}

}  // namespace

Pages pages_written(const std::vector<Span>& memory, const std::function<void()>& body) {
  Watch mine{.memory = &memory, .closed = nullptr, .written = {}, .block = {}, .thread = {}};
  size_t pages = 0;
  for (const Span& span : memory) pages += span.bytes / kPageBytes;
  mine.written.reserve(pages);
  run_watched(mine, body);
  std::ranges::sort(mine.written);
  return std::move(mine.written);
}

std::string trespass(const std::vector<Span>& memory, const Pages& closed, const std::function<void()>& body) {
  Watch mine{.memory = &memory, .closed = &closed, .written = {}, .block = {}, .thread = {}};
  run_watched(mine, body);
  if (mine.trespass == Watch::kNothing) return "";
  const auto name = [](const Index& at) { return str("(", at.x, ", ", at.y, ", ", at.z, ")"); };
  return str(mine.trespass == Watch::kTouches
                 ? "a thread touches what the launch before may still write, before it waits for it"
             : mine.trespass == Watch::kReads
                 ? "a thread reads through L1 before it waits for the launch before: it may find what was there earlier"
                 : "a thread writes to global memory before it waits for the launch before",
             " [block ", name(mine.block), ", thread ", name(mine.thread), "]");
}

PastL1::PastL1(bool again) : again_(again) {
  if (watch != nullptr) watch->past_l1 = true;
}
PastL1::~PastL1() {
  if (watch == nullptr) return;
  watch->past_l1 = false;
  // A signal for every read is slow, and other blocks do the same reads as the first.
  const bool first = running_block.index.x + running_block.index.y + running_block.index.z == 0;
  if (again_ && first && watch->opened != nullptr) protect(watch->opened, kPageBytes, PROT_NONE);
  watch->opened = nullptr;
}

}  // namespace oss::emu
