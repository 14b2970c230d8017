// Tensors of a file, and what is read of those that are made of them.
#pragma once
#include <algorithm>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "native/checkpoint/stored_tensors.h"
#include "test/native/check.h"

namespace oss::test {

inline StoredTensor stored_of(const std::vector<std::byte>& bytes, std::vector<int64_t> shape, DType dtype,
                              Packing packing) {
  HostTensor data{.name = "t", .file = "f", .dtype = dtype, .shape = std::move(shape)};
  data.data = bytes.data();
  data.bytes = bytes.size();
  return {data, packing};
}

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

inline std::vector<std::byte> read_all(const HostTensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes);
  tensor.read(0, bytes.size(), bytes.data());
  return bytes;
}

// Any range has the bytes of the whole.
inline void check_ranges(const HostTensor& tensor, uint32_t seed) {
  const std::vector<std::byte> whole = read_all(tensor);
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    const size_t first = random() % whole.size(), bytes = 1 + random() % std::min<size_t>(whole.size() - first, 4000);
    std::vector<std::byte> part(bytes);
    tensor.read(first, bytes, part.data());
    CHECK(std::memcmp(part.data(), whole.data() + first, bytes) == 0);
  }
}

}  // namespace oss::test
