// The experts of a layer on a GPU: inputs, the reference in double, the comparisons.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "kernels/common/args.h"
#include "test/kernels/gpu/low_rank.h"

namespace oss::test {

// One matrix of every expert as checkpoints hold it, and its values.
struct RawExperts {
  int experts, rows, cols;
  std::vector<uint8_t> blocks, scales;  // [experts, rows, cols / 32, 16] and [experts, rows, cols / 32]
  std::vector<float> bias;              // [experts, rows]

  RawExperts(int experts, int rows, int cols);  // zeros
  // The bytes of scales are in [least, most].
  void randomize(uint32_t seed, int least, int most);
  void set(int expert, int row, int col, int code, int scale);
  double value(int expert, int row, int col) const;

 private:
  size_t block_of(int expert, int row, int col) const;
};

struct ExpertsLayer {
  ExpertsArgs args;  // tokens = 0
  RawExperts gate_up, down;

  ExpertsLayer(int hidden, int intermediate, int experts, int top_k);
  void randomize(uint32_t seed);
};

struct ExpertsStep {
  std::vector<float> normed;   // [tokens, hidden], exact in bf16
  std::vector<int32_t> index;  // [tokens, top_k]
  std::vector<float> weight;   // [tokens, top_k]
  std::vector<float> x;        // [tokens, hidden]
  StepAdapters adapters;       // terms of gate_up follow number 1, those of down follow them; no tokens: no adapters

  bool adapted() const { return !adapters.of_token.empty(); }
  // The tokens [first, first + count).
  ExpertsStep part(const ExpertsArgs&, int first, int count) const;
};
ExpertsStep random_experts_step(const ExpertsArgs&, int tokens, uint32_t seed);
// Every token chooses the same experts, the last ones first.
void crowd(const ExpertsArgs&, ExpertsStep&);

// The result x of a step on a device.
using RunExperts = std::function<std::vector<float>(const ExpertsStep&)>;

// The result in double. Activations are rounded to bf16 between the products, as in the kernels.
struct ExpertsReference {
  std::vector<double> x;
  double largest_term = 0;  // of weight · W2 · act
  bool adapted;

  ExpertsReference(const ExpertsLayer&, const ExpertsStep&);
  // tolerance: of a sum, relative to the largest result. A neighbour of each activation is allowed, too.
  void check(const std::string& what, const std::vector<float>& actual, double tolerance) const;
};

// The tokens [first, first + count) alone must have the bits that they have in the whole step.
void check_experts_part(const std::string& what, const ExpertsArgs&, const ExpertsStep&, int first, int count,
                        const RunExperts& run, const std::vector<float>& of_all);

// A random step with an adapter of all experts, one of gate and up of every other expert, one of down of a single
// expert, and tokens without one.
ExpertsStep adapted_experts_step(const ExpertsArgs&, int tokens, uint32_t seed);
// Results of that step and of the same step without adapters must differ exactly where there is a term.
void check_experts_terms(const std::string& what, const ExpertsArgs&, const ExpertsStep&,
                         const std::vector<float>& adapted, const std::vector<float>& plain);

// Every code with every scale from 2 on, in every place of the last expert's second matrix. W1 passes on one column.
struct DownCodes {
  ExpertsLayer layer;
  ExpertsStep step;

  DownCodes(int experts, int most_scale);
  // Runs steps of so many tokens; all results are exact.
  void check(const std::string& what, int tokens, const RunExperts& run) const;
};

// The same in the first matrix. W2 passes on the units that x has room for, from `first` on.
struct GateUpCodes {
  int first;
  ExpertsLayer layer;
  ExpertsStep step;

  GateUpCodes(int experts, int first);
  // Runs steps of so many tokens. The results of all of them.
  std::vector<float> check(const std::string& what, int tokens, const RunExperts& run) const;
};

}  // namespace oss::test
