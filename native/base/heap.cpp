#include "native/base/heap.h"

#include <stdlib.h>  // which defines __GLIBC__
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace oss {

void give_back_free_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace oss
