// The operations of the Metal kernels: each encodes one or more dispatches. Pointers are device memory. bf16 is stored
// as uint16_t. Weights have the layout of the checkpoint's files; dense ones can be Q8.
#pragma once
#include <cstdint>
#include <span>

#include "kernels/common/args.h"
#include "kernels/metal/low_rank.h"
#include "kernels/metal/peaks.h"
#include "kernels/metal/step.h"
#include "native/backend/metal/encoder.h"

namespace oss::metal {

// The arrays of a step, in device memory.
struct StepArrays {
  int tokens = 0, sequences = 0, rows = 0;  // rows: tokens with logits
  int max_pages = 0;
  const int32_t* token_ids = nullptr;           // [tokens]; -1 - r: the token of drawn[r]
  const int32_t* positions = nullptr;           // [tokens]
  const int32_t* sequence = nullptr;            // [tokens] row of the block tables
  const int32_t* block_tables[kKvGroups] = {};  // [sequences, max_pages] page numbers; -1 behind the window
  const float* rope = nullptr;                  // [tokens, 2, kHeadDim / 2] cos and sin
  const int32_t* logit_tokens = nullptr;        // [rows]
  int drawn_rows = 0;                           // of the previous step; 0 when no id is negative
  const SampleResult* drawn = nullptr;          // [drawn_rows]
  // Attention. Tokens of long chunks attend in tiles of consecutive tokens of one sequence, all others alone.
  int tiles = 0, singles = 0;
  const AttentionTile* tile = nullptr;  // [tiles]
  const int32_t* single = nullptr;      // [singles] index of the token
  int most_keys = 0;                    // the most that one of them sees, on layers with full attention
};

// A layer's part of the KV cache: [page][k, v][kv_head][kPageTokens][head_dim], elements of the args' type.
struct Cache {
  void* at;
  size_t bytes;
};

// The rows of a matrix: bf16, or Q8 (kernels/common/q8.h).
struct Rows {
  Rows(const uint16_t* values) : bf16(values) {}
  Rows(const int8_t* q8_codes, const uint16_t* q8_scales) : codes(q8_codes), scales(q8_scales) {}
  bool is_q8() const { return codes != nullptr; }

