// Watches device memory by pages: which of them a launch writes, and what the next one does before it waits. One launch
// at a time, on one thread.
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
using Pages = std::vector<char*>;  // in the order of their addresses

// Runs `body`; the pages of `memory` that it writes.
Pages pages_written(const std::vector<Span>& memory, const std::function<void()>& body);

// Runs `body`, which may write nothing in `memory`, read it past L1 only, and not even read `closed`; what it did all the
// same, or nothing.
std::string trespass(const std::vector<Span>& memory, const Pages& closed, const std::function<void()>& body);

// While it lives, what the running thread reads is read past L1. `again`: the next read in the first block must say so, too.
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
