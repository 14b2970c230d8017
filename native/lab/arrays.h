// The arguments of an operation of the lab: numbers, words and arrays by their names. An operation takes what it knows;
// what is missing, of another type, too short or too long, or not known at all, is an error that names the field.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "native/backend/backend.h"
#include "native/base/tensor.h"

namespace oss::lab {

// Memory of a device that a caller of the lab owns: elements of one type.
struct DeviceArray {
  DType dtype;
  size_t elements;
  Buffer buffer;
  const Backend* of;  // the device whose memory it is

  size_t bytes() const { return elements * dtype_bytes(dtype); }
};

// An array in host memory, or in that of a device.
struct Array {
  DType dtype = DType::kF32;
  size_t elements = 0;
  std::vector<std::byte> host;                 // its bytes, when `device` is null
  std::shared_ptr<DeviceArray> device{};       // then `host` is empty
  std::optional<SyntheticSource> synthetic{};  // then `host` is empty, too: bytes that are made where they are needed

  size_t bytes() const { return elements * dtype_bytes(dtype); }
  template <typename T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(host.data()), elements};
  }
};

template <typename T>
Array array_of(DType dtype, std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  return {.dtype = dtype, .elements = values.size(), .host = {bytes.begin(), bytes.end()}};
}

// The extents of an array, for its size and for messages.
struct Shape {
  std::vector<std::pair<const char*, int64_t>> extents;  // {"rows", 4}

  size_t elements() const;
  std::string text() const;  // "rows 4 x hidden 2880 = 11520"
};

class Arguments {
 public:
  std::string operation;
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> words;
  std::map<std::string, Array> arrays;

  // An integer in [least, most]. Without a default it must be given.
  int count(const char* name, int least = 1, int most = 1 << 24);
  int count_or(const char* name, int otherwise, int least = 1, int most = 1 << 24);
  float number_or(const char* name, float otherwise, float least, float most);
  // A seed: an integer in [0, 2^53).
  uint64_t seed_or(const char* name, uint64_t otherwise);
  std::string word_or(const char* name, const std::string& otherwise, std::initializer_list<const char*> known);

  // Whether an array was given. Throws kInvalidArgument for something else of this name.
  bool has(const char* name) const;
  // Of one of these types and this size. The host's arrays stay; those of a device are read where they are.
  Array& array(const char* name, std::initializer_list<DType> dtypes, const Shape& shape);
  // Of any size; then `elements` says how many there are.
  Array& array(const char* name, std::initializer_list<DType> dtypes);

  // Throws kInvalidArgument when something was not taken: it is misspelt, or of another operation.
  void check_all_taken() const;

 private:
  // What was given under this name, as errors of TypeScript write it; empty: nothing.
  std::string received(const char* name) const;
  bool has_number(const char* name, const char* expected) const;
  double take_number(const char* name, double least, double most, bool whole);
  std::set<std::string> taken_;
};

}  // namespace oss::lab
