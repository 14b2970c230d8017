// The tensors of the forward pass, named as in test/oracle, read after each block and dumped.
//
// With a dump, blocks run as single operations on every backend, and no step is recorded: only then do all tensors
// exist. So a dump cannot show a fault of a fused kernel. Such a fault shows as logits that differ with and without a
// dump.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "native/backend/backend.h"
#include "native/base/dump.h"
#include "native/model/config.h"

namespace oss {

class Taps {
 public:
  Taps(std::unique_ptr<Dump> dump, Backend& backend, const Config& config);

  void begin(const Step& step, const float* x);  // after the embedding
  // Runs the block and writes its results.
  void attention_block(int layer, const AttentionBlock& block, const Step& step);
  void moe_block(int layer, const MoeBlock& block, const Step& step);
  void head(const Step& step, Operand normed, const float* logits);

 private:
  using Shape = std::vector<int64_t>;
  std::vector<float> read(const float* from, size_t count);
  std::vector<float> read(Operand from, size_t count);
  std::vector<float> read(const KvArgs& cache, const void* layer, const Step& step, bool values);
  void write(int layer, const char* name, const Shape& shape, std::span<const float> values);
  // Writes what the block has added to the residual stream.
  void write_added(int layer, const char* name, const float* x);

  std::unique_ptr<Dump> dump_;
  Backend& backend_;
  const Config& config_;
  std::vector<float> x_;  // the residual stream before the block
};

}  // namespace oss