  const uint16_t* bf16 = nullptr;    // [rows, cols]; null: Q8
  const int8_t* codes = nullptr;     // [rows, cols], aligned to 8 bytes
  const uint16_t* scales = nullptr;  // [rows, cols/32]
};

// x[t] = table[token_ids[t]]      table [vocab, hidden], x f32
void embed(Encoder&, const EmbedArgs&, const StepArrays&, const Rows& table, int vocab, float* x);

// rows[r] = x[logit_tokens[r]]      args.tokens = number of rows
void gather_rows(Encoder&, const EmbedArgs&, const StepArrays&, const float* x, float* rows);

// y_low: the rounding error of y, rounded too; may be null.
void rms_norm(Encoder&, const RmsNormArgs&, const float* x, const float* w, uint16_t* y, uint16_t* y_low);

// y[r, o] (=|+=) (x[r] + x_low[r]) · w[o] + bias[o]      w [out, in]; x_low and bias may be null; y f32
void linear(Encoder&, const LinearArgs&, const uint16_t* x, const uint16_t* x_low, const Rows& w, const float* bias,
            float* y);

struct QkvMatrices {
  Rows q, k, v;  // [heads * head_dim, hidden], [kv_heads * head_dim, hidden]
  const float *q_bias, *k_bias, *v_bias;
};
// q bf16 [tokens, heads * head_dim], rotated; keys (rotated) and values are stored in the cache.
void qkv(Encoder&, const QkvArgs&, const StepArrays&, const uint16_t* x, const QkvMatrices&, uint16_t* q, Cache);

// The attention of all tokens of the step. scratch: attention_scratch_bytes(). out bf16 [tokens, heads * head_dim].
void attention(Encoder&, const AttentionArgs&, const StepArrays&, const uint16_t* q, Cache, const float* sinks,
               float* scratch, uint16_t* out);
size_t attention_scratch_bytes(int singles, int heads);

// index, weight [tokens, top_k], best first; on equal logits the lower expert first.
void router(Encoder&, const RouterArgs&, const float* logits, int32_t* index, float* weight);

// rms_norm, the router's product and router in one dispatch, with the same bits: for steps that fuses_router() names.
void norm_router(Encoder&, const RouterArgs&, int hidden, float eps, const float* x, const float* norm,
                 const uint16_t* w, const float* bias, uint16_t* normed, int32_t* index, float* weight);
bool fuses_router(int tokens, int hidden, int experts);

struct Experts {
  const uint8_t* blocks;  // [experts, rows, cols/32, 16]
  const uint8_t* scales;  // [experts, rows, cols/32]
  const float* bias;      // [experts, rows]
};
// x[t] += sum over k of weight[t,k] * down_e(swiglu(gate_up_e(normed[t]))) with e = index[t,k], in the order of k.
// scratch: experts_scratch_bytes().
void experts(Encoder&, const ExpertsArgs&, const uint16_t* normed, const int32_t* index, const float* weight,
             const Experts& gate_up, const Experts& down, void* scratch, float* x);
size_t experts_scratch_bytes(int tokens, int top_k, int experts, int hidden, int intermediate);

// --- the terms of adapters: scale · B (A x), which is added to the product of a matrix with x

// An adapter in device memory, and the rows of a step that have it. `rows` are in order.
struct RowsOfAdapter {
  const LowRankTerm* terms;  // [all of its terms], by number (native/backend/low_rank.h)
  const uint16_t* factors;   // aligned to 16 bytes, as each A in there is
  size_t count_factors;
  const int32_t* rows;  // [count]
  int first, count;     // the rows of adapters before it, and its own
  int first_row, last_row;
};
// The adapters of a step. Each has dispatches of its own: a kernel reads the factors of one buffer.
struct LowRankStep {
  std::span<const RowsOfAdapter> adapters;
  int base;              // the row that arrays of rows begin with: a part of a step can be computed alone
  const int32_t* place;  // [tokens] where the token is in the lists of rows, one after another; -1: no adapter
  float* sums;           // low_rank_sums_bytes()
  float* terms;          // low_rank_terms_bytes()
};
size_t low_rank_sums_bytes(int tokens, int rows, int top_k);
size_t low_rank_terms_bytes(int tokens, int qkv_outputs, int top_k, int intermediate);

struct LowRankArgs {
  int rows, in, out;  // of all rows, with or without an adapter
  int number;         // of the term
};
// y[r] += the term of x[r] + x_low[r], for each row whose adapter has it; other rows are not touched. x_low may be null.
// in % 8 == 0.
void low_rank(Encoder&, const LowRankArgs&, const LowRankStep&, const uint16_t* x, const uint16_t* x_low, float* y);

// qkv with the terms `number` of q, and those of k and v after it, added before the rotation.
void qkv_low_rank(Encoder&, const QkvArgs&, const StepArrays&, const LowRankStep&, int number, const uint16_t* x,
                  const QkvMatrices&, uint16_t* q, Cache);

// experts with the terms of gate_up, added before the SwiGLU, and of down. Numbers are those of expert 0.
struct ExpertNumbers {
  int gate_up, down;
};
void experts_low_rank(Encoder&, const ExpertsArgs&, const LowRankStep&, const ExpertNumbers&, const uint16_t* normed,
                      const int32_t* index, const float* weight, const Experts& gate_up, const Experts& down,
                      void* scratch, float* x);

// Draws for each row as defined in lib/generation/sampling.ts. The logits stay unchanged. parameters [rows]; seen, bias
// and allowed are the lists into which they point. scratch: sample_scratch_bytes().
struct SampleInputs {
  const SampleRow* parameters;
  const SampleSeen* seen;
  const SampleBias* bias;
  const uint32_t* allowed;
  size_t seen_count, bias_count, allowed_count;
  size_t logit_rows;  // the rows of the logits: several draws may use one, and not all need be drawn from
};
void sample(Encoder&, int rows, int vocab, const float* logits, const SampleInputs&, void* scratch, SampleResult* out);
size_t sample_scratch_bytes(int rows, int vocab);

// Reads `groups` ranges of `range_bytes` (a multiple of kReadRound), a threadgroup each.
//   sums [groups, kReadThreads / 32]: together the sum of the words
void read_memory(Encoder&, const uint32_t* words, size_t groups, size_t range_bytes, uint32_t* sums);
constexpr size_t kReadRound = size_t(kReadThreads) * kReadsInFlight * 16;

// Multiplies ones with all values in registers, as matrices of bf16 or as floats. Returns how many flops that is.
//   out [groups, kMultiplyThreads]: a thread's sum, 8 · rounds
//   of matrices [groups, kMultiplyThreads, kMultiplyResults]: the elements of all chains, 8 · rounds each
double multiply(Encoder&, bool matrices, int rounds, uint32_t groups, float* out);
constexpr int kMultiplyResults = kMultiplyChains * 64 / 32;

}  // namespace oss::metal
