// What libgptoss_cuda computes: one launcher per operation. Pointers are device memory unless said otherwise; everything
// is queued on `stream` and nothing waits. No CUDA headers: the backend that calls these is built on every machine.
//
// Graphs replay launches, so a launch may depend on capacities (arguments, by value) and never on how full a step is:
// counts are read on the device, and what lies past them is neither read nor written.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/common/args.h"
#include "kernels/cuda/layout.h"

namespace oss::cuda {

using Status = int;    // 0 = success, else a cudaError_t; Module::explain() has the words
using Stream = void*;  // a cudaStream_t
using bf16 = uint16_t;

struct StepCounts {
  int32_t tokens, sequences, rows;  // of this step; rows = tokens whose logits are wanted
  int32_t tiles;                    // of attention_tiles
  int32_t singles = 0;              // of attention_split
};

// Consecutive tokens of one sequence, at most kAttentionTile.
struct AttentionTile {
  int32_t first, tokens;
};

struct SampleResult;

// The arrays of a step. Their addresses never change, so a recorded launch finds every later step in them.
struct DeviceStep {
  const StepCounts* counts;
  const int32_t* tokens;                   // [tokens]; -1 - r: the token of drawn[r]
  const int32_t* positions;                // [tokens]
  const int32_t* sequence;                 // [tokens] row of the block tables
  const int32_t* block_tables[kKvGroups];  // [sequences, max_pages] page numbers, -1 where a window has left
  const float* rope;                       // [tokens, 2, kHeadDim / 2] cos and sin
  const int32_t* logit_tokens;             // [rows]
  const AttentionTile* tiles;              // [tiles]
  int max_pages;
  const int32_t* singles = nullptr;     // [singles] tokens that walk over their keys alone
  const SampleResult* drawn = nullptr;  // by the step before
};

// --- load -----------------------------------------------------------------------------------------------------------------

struct PackMatrixArgs {
  int rows, cols;  // of this piece; rows past the last full tile are filled up with zeros
  RowOrder order;
};
// raw bf16 [rows, cols] -> the layout of `linear`: packed_matrix_bytes(rows, cols) bytes. cols % 32 == 0.
Status pack_matrix(const PackMatrixArgs&, const bf16* raw, void* packed, Stream);

struct PackExpertsArgs {
  int experts, rows, cols;  // rows % 16 == 0, cols % 32 == 0; columns past the last full tile are filled up with zeros
  RowOrder order;
};
// raw blocks [experts, rows, cols / 32, 16] and scales [experts, rows, cols / 32], as checkpoints hold them, -> codes and
// scales in the layout of `experts`, experts * packed_codes_bytes(rows, cols) and experts * packed_scales_bytes(rows, cols).
Status pack_expert_codes(const PackExpertsArgs&, const uint8_t* raw_blocks, void* codes, Stream);
Status pack_expert_scales(const PackExpertsArgs&, const uint8_t* raw_scales, void* scales, Stream);

struct SynthesizeArgs {
  int kind;                 // SyntheticKind of kernels/common/synthetic.h
  uint32_t key_lo, key_hi;  // of the tensor
  uint64_t first, count;    // elements: bf16, packed bytes or scale bytes
  float scale;
};
// Elements [first, first + count) of a synthetic tensor, as its checkpoint file would hold them.
Status synthesize(const SynthesizeArgs&, void* to, Stream);

// --- step -----------------------------------------------------------------------------------------------------------------
// `num_rows` points into StepCounts. The counts in args are capacities.

// x[t] = table[tokens[t]], or of what was drawn      table bf16 [vocab, hidden] rows as they are, x f32
Status embed(const EmbedArgs&, const DeviceStep&, const bf16* table, float* x, Stream);

// rows[r] = x[logit_tokens[r]]      args.tokens = capacity of rows
Status gather_rows(const EmbedArgs&, const DeviceStep&, const float* x, float* rows, Stream);

// y_low: what rounding took from y, rounded in its turn; may be null. Together they are within 2^-17 of the float32 value.
Status rms_norm(const RmsNormArgs&, const int32_t* num_rows, const float* x, const float* w, bf16* y, bf16* y_low,
                Stream);

// Memory that a later launch will read, and this one may bring into L2 when it is done with its own.
struct Prefetch {
  const void* from = nullptr;
  size_t bytes = 0;
};

// y[r, o] (=|+=) (x[r] + x_low[r]) · w[o] + bias[o]      w packed in kRowsPlain; x_low and bias may be null; y f32, row
// stride args.out
Status linear(const LinearArgs&, const int32_t* num_rows, const bf16* x, const bf16* x_low, const void* w,
              const float* bias, float* y, const Prefetch& next, Stream);

// y[r] = 16 bits of normed[r] · w + bias with normed = rms_norm(x, norm), which is also written in bf16. For steps of at
// most most_fused_tokens() of plan.h.
Status norm_linear(const LinearArgs&, float eps, const int32_t* num_rows, const float* x, const float* norm,
                   const void* w, const float* bias, bf16* normed, float* y, Stream);

// w packed: rows of q and k in kRowsRope, then those of v in kRowsPlain; bias f32 [q, k, v] in plain order.
// q bf16 [tokens, heads * 64] rotated; k (rotated) and v go to their places in the cache, element type args.type (not f32).
Status qkv(const QkvArgs&, const DeviceStep&, const bf16* x, const void* w, const float* bias, bf16* q, void* cache,
           Stream);

// The same of rms_norm(x, norm), for steps of at most most_fused_tokens().
Status norm_qkv(const QkvArgs&, float eps, const DeviceStep&, const float* x, const float* norm, const void* w,
                const float* bias, bf16* q, void* cache, Stream);

// For the tokens in step.singles: the keys of each divided into visible_pages().splits parts, `splits` of them at most in
// this step; scratch of attention_scratch_bytes(args.tokens, args.heads), with args.tokens = capacity of step.singles.
// counters [args.tokens, args.kv_heads] are 0 before the first step, and again after each.
// For decodes, and for all tokens where a result must not depend on how a prompt was cut. heads / kv_heads <= 16.
Status attention_split(const AttentionArgs&, const DeviceStep&, int splits, const bf16* q, const void* cache,
                       const float* sinks, float* scratch, int32_t* counters, bf16* out, Stream);

// Tiles of kAttentionTile tokens of one sequence walk over the keys together; `tiles` = capacity of step.tiles.
Status attention_tiles(const AttentionArgs&, const DeviceStep&, int tiles, const bf16* q, const void* cache,
                       const float* sinks, bf16* out, Stream);

// index, weight [tokens, top_k], best first; on equal logits the lower expert first.
Status router(const RouterArgs&, const int32_t* num_tokens, const float* logits, int32_t* index, float* weight, Stream);

struct PackedExperts {
  const void* codes;
  const void* scales;
  const float* bias;  // [experts, rows], plain order
};
// x[t] += sum over k of weight[t,k] * down_e(swiglu(gate_up_e(normed[t]))) with e = index[t,k], in the order of k.
// gate_up is packed in kRowsGateUp, down in kRowsPlain. scratch: experts_scratch(...).bytes.
Status experts(const ExpertsArgs&, const int32_t* num_tokens, const bf16* normed, const int32_t* index,
               const float* weight, const PackedExperts& gate_up, const PackedExperts& down, void* scratch, float* x,
               Stream);

// router and experts for steps of at most most_fused_tokens(). Counters in the scratch memory (ExpertsScratch::done) are 0
// before the first step, and again after each.
Status few_experts(const ExpertsArgs&, const int32_t* num_tokens, const float* logits, const bf16* normed,
                   const PackedExperts& gate_up, const PackedExperts& down, void* scratch, float* x, Stream);

// --- sampling ---------------------------------------------------------------------------------------------------------------

constexpr int kMaxTopLogprobs = 20;

struct SampleSeen {
  int32_t token, in_completion;
};
struct SampleBias {
  int32_t token;
  float bias;
};
struct SampleRow {
  SamplingArgs args;
  int32_t row;                   // of the logits
  int32_t seen_begin, seen_end;  // into the list of SampleSeen: distinct tokens
  int32_t bias_begin, bias_end;  // into the list of SampleBias: applied in order, tokens may repeat
  int32_t top_logprobs;          // <= kMaxTopLogprobs
  const uint32_t* allowed;       // [(vocab + 31) / 32] bits of the tokens that may be drawn; null: all
};
struct SampleResult {
  int32_t token;
  float logprob;
  int32_t num_top;
  int32_t top_token[kMaxTopLogprobs];
  float top_logprob[kMaxTopLogprobs];
};
struct SampleArgs {
  int rows, vocab;  // rows = capacity
};
size_t sample_scratch_bytes(const SampleArgs&);  // host
// Draws for each of *num_rows rows as lib/generation/sampling.ts defines. The logits are left as they were.
Status sample(const SampleArgs&, const int32_t* num_rows, float* logits, const SampleRow* rows, const SampleSeen* seen,
              const SampleBias* bias, void* scratch, SampleResult* out, Stream);

}  // namespace oss::cuda
