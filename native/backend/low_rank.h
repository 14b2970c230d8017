// Adapters as a step computes them: low-rank terms beside the products. y[t] += scale · B (A x[t]), for the tokens of
// requests with an adapter.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "native/backend/tensors.h"

namespace oss {

constexpr int kMostRank = 1024;  // of an adapter that is read; work memory is planned for it

// The term of one matrix [out, in].
struct LowRank {
  Matrix a;  // bf16 [rank, in]
  Matrix b;  // bf16 [out, rank]
  float scale = 0;
  int number = 0;  // among the terms of its adapter, if the device numbers them; the same for a matrix in every adapter

  bool empty() const { return a.rows == 0; }
};

struct LayerAdapter {
  LowRank q, k, v, o, router;
  std::vector<LowRank> gate_up, down;  // by expert; no element when the adapter leaves the experts alone
};

// Made in host memory; Backend::hold_adapter() makes what steps read.
struct AdapterWeights {
  std::vector<LayerAdapter> layers;
  LowRank lm_head;
  const void* on_device = nullptr;  // what the device keeps about it
};

// The adapter of each token, in one layer; null: none. Empty when no token of the step has one.
using AdapterRows = std::span<const LayerAdapter* const>;

// The first adapter of the rows for which `has` is true; null when there is none.
template <typename Has>
const LayerAdapter* first_with(AdapterRows adapters, const Has& has) {
  for (const LayerAdapter* adapter : adapters) {
    if (adapter != nullptr && has(*adapter)) return adapter;
  }
  return nullptr;
}
inline bool changes_qkv(const LayerAdapter& of) { return !of.q.empty() || !of.k.empty() || !of.v.empty(); }
inline bool changes_experts(const LayerAdapter& of) { return !of.gate_up.empty() || !of.down.empty(); }

// --- the numbers of terms, for a device that has a table of them: for each layer those below, gate_up of each expert
// and down of each expert; at last that of the head

enum LowRankNumber { kTermQ, kTermK, kTermV, kTermO, kTermRouter, kTermGateUp };
constexpr int gate_up_term(int begin, int expert) { return begin + kTermGateUp + expert; }
constexpr int down_term(int begin, int experts, int expert) { return begin + kTermGateUp + experts + expert; }
constexpr int terms_of_layer(int experts) { return kTermGateUp + 2 * experts; }
constexpr int terms_of_adapter(int layers, int experts) { return layers * terms_of_layer(experts) + 1; }
// Where the numbers of an adapter's layer begin.
inline int layer_begin(const LayerAdapter& of) { return of.q.number - kTermQ; }

// Numbers all terms, empty ones too. Returns those that are not empty.
std::vector<LowRank*> number_terms(AdapterWeights&, int experts);

}  // namespace oss
