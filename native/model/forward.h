// The forward pass of gpt-oss: it gives weights and shapes to the blocks and operations of the backend seam.
// native/backend/blocks.cpp defines the blocks.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "native/backend/backend.h"
#include "native/model/model.h"
#include "native/model/taps.h"

namespace oss {

// Keys and values of all layers, in pages of kPageTokens tokens. A page number is valid in every layer of its group.
class KvStorage {
 public:
  KvStorage(const Config& config, Backend& backend, KvType type, std::array<int, kKvGroups> pages);
  void* layer(int index) const {
    return buffers_[group_of_[size_t(index)]].as<std::byte>() + offset_of_[size_t(index)];
  }
  KvGroup group(int index) const { return group_of_[size_t(index)]; }
  KvType type() const { return type_; }
  size_t bytes() const { return buffers_[kKvFull].bytes() + buffers_[kKvWindow].bytes(); }

  static size_t bytes_per_page(const Config& config, KvType type, KvGroup group);  // all layers of the group together

 private:
  KvType type_;
  std::vector<KvGroup> group_of_;  // [layers]
  std::vector<size_t> offset_of_;  // [layers], bytes in the buffer of the group
  Buffer buffers_[kKvGroups];
};

class Forward {
 public:
  // Activations are allocated once, for steps within the limits. If `dump` is set, each step writes its tensors.
  Forward(const Model& model, Backend& backend, const StepLimits& limits, std::unique_ptr<Dump> dump);
  static uint64_t workspace_bytes(const StepLimits& limits, const BackendSizes& sizes);

  // Appends the step's tokens to their sequences in `kv` and leaves logits [step.num_rows, vocab] in logits(). When
  // `stop` becomes true, the pass may end early, between layers. It then returns false, and logits() is undefined.
  bool run(const Step& step, const KvStorage& kv, const std::atomic<bool>& stop);

  float* logits() const { return logits_; }

 private:
  struct Part {
    void (*place)(Forward&, void* at);
    uint64_t bytes;
  };
  static std::vector<Part> parts(const StepLimits& limits, const BackendSizes& sizes);

  AdapterRows adapters_of(int layer, const Step& step);
  void attention_block(int index, const Step& step, const KvStorage& kv);
  void moe_block(int index, const Step& step);
  void head(const Step& step);

  const Model& model_;
  Backend& backend_;
  std::unique_ptr<Taps> taps_;  // null without a dump
  Buffer workspace_;
  float* x_ = nullptr;                               // [tokens, hidden] residual stream
  Operand normed_;                                   // [tokens, hidden]
  Operand q_;                                        // [tokens, q_size]
  Operand attended_;                                 // [tokens, q_size]
  float* router_logits_ = nullptr;                   // [tokens, experts]
  int32_t* expert_ = nullptr;                        // [tokens, top_k]
  float* expert_weight_ = nullptr;                   // [tokens, top_k]
  float* rows_ = nullptr;                            // [rows, hidden]
  Operand rows_normed_;                              // [rows, hidden]
  float* logits_ = nullptr;                          // [rows, vocab]
  std::vector<const LayerAdapter*> layer_adapters_;  // of the step's tokens, in one layer
};

}  // namespace oss
