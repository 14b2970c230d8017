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

}  // namespace oss
