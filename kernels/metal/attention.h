// The arguments of attention.metal, for host and device, and the cut of a token's keys into parts.
#pragma once
#include "kernels/common/args.h"
#include "kernels/metal/step.h"

namespace oss {

OSS_CONSTANT int kAttentionThreads = 256;
OSS_CONSTANT int kAttentionHeads = 8;              // query heads of one kv head that share a pass over single keys
OSS_CONSTANT int kAttentionRows = 128;             // rows of queries (tokens times heads) of a threadgroup for tiles
OSS_CONSTANT int kMaxAttentionGroup = 16;          // the most query heads of one kv head
OSS_CONSTANT int kMaxSplits = 32;                  // the most parts of the keys that one token sees
OSS_CONSTANT int kMinSplitPages = 4;               // 256 keys
OSS_CONSTANT int kAttentionPart = kHeadDim + 2;    // floats of a part: Σ p·v, the largest score, Σ p
OSS_CONSTANT float kLog2E = 1.44269504088896341f;  // scores are in units of ln 2

struct AttentionLaunch {
  int heads, kv_heads;
  int window, max_pages;
  int tiles;
  int splits;    // of the grid; 1: the results are complete, and parts are not stored
  float factor;  // scale · log2(e)
};

OSS_FN constexpr int first_visible_key(int position, int window) {
  return window > 0 && position >= window ? position - window + 1 : 0;
}

// The pages that a token at `position` sees, and the pages of one split. A function of the position alone, so that sums
// have the same order in every batch.
struct VisiblePages {
  int first, count;  // pages
  int split_pages;
  int splits;
};
OSS_FN constexpr VisiblePages visible_pages(int position, int window) {
  const int first = first_visible_key(position, window) / kPageTokens, count = position / kPageTokens - first + 1;
  const int even = (count + kMaxSplits - 1) / kMaxSplits;
  const int split_pages = even > kMinSplitPages ? even : kMinSplitPages;
  return {first, count, split_pages, (count + split_pages - 1) / split_pages};
}

// The most splits of any token that sees at most so many keys without the window. (They do not only grow with the
// position: 129 pages have fewer splits than 128.)
OSS_FN constexpr int most_splits(int keys, int window) {
  const int pages = (keys + kPageTokens - 1) / kPageTokens;
  // A window that begins with a page's last key touches the most pages.
  const int of_window = window > 0 ? (window + kPageTokens - 2) / kPageTokens + 1 : pages;
  const int most = of_window < pages ? of_window : pages;
  const int splits = (most + kMinSplitPages - 1) / kMinSplitPages;
  return splits < kMaxSplits ? splits : kMaxSplits;
}

}  // namespace oss
