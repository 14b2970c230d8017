// Returns freed memory to the system.
#pragma once
#if defined(__linux__)
#include <malloc.h>
#endif

namespace oss {

// Call it after many small allocations or a few large ones: glibc keeps freed memory in each thread's arena. It kept 50
// MB after large grammars, and 30 MB for each thread that encoded a text of that size. A call takes milliseconds.
inline void give_back_memory() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

}  // namespace oss
