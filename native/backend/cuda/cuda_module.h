// libgptoss_cuda: loads it at its first use, from the folder of this library or from its own package, and lists the
// GPUs. If CUDA is missing, the message says how to fix that.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/module.h"

namespace oss {

enum class CudaState {
  kAvailable,
  kNotBuilt,  // no module was built, or it is not beside this library
  kDamaged,   // it cannot be loaded, or belongs to another version
  kNoDriver,
  kDriverTooOld,
  kNoDevice,           // no device exists, or none is visible to this process
  kUnsupportedDevice,  // no device has a compute capability for which the module has kernels
  kFailed,             // the driver returned another error
};

struct CudaDevice {
  int index;  // N of "cuda:N"
  cuda::DeviceProperties properties;
  std::string problem;  // why it cannot be used; empty when it can
};

struct CudaPresence {
  CudaState state = CudaState::kFailed;
  std::string detail;               // the devices, or the reason why none can be used
  std::vector<CudaDevice> devices;  // all visible devices, usable or not
  std::string driver;               // the CUDA version that the driver supports, "13.0"; empty without a driver
};

// The place of libgptoss_cuda when there is none beside this library. Takes effect before the first use only.
void set_cuda_module_file(const std::string& file);

// Loaded once. Throws kUnsupported with the reason when there is no module.
const cuda::Module& cuda_module();

// Queries the devices at each call. Starts CUDA on one device of each compute capability; sets the thread to device 0.
CudaPresence cuda_presence();

// Returns the device for "cuda" (the first usable one) or "cuda:N". Throws kUnsupported when CUDA or that device cannot
// be used, and kInvalidArgument for a number without a device.
int cuda_device(std::string_view backend);

// Replaces the library, for instance by the emulated module; nullptr restores the library.
void set_cuda_module_for_tests(const cuda::Module* module);

// Loads a module as cuda_module() does with the file beside this library. On success `why` stays empty.
const cuda::Module* open_cuda_module(const std::string& file, CudaState& state, std::string& why);

}  // namespace oss
