// Tensors without a file: their bytes are a function of a key (kernels/common/synthetic.h). This makes them on the
// host.
#pragma once
#include <cstdint>

#include "native/base/tensor.h"

namespace oss {

// Bytes [first_byte, first_byte + bytes) of a synthetic tensor, as a file would hold them.
void synthesize(const HostTensor& tensor, uint64_t first_byte, uint64_t bytes, void* to);

}  // namespace oss
