#include "kernels/metal/experts.h"

#include <algorithm>

#include "native/backend/metal/low_rank.h"
#include "native/backend/metal/operations.h"

namespace oss::metal {
namespace {

uint32_t divide_up(int a, int b) { return uint32_t((a + b - 1) / b); }

// What lies in the scratch memory, one after another.
struct Scratch {
  uint16_t* act;      // [pairs, intermediate]
  float* out;         // [pairs, hidden]; this and the rest for many pairs only
  int32_t* pairs;     // [pairs]
  ExpertTile* tiles;  // of the least height, the most tiles
  size_t bytes;

  Scratch(void* at, int pairs_, int experts, int hidden, int intermediate) : bytes(0) {
    const size_t n = size_t(pairs_);
    const auto next = [&]<typename T>(T*& to, size_t count) {
      to = reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(at) + bytes);
      bytes += (count * sizeof(T) + 255) / 256 * 256;
    };
    next(act, n * size_t(intermediate));
    const bool many = !are_few_pairs(pairs_, experts);
    next(out, many ? n * size_t(hidden) : 0);
    next(pairs, many ? n : 0);
    next(tiles, many ? size_t(most_expert_tiles(pairs_, experts, kLeastTileRows)) : 0);
  }
};

// A matrix of all experts: what a kernel reads.
struct Ranges {
  Argument blocks, scales, bias;
  Ranges(const Experts& of, int experts, int rows, int cols)
      : blocks(reads(of.blocks, size_t(experts) * size_t(rows) * size_t(cols) / 2)),
        scales(reads(of.scales, size_t(experts) * size_t(rows) * size_t(cols) / 32)),
        bias(reads(of.bias, size_t(experts) * size_t(rows))) {}
};

// What gate_up reads to add the terms of adapters.
struct Adapters {
  Argument place, terms;
};

void few_experts(Encoder& encoder, const ExpertsArgs& args, const uint16_t* normed, const int32_t* index,
                 const float* weight, const Ranges& gate_up, const Ranges& down, const Adapters* adapters,
                 const Scratch& at, float* x) {
  const int pairs = args.tokens * args.top_k, units = kFewSimdgroups * kFewUnits;
  const size_t values = size_t(args.tokens) * size_t(args.hidden), acts = size_t(pairs) * size_t(args.intermediate);
  const FewExpertsLaunch launch = {.hidden = args.hidden,
                                   .intermediate = args.intermediate,
                                   .top_k = args.top_k,
                                   .limit = args.limit,
                                   .alpha = args.alpha};
  const Groups groups = {uint32_t(pairs), divide_up(args.intermediate, units)};
  const Argument chosen = reads(index, size_t(pairs)), to_act = writes(at.act, acts);
  if (adapters == nullptr) {
    encoder.dispatch(
        "experts_gate_up", groups, 32 * kFewSimdgroups,
        {bytes_of(launch), gate_up.blocks, gate_up.scales, gate_up.bias, chosen, reads(normed, values), to_act});
  } else {
    encoder.dispatch("experts_gate_up_terms", groups, 32 * kFewSimdgroups,
                     {bytes_of(launch), gate_up.blocks, gate_up.scales, gate_up.bias, chosen, reads(normed, values),
                      to_act, adapters->place, adapters->terms});
  }
  encoder.dispatch("experts_down", {uint32_t(args.tokens), divide_up(args.hidden, units)}, 32 * kFewSimdgroups,
                   {bytes_of(launch), down.blocks, down.scales, down.bias, chosen, reads(weight, size_t(pairs)),
                    reads(at.act, acts), updates(x, values)});
}

struct TileKernels {
  int rows;
  const char *gate_up, *gate_up_terms, *down;
};
// Higher tiles read the weights less often, but tiles of experts with few pairs are mostly empty. Simdgroups skip
// the empty half of their part.
TileKernels choose_tiles(int pairs, int experts) {
  if (pairs <= 12 * experts) return {16, "experts_gate_up_16", "experts_gate_up_16_terms", "experts_down_16"};
  if (pairs <= 40 * experts) return {32, "experts_gate_up_32", "experts_gate_up_32_terms", "experts_down_32"};
  return {64, "experts_gate_up_64", "experts_gate_up_64_terms", "experts_down_64"};
}

void many_experts(Encoder& encoder, const ExpertsArgs& args, const uint16_t* normed, const int32_t* index,
                  const float* weight, const Ranges& gate_up, const Ranges& down, const Adapters* adapters,
                  const Scratch& at, float* x) {
  const int pairs = args.tokens * args.top_k;
  const size_t values = size_t(args.tokens) * size_t(args.hidden), acts = size_t(pairs) * size_t(args.intermediate);
  const size_t outs = size_t(pairs) * size_t(args.hidden);
  const TileKernels kernels = choose_tiles(pairs, args.experts);
  const size_t tiles = size_t(most_expert_tiles(pairs, args.experts, kernels.rows));

  const SortExpertsLaunch sort = {.pairs = pairs, .tile_rows = kernels.rows};
  encoder.dispatch(
      "experts_sort", {uint32_t(args.experts)}, 32 * kSortSimdgroups,
      {bytes_of(sort), reads(index, size_t(pairs)), writes(at.pairs, size_t(pairs)), writes(at.tiles, tiles)});

  const ExpertTilesLaunch first = {.outputs = 2 * args.intermediate,
                                   .cols = args.hidden,
                                   .pairs_per_input = args.top_k,
                                   .limit = args.limit,
                                   .alpha = args.alpha};
  const Groups groups = {divide_up(first.outputs, kTileColumns), uint32_t(tiles)};
  const Argument of_tiles = reads(at.tiles, tiles), sorted = reads(at.pairs, size_t(pairs));
  if (adapters == nullptr) {
    encoder.dispatch(kernels.gate_up, groups, kExpertTileThreads,
                     {bytes_of(first), gate_up.blocks, gate_up.scales, gate_up.bias, reads(normed, values), of_tiles,
                      sorted, writes(at.act, acts)});
  } else {
    encoder.dispatch(kernels.gate_up_terms, groups, kExpertTileThreads,
                     {bytes_of(first), gate_up.blocks, gate_up.scales, gate_up.bias, reads(normed, values), of_tiles,
                      sorted, writes(at.act, acts), adapters->place, adapters->terms});
  }
  const ExpertTilesLaunch second = {
      .outputs = args.hidden, .cols = args.intermediate, .pairs_per_input = 1, .limit = 0, .alpha = 0};
  encoder.dispatch(kernels.down, {divide_up(second.outputs, kTileColumns), uint32_t(tiles)}, kExpertTileThreads,
                   {bytes_of(second), down.blocks, down.scales, down.bias, reads(at.act, acts), of_tiles, sorted,
                    writes(at.out, outs)});

  const CombineExpertsLaunch combine = {.hidden = args.hidden, .top_k = args.top_k};
  encoder.dispatch("experts_combine", {divide_up(args.hidden, 4 * kCombineThreads), uint32_t(args.tokens)},
                   kCombineThreads,
                   {bytes_of(combine), reads(weight, size_t(pairs)), reads(at.out, outs), updates(x, values)});
}

}  // namespace

