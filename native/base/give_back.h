// Memory that was freed goes back to the system.
#pragma once
#if defined(__linux__)
#include <malloc.h>
#endif

namespace oss {

// After many small pieces or a few large ones: glibc keeps for the process what they took, in each thread's arena. 50
// MB after large grammars, 30 MB for each thread that encoded a text of as much. Milliseconds.
inline void give_back_memory() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

}  // namespace oss
