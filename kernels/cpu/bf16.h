// Matrix products of bf16 activations with float32 sums, for numerics "fast". Each unit that multiplies bf16 has a
// table of functions. The rest of a step uses the Kernels of the instruction set below it.
//
// MXFP4 and bf16 weights are exact in bf16, so only activations are rounded: to 8 bits of mantissa, or to 16
// (LinearArgs::precise) by adding the product with the rounding error. Q8 weights are rounded too, by at most 2^-9 of
// themselves. Making them already cost 2^-8 of the largest of 32.
//
// Every sum runs along k in the order of its unit, for one activation row as for many. So results do not depend on the
// batch, the range or the thread. Units use different orders, so their last bits differ.
#pragma once
#include "kernels/common/mxfp4.h"
#include "kernels/cpu/kernels.h"

namespace oss::cpu {

// A panel holds the activation rows that a unit multiplies at once, `panel_rows` of them. Missing rows are zeros, and
// so are columns up to a multiple of 32.
constexpr int panel_cols(int cols) { return (cols + kMxBlock - 1) / kMxBlock * kMxBlock; }

// The most that a unit needs for itself, for plans of machines that are elsewhere: elements of each thread's work area
// for packed weights of this many columns; bytes for attention, and for each 16 of its queries.
constexpr size_t most_packed_work_elements(int cols) {
  const size_t rows = 32 * size_t(panel_cols(cols));
  return rows > 4096 ? rows : 4096;
}
constexpr size_t kMostAttentionWorkBytes = 24 << 10, kMostAttentionPanelBytes = 9 << 10;

struct Bf16Kernels {
  const char* isa;
  int panel_rows;
  int row_unit;  // ranges of weight rows begin at multiples of it
  bool strips;   // MXFP4 and Q8 weights are in strips (kernels/cpu/strips.h), else in plain rows

  // bf16 weights. pack: one panel from 1 .. panel_rows rows of f32 [cols]; low: the rounding errors, or null.
  void (*pack)(int cols, const float* const* rows, int num_rows, uint16_t* panel, uint16_t* low);
  // Weight rows [begin, end) for all args.rows rows. low: null unless args.precise.
  void (*linear)(const LinearArgs&, int begin, int end, const uint16_t* panels, const uint16_t* low, const uint16_t* w,
                 const float* bias, float* y);

  // MXFP4 and Q8 weights, which have their own panels [cols/32, panel_rows, 32], and the number of elements of each
  // thread's work area.
  void (*pack_packed)(int cols, const float* const* rows, int num_rows, uint16_t* panel, uint16_t* low);
  size_t (*packed_work_elements)(int cols);
  void (*linear_q8)(const LinearArgs&, int begin, int end, const uint16_t* panels, const uint16_t* low,
                    const Q8Weights&, const float* bias, float* y, uint16_t* work);
  // The pairs of one expert → their activations, also as panels: units [begin, end), multiples of 32. added: as in
  // Kernels.
  void (*experts_gate_up)(const ExpertsArgs&, const ExpertWeights&, int begin, int end, int num_pairs,
                          const float* const* added, const uint16_t* panels, uint16_t* act_panels, uint16_t* work);
  // out[pairs[p]] [hidden], elements [begin, end), multiples of 32.
  void (*experts_down)(const ExpertsArgs&, const ExpertWeights&, int begin, int end, const int32_t* pairs,
                       int num_pairs, const uint16_t* act_panels, float* out, uint16_t* work);

  // Kernels::attention_chunk where head_dim is kHeadDim, for up to attention_tokens tokens of a sequence. Null when the
  // unit has no faster version. Float32 queries, keys and values keep 16 bits.
  int attention_tokens;
  size_t (*attention_work)(const AttentionArgs&);  // floats
  void (*attention_chunk)(const AttentionArgs&, const AttentionTask&, int chunk, float* work, float* state);

  // As in Kernels, with the unit's own instruction.
  const char* peak_instruction;
  double (*peak)(int64_t rounds);
};

}  // namespace oss::cpu
