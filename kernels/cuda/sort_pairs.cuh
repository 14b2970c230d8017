// The pairs of tokens and experts in the order of the experts, for experts.cu: the work list of its blocks.
#pragma once
#include "kernels/cuda/experts.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"

namespace oss::cuda {
namespace {

struct WorkItem {
  int32_t expert, first;  // index of its first pair in `pairs`
};
struct Lists {
  WorkItem* items;  // [1 + items]: items[0].first = the number of items
  int32_t* begin;   // [experts + 1] begin of each expert's pairs
  int32_t* pairs;   // by expert, then in ascending order
};

constexpr int kSortThreads = 512, kSortWarps = kSortThreads / kWarp;

__device__ __forceinline__ int sum_of_lanes_up_to_mine(int value) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int other = __shfl_up_sync(kAllLanes, value, offset);
    if (lane >= offset) value += other;
  }
  return value;
}

// A stable counting sort in one block: each list has the order of the pairs, independent of thread timing.
__global__ void __launch_bounds__(kSortThreads) sort_pairs_kernel(int experts, int top_k, const int32_t* num_tokens,
                                                                  const int32_t* index /*[tokens, top_k]*/, Lists to) {
  __shared__ int next[kMaxExperts];                // the next place for a pair of each expert
  __shared__ int places[kSortWarps][kMaxExperts];  // the same for each warp's share of an iteration
  const int pairs = *num_tokens * top_k, warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;

  for (int e = threadIdx.x; e < experts; e += kSortThreads) next[e] = 0;
  __syncthreads();
  for (int p = threadIdx.x; p < pairs; p += kSortThreads) atomicAdd(&next[index[p]], 1);
  __syncthreads();
  if (warp == 0) {
    int pairs_before = 0, items_before = 0;
    for (int e = lane; e - lane < experts; e += kWarp) {
      const int count = e < experts ? next[e] : 0, items = divide_up(count, kExpertTokenTile);
      const int pairs_after = pairs_before + sum_of_lanes_up_to_mine(count);
      const int items_after = items_before + sum_of_lanes_up_to_mine(items);
      const int begin = pairs_after - count;
      if (e < experts) {
        next[e] = to.begin[e] = begin;
        for (int i = 0; i < items; ++i) to.items[1 + items_after - items + i] = {e, begin + i * kExpertTokenTile};
      }
      pairs_before = __shfl_sync(kAllLanes, pairs_after, kWarp - 1);
      items_before = __shfl_sync(kAllLanes, items_after, kWarp - 1);
    }
    if (lane == 0) {
      to.begin[experts] = pairs;
      to.items[0] = {0, items_before};
    }
  }

  for (int round = 0; round < pairs; round += kSortThreads) {
    const int pair = round + threadIdx.x;
    const bool there = pair < pairs;
    const int expert = there ? index[pair] : 0;
    for (int i = threadIdx.x; i < kSortWarps * kMaxExperts; i += kSortThreads) {
      places[i / kMaxExperts][i % kMaxExperts] = 0;
    }
    __syncthreads();
    uint32_t same = __ballot_sync(kAllLanes, there);
#pragma unroll
    for (int bit = 1; bit < kMaxExperts; bit *= 2) {
      const uint32_t with = __ballot_sync(kAllLanes, (expert & bit) != 0);
      same &= (expert & bit) != 0 ? with : ~with;
    }
    const int rank = __popc(same & ((1u << lane) - 1u));
    if (there && rank == 0) places[warp][expert] = __popc(same);
    __syncthreads();
    for (int e = threadIdx.x; e < experts; e += kSortThreads) {
      int place = next[e];
      for (int other = 0; other < kSortWarps; ++other) {
        const int count = places[other][e];
        places[other][e] = place;
        place += count;
      }
      next[e] = place;
    }
    __syncthreads();
    if (there) to.pairs[places[warp][expert] + rank] = pair;
    __syncthreads();
  }
}

Status sort_pairs(const ExpertsArgs& args, const int32_t* num_tokens, const int32_t* index, const Lists& to,
                  Stream stream) {
  return launch(sort_pairs_kernel, {.grid = dim3(1), .block = dim3(kSortThreads), .stream = stream}, args.experts,
                args.top_k, num_tokens, index, to);
}

}  // namespace
}  // namespace oss::cuda
