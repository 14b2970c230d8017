// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011): random numbers without state. The 64-bit key is the seed of a
// request; the counter is the index of the token within its completion. So a draw does not depend on the batch or the
// device. lib/generation/sampling.ts has the same function and its known answers.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

struct Philox4 {
  uint32_t x, y, z, w;
};

OSS_FN Philox4 philox4x32_10(Philox4 counter, uint32_t key_lo, uint32_t key_hi) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t even = uint64_t(0xD2511F53u) * counter.x;
    const uint64_t odd = uint64_t(0xCD9E8D57u) * counter.z;
    const Philox4 next = {uint32_t(odd >> 32) ^ counter.y ^ key_lo, uint32_t(odd),
                          uint32_t(even >> 32) ^ counter.w ^ key_hi, uint32_t(even)};
    counter = next;
    key_lo += 0x9E3779B9u;  // the Weyl sequences of the paper: the golden ratio, and √3 − 1
    key_hi += 0xBB67AE85u;
  }
  return counter;
}

}  // namespace oss
