// Weights on the CPU. They are used in place in the mapped file; only vectors (norms, biases, sinks) are copied, as
// f32. A unit that reads strips (kernels/cpu/strips.h) has its MXFP4 experts in a separate file, made once, or in memory.
//
// With DenseWeights::kQ8 matrices are copied in Q8 blocks. Exceptions: the router's matrix, matrices whose rows are not
// whole blocks, and matrices with a weight that has no scale. The file's pages are released after reading. Matrices that
// the file holds in Q8 blocks stay as they are there, whatever the option.
#pragma once
#include <memory>
#include <set>
#include <vector>

#include "kernels/cpu/kernels.h"
#include "native/backend/cpu/cpu_sizes.h"
#include "native/backend/weight_packer.h"
#include "native/base/made_memory.h"
#include "native/base/mapped_file.h"
#include "native/base/packed_file.h"
#include "native/base/thread_pool.h"

namespace oss {

class CpuWeights final : public WeightPacker {
 public:
  CpuWeights(const cpu::Kernels& kernels, const CpuSizes& sizes, ThreadPool& pool)
      : kernels_(kernels), sizes_(sizes), pool_(pool) {}

  PackedWeights keep_packed(std::span<const ExpertShape>, std::span<const std::string> places, uint64_t key,
                            const std::function<bool()>& cancelled) override;
  void reserve_weights(uint64_t) override {}
  Matrix pack_matrix(const HostTensor& weight, MatrixUse) override;
  Vector pack_vector(const HostTensor& vector) override;
  ExpertMatrix pack_experts(const HostTensor& blocks, const HostTensor& scales, const HostTensor& bias,
                            ExpertUse) override;
  ExpertMatrix pack_bf16_experts(const HostTensor& weights, const HostTensor& bias) override;
  void loaded() override;
  size_t packed_bytes() const override { return packed_bytes_; }

  // Throws kModelFormat when the files of the weights, mapped or copied, have been shortened or changed.
  void check_files() const;

 private:
  void remember_files(const HostTensor&);
  HostTensor keep(const HostTensor& tensor);  // with its data, for as long as this object
  using PackStrip = std::function<void(uint8_t* codes, uint8_t* scales)>;
  void for_each_strip(const HostTensor& blocks, const HostTensor& scales, ExpertUse,
                      const std::function<void(int64_t strip, const PackStrip&)>& body);
  void pack_strips_to_file(const HostTensor& blocks, const HostTensor& scales, ExpertUse, size_t codes,
                           size_t exponents);
  bool quantize(const HostTensor& weight, MatrixUse, int8_t* codes, uint16_t* scales);

  const cpu::Kernels& kernels_;
  const CpuSizes& sizes_;
  ThreadPool& pool_;

  MadeMemory made_;                    // weights without data in a file
  std::set<const MappedFile*> files_;  // files that hold weights, or from which weights were copied
  std::vector<std::unique_ptr<float[]>> packed_;
  std::vector<Buffer> weights_;  // Q8, and MXFP4 in strips
  size_t packed_bytes_ = 0;
  std::unique_ptr<PackedFile> packed_file_;  // codes and scales of each pack_experts(), in turn
  size_t next_section_ = 0;
};

}  // namespace oss
