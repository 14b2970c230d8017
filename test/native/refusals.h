// Calls that the system refuses during the lifetime of one of these. The test executable replaces operator new, mmap
// and pthread_create (see test/CMakeLists.txt).
#pragma once
#include <cstdint>

namespace oss::test {

// Refuses calls [first, last) of its kind, counted from 0.
struct Refused {
  int64_t first = 0, last = INT64_MAX;
};

// Whose allocations count: those of the thread that creates it, or those of all other threads.
enum class Whose { kMine, kOthers };

class RefusedMemory {  // operator new; one at a time
 public:
  RefusedMemory(Whose whose, Refused refused);
  ~RefusedMemory();
  RefusedMemory(const RefusedMemory&) = delete;
  RefusedMemory& operator=(const RefusedMemory&) = delete;
  int64_t refusals() const;
};

class RefusedMappings {  // mmap of our own code, in any thread; one at a time
 public:
  explicit RefusedMappings(Refused refused);
  ~RefusedMappings();
  RefusedMappings(const RefusedMappings&) = delete;
  RefusedMappings& operator=(const RefusedMappings&) = delete;
  int64_t refusals() const;
};

class RefusedThreads {  // pthread_create; one at a time
 public:
  explicit RefusedThreads(Refused refused);
  ~RefusedThreads();
  RefusedThreads(const RefusedThreads&) = delete;
  RefusedThreads& operator=(const RefusedThreads&) = delete;
  int64_t refusals() const;
};

}  // namespace oss::test
