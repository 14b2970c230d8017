// The parts that operations share: operands in device memory, results, and the arrays of a step.
#pragma once
#include <string>
#include <vector>

#include "native/lab/lab.h"

namespace oss::lab {

// Elements [first, first + count) of an array as float32: bf16 is widened, synthetic values are made.
void read_floats(Lab& lab, const Array& from, size_t first, std::span<float> to);
// All elements.
std::vector<float> read_floats(Lab& lab, const Array& from);
std::vector<int32_t> read_integers(Lab& lab, const Array& from);
// Moves what lies on a device into the array's host memory, so that it can be packed.
void bring_to_host(Lab& lab, Array& array);
// Also makes the bytes of a synthetic array.
std::vector<std::byte> bytes_on_host(Lab& lab, const Array& array);

class OnDevice : public Operation {
 public:
  Outputs outputs() override;

 protected:
  explicit OnDevice(Lab& lab) : lab_(lab), backend_(lab.backend()) {}

  void* room(size_t bytes);  // freed with the operation
  float* floats(size_t count) { return static_cast<float*>(room(count * sizeof(float))); }
  float* upload(std::span<const float> values);
  int32_t* upload(std::span<const int32_t> values);

  // A float32 input: a caller's buffer is used as it is.
  const float* input(const Array& array);
  const int32_t* integers(const Array& array);
  // An input of a product, rounded as the device rounds activations. `low`: with the rounding errors.
  Operand operand(const Array& array, bool low = false);

  // A result: in the caller's buffer of that name, if there is one. `from`: its values before the run, or null.
  float* result(Arguments& arguments, const char* name, const Shape& shape, const Array* from = nullptr);
  int32_t* integer_result(Arguments& arguments, const char* name, const Shape& shape);
  Operand operand_result(Arguments& arguments, const char* name, const Shape& shape);

  // The step of this many tokens: up to 32 are sequences of one token each, more are one prompt. rows: the first so
  // many have logits.
  void make_step(int tokens, int rows = 0);
  struct StepArrays {
    std::vector<int32_t> tokens, positions, sequence, table, rows;
    std::vector<float> rope;
    int max_pages = 1;
  };
  void set_step(StepArrays arrays);
  StepArrays& arrays() { return arrays_; }

  Lab& lab_;
  Backend& backend_;

 private:
  enum class Kind { kFloats, kIntegers, kOperand };
  struct Result {
    const char* name;
    Kind kind;
    const void* at;
    size_t elements;
    std::shared_ptr<DeviceArray> device;  // the caller's, or null
  };
  void* place(Arguments& arguments, const char* name, Kind kind, DType dtype, size_t elements);

  StepArrays arrays_;
  std::vector<Buffer> buffers_;
  std::vector<std::shared_ptr<DeviceArray>> held_;  // callers' buffers in use
  std::vector<Result> results_;
};

constexpr int kMostSequences = 32;  // of a step whose tokens are not one prompt

}  // namespace oss::lab
