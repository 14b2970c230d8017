// Failures of file reads during its lifetime; the test executable replaces pread.
#pragma once
#include <cstddef>
#include <cstdint>

namespace oss::test {

class FaultyReads {
 public:
  struct Faults {
    size_t most_bytes = SIZE_MAX;    // of one call
    bool interrupted = false;        // every other call
    uint64_t fails_at = UINT64_MAX;  // calls from this offset of any file on fail
    int error = 0;                   // errno of failed calls
  };
  explicit FaultyReads(const Faults& faults);
  ~FaultyReads();
  FaultyReads(const FaultyReads&) = delete;
  FaultyReads& operator=(const FaultyReads&) = delete;

  size_t calls() const;
};

}  // namespace oss::test
