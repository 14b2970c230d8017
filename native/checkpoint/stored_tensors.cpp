#include "native/checkpoint/stored_tensors.h"

#include <utility>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss {

StoredTensor rows_of(const StoredTensor& tensor, int64_t first, int64_t count) {
  StoredTensor rows = tensor;
  const size_t row_bytes = tensor.data.bytes / size_t(tensor.data.shape[0]);
  rows.data.shape[0] = count;
  rows.data.data += size_t(first) * row_bytes;
  rows.data.bytes = size_t(count) * row_bytes;
  return rows;
}

const StoredTensor* StoredTensors::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

StoredTensor StoredTensors::take(std::initializer_list<std::string> names, const std::vector<int64_t>& shape) {
  for (const std::string& name : names) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) continue;
    StoredTensor tensor = std::move(found->second);
    tensors_.erase(found);
    if (tensor.data.shape != shape)
      throw Error(Code::kModelShape, str(tensor.data.file, ": tensor ", quote(name), ": expected shape ",
                                         str_shape(shape), ", found ", str_shape(tensor.data.shape)));
    return tensor;
  }
  throw Error(Code::kModelFormat, str(where_, ": expected a tensor ", quote(*names.begin()), " of shape ",
                                      str_shape(shape), ", found none"));
}

StoredTensor StoredTensors::take_any_shape(const std::string& name) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end())
    throw Error(Code::kModelFormat, str(where_, ": expected a tensor ", quote(name), ", found none"));
  StoredTensor tensor = std::move(found->second);
  tensors_.erase(found);
  return tensor;
}

void StoredTensors::finish(std::string_view advice) const {
  if (tensors_.empty()) return;
  const auto& [name, tensor] = *tensors_.begin();
  throw Error(Code::kModelFormat,
              str(tensor.data.file, ": tensor ", quote(name), ": no gpt-oss tensor of this name is expected, found ",
                  tensors_.size(), " too many", advice));
}

}  // namespace oss
