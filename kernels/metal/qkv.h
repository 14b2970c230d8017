// The arguments of qkv.metal, for host and device.
#pragma once
#include "kernels/common/args.h"
#include "kernels/metal/dense.h"

namespace oss {

OSS_CONSTANT int kHalfHead = kHeadDim / 2;

struct QkvLaunch {
  int tokens, hidden, heads, kv_heads;
  int max_pages;
  int fp8;         // 1: elements of the cache are e4m3, 0: bf16
  int first_head;  // of the dispatch: matrices of another kind have a dispatch of their own
};

}  // namespace oss
