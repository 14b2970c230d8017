// Shared by the tests of Metal kernels. They run on the emulated GPU, with threads in several orders. On a Mac, where
// there is none, they run on its own GPU.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/common/dtype.h"
#include "native/backend/metal/device.h"
#include "native/backend/metal/encoder.h"
#include "native/backend/metal/operations.h"
#include "native/base/str.h"
#include "test/kernels/support.h"
#include "test/native/check.h"

namespace oss::test {

class MetalDevice {
 public:
  MetalDevice(std::shared_ptr<metal::Device> of, std::string called)
      : device(std::move(of)), name(std::move(called)), encoder(device) {}
  // Runs what was encoded.
  void finish() { encoder.wait(); }

  const std::shared_ptr<metal::Device> device;
  const std::string name;  // "emulated" and the order of its threads, or the GPU's name
  metal::Encoder encoder;
};

// The emulated device with threads in order, and in two shuffled orders; or the machine's GPU.
void for_each_metal_device(const std::function<void(MetalDevice&)>& body);

// Leaves out the n-th barrier from now on. False where nothing would find that: on a GPU.
bool drop_metal_barrier(int n);

// Device memory with `size` elements; every byte 0xCD until it is written: a NaN in f32, an absurd number elsewhere.
template <typename T>
class MetalArray {
 public:
  MetalArray(MetalDevice& device, size_t size)
      : device_(device), size_(size), data_(device.device->allocate(size == 0 ? sizeof(T) : size * sizeof(T))) {
    if (data_ == nullptr) fail(__FILE__, __LINE__, "no device memory");
    std::memset(data_, 0xCD, size * sizeof(T));
  }
  MetalArray(MetalDevice& device, const std::vector<T>& values) : MetalArray(device, values.size()) {
    std::memcpy(data_, values.data(), values.size() * sizeof(T));
  }
  ~MetalArray() { device_.device->release(data_); }
  MetalArray(const MetalArray&) = delete;
  MetalArray& operator=(const MetalArray&) = delete;

  T* data() const { return static_cast<T*>(data_); }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }
  // After all encoded work.
  std::vector<T> read() const {
    device_.finish();
    return {data(), data() + size_};
  }

 private:
  MetalDevice& device_;
  size_t size_;
  void* data_;
};

}  // namespace oss::test