void experts(Encoder& encoder, const ExpertsArgs& args, const uint16_t* normed, const int32_t* index,
             const float* weight, const Experts& gate_up, const Experts& down, void* scratch, float* x) {
  const int pairs = args.tokens * args.top_k;
  if (pairs == 0) return;
  const Scratch at(scratch, pairs, args.experts, args.hidden, args.intermediate);
  const Ranges w1(gate_up, args.experts, 2 * args.intermediate, args.hidden);
  const Ranges w2(down, args.experts, args.hidden, args.intermediate);
  const auto run = are_few_pairs(pairs, args.experts) ? few_experts : many_experts;
  run(encoder, args, normed, index, weight, w1, w2, nullptr, at, x);
}

void experts_low_rank(Encoder& encoder, const ExpertsArgs& args, const LowRankStep& step, const ExpertNumbers& numbers,
                      const uint16_t* normed, const int32_t* index, const float* weight, const Experts& gate_up,
                      const Experts& down, void* scratch, float* x) {
  if (step.adapters.empty()) return experts(encoder, args, normed, index, weight, gate_up, down, scratch, x);
  const int pairs = args.tokens * args.top_k;
  const Scratch at(scratch, pairs, args.experts, args.hidden, args.intermediate);
  const Ranges w1(gate_up, args.experts, 2 * args.intermediate, args.hidden);
  const Ranges w2(down, args.experts, args.hidden, args.intermediate);
  LowRankProducts of = {
      .number = numbers.gate_up, .per_row = args.top_k, .chosen = index, .choices = args.experts, .rows = args.tokens};
  const bool changes_gate_up = has_terms(step, of);
  if (changes_gate_up) {
    low_rank_sums(encoder, step, of, {.x = normed, .x_low = nullptr, .in = args.hidden, .rows = args.tokens});
    low_rank_terms(encoder, step, of, 2 * args.intermediate, 2 * args.intermediate);
  }
  const size_t terms = size_t(end_of_places(step) * args.top_k) * 2 * size_t(args.intermediate);
  const Adapters adapters = {reads(step.place, size_t(args.tokens)), reads(step.terms, terms)};
  const auto run = are_few_pairs(pairs, args.experts) ? few_experts : many_experts;
  run(encoder, args, normed, index, weight, w1, w2, changes_gate_up ? &adapters : nullptr, at, x);
  // The activations are still there. The terms of down reach x by their weights, as the products did.
  of.number = numbers.down;
  low_rank_sums(encoder, step, of,
                {.x = at.act, .x_low = nullptr, .in = args.intermediate, .rows = args.tokens, .x_each = true});
  low_rank_add(encoder, step, of, args.hidden, weight, x);
}

size_t experts_scratch_bytes(int tokens, int top_k, int experts, int hidden, int intermediate) {
  return Scratch(nullptr, tokens * top_k, experts, hidden, intermediate).bytes;
}

}  // namespace oss::metal
