// Watches device memory by pages: the pages that a launch writes, and the accesses of the next launch before its wait.
// One launch at a time, on one thread.
#pragma once
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace oss::emu {

constexpr size_t kPageBytes = 4096;

struct Span {
  char* begin;   // of a page
  size_t bytes;  // whole pages
};
using Pages = std::vector<char*>;  // in ascending order

// Runs `body`; returns the pages of `memory` that it writes.
Pages pages_written(const std::vector<Span>& memory, const std::function<void()>& body);

// Runs `body`, which must not write `memory`, may read it only past L1, and must not read `closed` at all. Returns the
// violation, or an empty text.
std::string trespass(const std::vector<Span>& memory, const Pages& closed, const std::function<void()>& body);

// Marks reads of the running thread as reads past L1, from construction to destruction. `again`: the next read in the
// first block must also be marked.
class PastL1 {
 public:
  explicit PastL1(bool again);
  ~PastL1();
  PastL1(const PastL1&) = delete;
  PastL1& operator=(const PastL1&) = delete;

 private:
  const bool again_;
};

}  // namespace oss::emu
