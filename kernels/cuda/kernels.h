// The operations of libgptoss_cuda: one launcher per operation. Pointers are device memory unless said otherwise. All
// work is queued on `stream`; no call waits. No CUDA headers: the backend that calls these launchers is built on every
// machine.
//
// Graphs replay launches. So a launch may depend on capacities (arguments, by value) but not on the actual counts of a
// step. Counts are read on the device; elements past them are neither read nor written.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/common/args.h"
#include "kernels/cuda/layout.h"

namespace oss::cuda {

using Status = int;    // 0 = success, else a cudaError_t; Module::explain() returns its text
using Stream = void*;  // a cudaStream_t
using bf16 = uint16_t;

struct StepCounts {
  int32_t tokens, sequences, rows;  // counts of this step; rows = tokens with logits
  int32_t tiles;                    // tiles of attention_tiles
  int32_t singles = 0;              // tokens of attention_split
};

// Consecutive tokens of one sequence, at most kAttentionTile.
struct AttentionTile {
  int32_t first, tokens;
};

struct SampleResult;

// The arrays of a step. Their addresses never change, so a recorded launch reads every later step from them.
struct DeviceStep {
  const StepCounts* counts;
  const int32_t* tokens;                   // [tokens]; -1 - r: the token of drawn[r]
  const int32_t* positions;                // [tokens]
  const int32_t* sequence;                 // [tokens] row of the block tables
  const int32_t* block_tables[kKvGroups];  // [sequences, max_pages] page numbers; -1 where the window has passed
  const float* rope;                       // [tokens, 2, kHeadDim / 2] cos and sin
  const int32_t* logit_tokens;             // [rows]
  const AttentionTile* tiles;              // [tiles]
  int max_pages;
  const int32_t* singles = nullptr;     // [singles] tokens that attend alone
  const SampleResult* drawn = nullptr;  // results of the previous step
};

// --- load ------------------------------------------------------------------------------------------------------------

struct PackMatrixArgs {
  int rows, cols;  // the size of this piece; rows past the last full tile are filled with zeros
  RowOrder order;
};
// raw bf16 [rows, cols] -> the layout of `linear`: packed_matrix_bytes(rows, cols) bytes. cols % 32 == 0.
Status pack_matrix(const PackMatrixArgs&, const bf16* raw, void* packed, Stream);

struct PackExpertsArgs {
  int experts, rows, cols;  // rows % 16 == 0, cols % 32 == 0; columns past the last full tile are filled with zeros
  RowOrder order;
};
// raw blocks [experts, rows, cols / 32, 16] and scales [experts, rows, cols / 32], as in a checkpoint, become codes and
// scales in the layout of `experts`: experts * packed_codes_bytes(rows, cols) and experts * packed_scales_bytes(rows,
// cols).
Status pack_expert_codes(const PackExpertsArgs&, const uint8_t* raw_blocks, void* codes, Stream);
Status pack_expert_scales(const PackExpertsArgs&, const uint8_t* raw_scales, void* scales, Stream);

struct SynthesizeArgs {
  int kind;                 // SyntheticKind of kernels/common/synthetic.h
  uint32_t key_lo, key_hi;  // the key of the tensor
  uint64_t first, count;    // elements: bf16, packed bytes or scale bytes
  float scale;
};
// Generates elements [first, first + count) of a synthetic tensor, as its checkpoint file would hold them.
Status synthesize(const SynthesizeArgs&, void* to, Stream);

// --- step ------------------------------------------------------------------------------------------------------------
// `num_rows` points into StepCounts. The counts in args are capacities.

// x[t] = table[tokens[t]], or the row of a drawn token      table bf16 [vocab, hidden] not packed, x f32
Status embed(const EmbedArgs&, const DeviceStep&, const bf16* table, float* x, Stream);

// rows[r] = x[logit_tokens[r]]      args.tokens = capacity of rows
Status gather_rows(const EmbedArgs&, const DeviceStep&, const float* x, float* rows, Stream);

// y_low: the rounding error of y, rounded too; may be null. Together they are within 2^-17 of the float32 value.
Status rms_norm(const RmsNormArgs&, const int32_t* num_rows, const float* x, const float* w, bf16* y, bf16* y_low,
                Stream);

// Memory that a later launch reads; this launch may load it into L2 after its own loads.
struct Prefetch {
  const void* from = nullptr;
  size_t bytes = 0;
};

// y[r, o] (=|+=) (x[r] + x_low[r]) · w[o] + bias[o]      w packed in kRowsPlain; x_low and bias may be null; y f32, row
// stride args.out
Status linear(const LinearArgs&, const int32_t* num_rows, const bf16* x, const bf16* x_low, const void* w,
              const float* bias, float* y, const Prefetch& next, Stream);

// y[r] = 16 bits of normed[r] · w + bias with normed = rms_norm(x, norm), which is also written in bf16. For steps with
// at most most_fused_tokens() tokens (plan.h).
Status norm_linear(const LinearArgs&, float eps, const int32_t* num_rows, const float* x, const float* norm,
                   const void* w, const float* bias, bf16* normed, float* y, Stream);

// w packed: rows of q and k in kRowsRope, then rows of v in kRowsPlain; bias f32 [q, k, v] in plain order. q bf16
// [tokens, heads * 64] is rotated; k (rotated) and v are stored in the cache with element type args.type (not f32).
Status qkv(const QkvArgs&, const DeviceStep&, const bf16* x, const void* w, const float* bias, bf16* q, void* cache,
           Stream);

// The same for rms_norm(x, norm), in steps with at most most_fused_tokens() tokens.
Status norm_qkv(const QkvArgs&, float eps, const DeviceStep&, const float* x, const float* norm, const void* w,
                const float* bias, bf16* q, void* cache, Stream);

// For the tokens in step.singles. The keys of each are divided into visible_pages().splits parts; `splits` is their
// maximum in this step. scratch has attention_scratch_bytes(args.tokens, args.heads), with args.tokens = capacity of
// step.singles. counters [args.tokens, args.kv_heads] must be 0 before the first step, and are 0 again after each. For
// decodes, and for all tokens where a result must not depend on how a prompt was cut. heads / kv_heads <= 16.
Status attention_split(const AttentionArgs&, const DeviceStep&, int splits, const bf16* q, const void* cache,
                       const float* sinks, float* scratch, int32_t* counters, bf16* out, Stream);

// Tiles of kAttentionTile tokens of one sequence share the pass over the keys; `tiles` = capacity of step.tiles.
Status attention_tiles(const AttentionArgs&, const DeviceStep&, int tiles, const bf16* q, const void* cache,
                       const float* sinks, bf16* out, Stream);

// Writes index, weight [tokens, top_k], best first; on equal logits the lower expert first.
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

// router and experts for steps with at most most_fused_tokens() tokens. Counters in the scratch memory
// (ExpertsScratch::done) must be 0 before the first step, and are 0 again after each.
Status few_experts(const ExpertsArgs&, const int32_t* num_tokens, const float* logits, const bf16* normed,
                   const PackedExperts& gate_up, const PackedExperts& down, void* scratch, float* x, Stream);

// --- terms of adapters -----------------------------------------------------------------------------------------------

// scale · B (A x), which is added to the product of one matrix with x.
struct LowRankTerm {
  const bf16* a;  // [rank, in], rows aligned to 16 bytes
  const bf16* b;  // [out, rank]
  int32_t rank;   // at most kMostLowRank; 0: no term
  float scale;
};
// The adapters of a step, and the work memory for their terms.
struct LowRankStep {
  const LowRankTerm* const* adapters;  // [tokens] the terms of each token's adapter, by number (layout.h); null: none
  float* sums;                         // low_rank_sums_bytes()
};

struct LowRankArgs {
  int rows, in, out;
  int number;  // of the term
};
// y[r] += the term of x[r] + x_low[r], for each row whose adapter has it; other rows are not touched. x_low may be
// null. token_of_row [rows]: null where rows are tokens. in % 8 == 0.
Status low_rank(const LowRankArgs&, const LowRankStep&, const int32_t* num_rows, const int32_t* token_of_row,
                const bf16* x, const bf16* x_low, float* y, Stream);

// qkv with the terms `number` of q, and those of k and v after it, added before the rotation.
Status qkv_low_rank(const QkvArgs&, const DeviceStep&, const LowRankStep&, int number, const bf16* x, const void* w,
                    const float* bias, bf16* q, void* cache, Stream);

// experts with the terms of gate_up, added before the SwiGLU, and of down. Numbers are those of expert 0.
struct ExpertTerms {
  int gate_up, down;
};
Status experts_low_rank(const ExpertsArgs&, const LowRankStep&, const ExpertTerms&, const int32_t* num_tokens,
                        const bf16* normed, const int32_t* index, const float* weight, const PackedExperts& gate_up,
                        const PackedExperts& down, void* scratch, float* x, Stream);

// --- sampling --------------------------------------------------------------------------------------------------------

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
  int32_t row;                   // row of the logits
  int32_t seen_begin, seen_end;  // range in the list of SampleSeen: distinct tokens
  int32_t bias_begin, bias_end;  // range in the list of SampleBias: applied in order; tokens may repeat
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
// Draws for each of *num_rows rows as defined in lib/generation/sampling.ts. The logits stay unchanged. scratch:
// sample_scratch_bytes() of sample_scratch.h.
Status sample(const SampleArgs&, const int32_t* num_rows, float* logits, const SampleRow* rows, const SampleSeen* seen,
              const SampleBias* bias, void* scratch, SampleResult* out, Stream);

// --- roofs -----------------------------------------------------------------------------------------------------------

constexpr size_t kReadBlockBytes = 32 << 10;
constexpr int kReadWarps = 8;
// Reads every byte once. sums [bytes / kReadBlockBytes, kReadWarps]: together they are the sum of the 32-bit words.
// bytes % kReadBlockBytes == 0.
Status read_memory(size_t bytes, const void* from, uint32_t* sums, Stream);

constexpr int kMultiplyThreads = 1024;
struct MultiplyArgs {
  int rounds;
  int on_bf16_unit;  // 0: that of float32
};
// Multiplies ones with all values in registers. *flops (host memory): how many. out [multiprocessors, kMultiplyThreads]: the
// sum of a thread's results, which is 8 · rounds, and on the bf16 unit 512 · rounds.
Status multiply(const MultiplyArgs&, float* out, double* flops, Stream);

}  // namespace oss::cuda
