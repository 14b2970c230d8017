// The arguments of experts.metal and many_experts.metal, and what both share.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

// A pair is a token and one of its experts. Up to so many, each is multiplied by itself: about 4 operations per weight
// and pair. A tile of up to 8 pairs of one expert takes about 16 for all of them. These are estimates.
OSS_FN int most_few_pairs(int experts) { return experts > 10 ? 3 * experts : 32; }
OSS_FN bool are_few_pairs(int pairs, int experts) { return pairs <= most_few_pairs(experts); }
// The most tokens whose pairs are few; at least one, so that a step can be cut into such portions.
OSS_FN int most_few_tokens(int top_k, int experts) {
  return top_k < most_few_pairs(experts) ? most_few_pairs(experts) / top_k : 1;
}

OSS_CONSTANT int kFewSimdgroups = 4;  // of a threadgroup
OSS_CONSTANT int kFewUnits = 2;       // outputs of gate_up, or of down, of a simdgroup

struct FewExpertsLaunch {
  int hidden, intermediate, top_k;
  float limit, alpha;
};

// --- many pairs: they are sorted by expert, and each tile of them is multiplied together

OSS_CONSTANT int kSortSimdgroups = 8;

OSS_CONSTANT int kExpertTileThreads = 128;
OSS_CONSTANT int kTileColumns = 64;    // outputs of a threadgroup
OSS_CONSTANT int kLeastTileRows = 16;  // tiles have 16, 32 or 64 pairs

// Pairs [first, first + rows) of the sorted list, all of one expert. Without rows there is no work.
struct ExpertTile {
  int32_t expert, first, rows;
};

struct SortExpertsLaunch {
  int pairs, tile_rows;
};
struct ExpertTilesLaunch {
  int outputs, cols;    // of the matrix
  int pairs_per_input;  // pair p reads row p / pairs_per_input of the inputs
  float limit, alpha;
};
struct CombineExpertsLaunch {
  int hidden, top_k;
};

// The tiles of expert e begin at this index, when `first` pairs have lower experts. Each expert gets enough places:
// floor(a / n) + floor(b / n) + 1 <= floor((a + b) / n) + 1. So no expert needs to know the tiles of others.
OSS_FN int first_expert_tile(int expert, int first, int tile_rows) { return first / tile_rows + expert; }
OSS_FN int most_expert_tiles(int pairs, int experts, int tile_rows) { return pairs / tile_rows + experts; }

OSS_CONSTANT int kCombineThreads = 128;  // four columns each

}  // namespace oss
