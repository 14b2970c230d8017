// The weights of one operation, in as many copies as a bench rotates through. Each copy is packed for the device as a
// loaded model's is, and freed with this object.
#pragma once
#include <memory>
#include <variant>
#include <vector>

#include "native/backend/backend.h"
#include "native/lab/arrays.h"

namespace oss::lab {

// So many copies of `bytes` take `cold_bytes`; at least one, and 4,096 at most.
size_t copies_for(uint64_t bytes, size_t cold_bytes);

class Weights {
 public:
  // Each returns the place of the weight in every copy. The array's bytes are taken.
  size_t add_matrix(Array& values, int64_t rows, int64_t cols, MatrixUse use);
  size_t add_vector(Array& values);
  size_t add_experts(Array& blocks, Array& scales, Array& bias, ExpertShape shape, ExpertUse use);

  // In so many copies that they take `cold_bytes` together, at least one.
  void pack(Backend& backend, size_t cold_bytes);

  size_t copies() const { return copies_.size(); }
  const Matrix& matrix(size_t copy, size_t place) const { return std::get<Matrix>(copies_[copy].weights[place]); }
  const Vector& vector(size_t copy, size_t place) const { return std::get<Vector>(copies_[copy].weights[place]); }
  const ExpertMatrix& experts(size_t copy, size_t place) const {
    return std::get<ExpertMatrix>(copies_[copy].weights[place]);
  }

 private:
  struct OneMatrix {
    HostTensor tensor;
    MatrixUse use;
  };
  struct OneVector {
    HostTensor tensor;
  };
  struct Experts {
    HostTensor blocks, scales, bias;
    ExpertShape shape;
    ExpertUse use;
  };
  struct Copy {
    std::unique_ptr<WeightPacker> packer;  // owns the weights
    std::vector<std::variant<Matrix, Vector, ExpertMatrix>> weights;
  };
  std::vector<std::variant<OneMatrix, OneVector, Experts>> wanted_;
  std::vector<Copy> copies_;
};

}  // namespace oss::lab
