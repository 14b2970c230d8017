#include "native/base/tensor.h"

#include <cstring>

#include "native/base/mapped_file.h"
#include "native/base/synthetic_tensor.h"
#include "native/base/tensor_source.h"

namespace oss {

const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return "BOOL";
    case DType::kU8:
      return "U8";
    case DType::kI8:
      return "I8";
    case DType::kI16:
      return "I16";
    case DType::kU16:
      return "U16";
    case DType::kI32:
      return "I32";
    case DType::kU32:
      return "U32";
    case DType::kI64:
      return "I64";
    case DType::kU64:
      return "U64";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kF32:
      return "F32";
    case DType::kF64:
      return "F64";
  }
  return "?";
}

void HostTensor::read(size_t first, size_t bytes, void* to) const {
  if (synthetic) {
    synthesize(*this, first, bytes, to);
  } else if (source != nullptr) {
    source->read(*this, first, bytes, to);
  } else if (mapping != nullptr) {
    mapping->read(uint64_t(data - mapping->data()) + first, bytes, to);
  } else {
    std::memcpy(to, data + first, bytes);
  }
}

}  // namespace oss
