// The memory that this process has from malloc and does not use.
#pragma once

namespace oss {

// Gives it back to the system, where malloc has a way to do so (glibc). It takes milliseconds, in which other threads wait
// that allocate: for after work that took tens of megabytes.
void give_back_free_memory();

}  // namespace oss
