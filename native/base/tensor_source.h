// Makes the bytes of a tensor that no file holds as they are: they are converted from other tensors when they are read.
// Examples are experts of a file with another order, and weights with a merged adapter.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "native/base/tensor.h"

namespace oss {

class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // Writes bytes [first, first + bytes) of `tensor`, whose source this is. Any thread. The same range always gives the
  // same bytes, whatever ranges were read before. Throws as HostTensor::read.
  virtual void read(const HostTensor& tensor, uint64_t first, uint64_t bytes, void* to) const = 0;

  // The files whose content decides the bytes, for the check that nobody wrote to them.
  virtual std::vector<const MappedFile*> files() const = 0;

  // Whether the file holds this matrix in Q8 blocks (kernels/common/q8.h).
  virtual bool holds_q8() const { return false; }
  // Writes Q8 blocks [first, first + blocks) as they are in the file: 32 codes and a scale each. Returns false when a
  // block is none of ours, because its scale is negative. Any thread. Throws as read().
  virtual bool read_q8(const HostTensor&, uint64_t /*first*/, uint64_t /*blocks*/, int8_t* /*codes*/,
                       uint16_t* /*scales*/) const {
    return false;
  }

  // For MXFP4 scales: the greatest one that has been read.
  virtual uint8_t greatest_scale() const { return 0; }
};

inline bool holds_q8(const HostTensor& weight) { return weight.source != nullptr && weight.source->holds_q8(); }

}  // namespace oss
