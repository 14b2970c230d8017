// The tensors of a checkpoint as its files hold them, before they are converted to canonical ones. A layout takes each
// by its name and shape; what nobody takes does not belong there.
#pragma once
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "native/base/tensor.h"

namespace oss {

// How a file packs the values of a tensor.
enum class Packing {
  kPlain,        // as the dtype says
  kQ8,           // 34 bytes: a float16 scale, 32 int8
  kMxfp4Halves,  // 17 bytes: the scale, 16 bytes whose low nibbles are elements 0..15, and the high ones 16..31
  kMxfp4Pairs,   // 17 bytes: the scale, 16 bytes with elements 2j and 2j + 1
  kOther,        // does not run
};

struct StoredTensor {
  HostTensor data;  // shape: of its elements, whatever the packing
  Packing packing = Packing::kPlain;
};

// Rows [first, first + count) of the first dimension.
StoredTensor rows_of(const StoredTensor& tensor, int64_t first, int64_t count);

class StoredTensors {
 public:
  // Messages about missing tensors name `where`.
  StoredTensors(std::map<std::string, StoredTensor> tensors, std::string where)
      : tensors_(std::move(tensors)), where_(std::move(where)) {}

  bool has(const std::string& name) const { return tensors_.contains(name); }
  // Null when it is absent, or taken already.
  const StoredTensor* find(const std::string& name) const;

  void add(const std::string& name, StoredTensor tensor) { tensors_.insert_or_assign(name, std::move(tensor)); }

  // Removes and returns the tensor with one of these names. Throws kModelFormat when there is none, and kModelShape when
  // its shape is another.
  StoredTensor take(std::initializer_list<std::string> names, const std::vector<int64_t>& shape);
  StoredTensor take(const std::string& name, const std::vector<int64_t>& shape) { return take({name}, shape); }
  StoredTensor take_any_shape(const std::string& name);

  // Throws kModelFormat when a tensor is left; `advice` is the end of the sentence.
  void finish(std::string_view advice = "") const;

 private:
  std::map<std::string, StoredTensor> tensors_;
  std::string where_;
};

}  // namespace oss
