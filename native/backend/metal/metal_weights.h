// Weights on Metal. CPU and GPU share memory, and the kernels read the layout of the checkpoint's files. So a mapped
// file is wrapped in buffers, without a copy. Copied are vectors (as f32), weights that no file holds as they are, and
// those that a file does not align to 8 bytes.
//
// With DenseWeights::kQ8 matrices are copied in Q8 (kernels/common/q8.h), except the router's, those whose rows are not
// whole blocks, and those with a weight that has no scale. Matrices that a file holds in Q8 blocks keep their numbers,
// whatever the option.
#pragma once
#include <memory>
#include <set>
#include <vector>

#include "native/backend/metal/device.h"
#include "native/backend/metal/metal_sizes.h"
#include "native/backend/weight_packer.h"
#include "native/base/mapped_file.h"
#include "native/base/thread_pool.h"

namespace oss {

class MetalWeights final : public WeightPacker {
 public:
  MetalWeights(std::shared_ptr<metal::Device> device, const MetalSizes& sizes);
  ~MetalWeights() override;

  void reserve_weights(uint64_t bytes) override;
  Matrix pack_matrix(const HostTensor& weight, MatrixUse) override;
  Vector pack_vector(const HostTensor& vector) override;
  ExpertMatrix pack_experts(const HostTensor& blocks, const HostTensor& scales, const HostTensor& bias,
                            ExpertUse) override;
  void loaded() override;
  size_t packed_bytes() const override { return copied_bytes_; }

  // Throws kModelFormat when the files of the weights have been shortened or changed.
  void check_files() const;

 private:
  struct Range {
    const std::byte *begin, *end;
  };
  void remember_files(const HostTensor&);
  // Where the GPU will read the tensor: in its file, or in a copy.
  const std::byte* place(const HostTensor& tensor, size_t alignment);
  std::byte* take(size_t bytes);
  void give_back(size_t bytes);  // what take() returned last
  bool quantize(const HostTensor& weight, int8_t* codes, uint16_t* scales);
  void wrap_files();

  std::shared_ptr<metal::Device> device_;
  const MetalSizes& sizes_;
  ThreadPool pool_;
  Buffer reserved_;  // for the copies of the plan
  size_t reserved_used_ = 0;
  bool last_reserved_ = false;  // whether take() returned a part of it last
  std::vector<Buffer> others_;  // copies beyond the plan
  std::vector<Range> in_files_;
  std::vector<const std::byte*> wrapped_;
  std::set<const MappedFile*> files_;
  size_t copied_bytes_ = 0;
};

}  // namespace oss
