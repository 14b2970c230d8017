// Shared by the tests of CUDA kernels. They run on every module that exists: the emulated one always, a GPU's if there
// is a GPU. Memory is poisoned before a kernel writes it.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/common/dtype.h"
#include "kernels/cuda/module.h"
#include "native/base/str.h"
#include "test/native/check.h"

namespace oss::test {

// All that a test needs to launch; it checks the `status` of every call.
class CudaDevice {
 public:
  CudaDevice(const cuda::Module& module, std::string name);
  ~CudaDevice();
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  void check(cuda::Status status, const char* what) const;  // throws kDevice
  void synchronize() const { check(module.synchronize(stream), "synchronize"); }

  const cuda::Module& module;
  const std::string name;  // "emulated" or the GPU's name
  cuda::Stream stream = nullptr;
};

// The emulated device, and the machine's first GPU if the real module finds one.
void for_each_cuda_device(const std::function<void(CudaDevice&)>& body);

// Device memory with `size` elements; every byte 0xCD until it is written: a NaN in f32, an absurd number elsewhere.
template <typename T>
class DeviceArray {
 public:
  DeviceArray(CudaDevice& device, size_t size) : device_(device), size_(size) {
    device_.check(device_.module.allocate(&data_, bytes()), "allocate");
    device_.check(device_.module.fill(data_, 0xCD, bytes(), device_.stream), "fill");
    device_.synchronize();
  }
  DeviceArray(CudaDevice& device, const std::vector<T>& values) : DeviceArray(device, values.size()) { write(values); }
  ~DeviceArray() { device_.module.release(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return static_cast<T*>(data_); }
  size_t size() const { return size_; }
  size_t bytes() const { return (size_ == 0 ? 1 : size_) * sizeof(T); }

  void write(std::span<const T> values) {
    device_.check(device_.module.copy(data_, values.data(), values.size_bytes(), device_.stream), "copy to the device");
    device_.synchronize();
  }
  // Waits for all queued work first.
  std::vector<T> read() const {
    std::vector<T> values(size_);
    device_.check(device_.module.copy(values.data(), data_, size_ * sizeof(T), device_.stream), "copy to the host");
    device_.synchronize();
    return values;
  }

 private:
  CudaDevice& device_;
  size_t size_;
  void* data_ = nullptr;
};

// Values that bf16 holds exactly, so that a test compares sums, not the rounding of its inputs.
inline std::vector<float> bf16_values(size_t size, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(size);
  for (float& value : out) value = bf16_to_f32(f32_to_bf16(normal(random)));
  return out;
}

}  // namespace oss::test
