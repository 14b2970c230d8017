// libgptoss_cuda: found beside this library when it is first asked for, and what it says about the machine. CUDA may be
// missing in many ways; each is told in words that a user can act on.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/module.h"

namespace oss {

enum class CudaState {
  kAvailable,
  kNotBuilt,  // no module was built, or none lies beside this library
  kDamaged,   // it does not load, or belongs to another version
  kNoDriver,
  kDriverTooOld,
  kNoDevice,           // none there, or none visible to this process
  kUnsupportedDevice,  // only some of a compute capability that the module has no kernels for
  kFailed,             // the driver says something else
};

struct CudaDevice {
  int index;  // N of "cuda:N"
  cuda::DeviceProperties properties;
  std::string problem;  // why it cannot be used; empty when it can
};

struct CudaPresence {
  CudaState state = CudaState::kFailed;
  std::string detail;               // the devices, or why there is none that can be used
  std::vector<CudaDevice> devices;  // all that are visible, whether usable or not
  std::string driver;               // the CUDA version that the driver supports, "13.0"; empty without one
};

// Opened once. Throws kUnsupported when there is none, saying why.
const cuda::Module& cuda_module();

// Asks anew at each call. Starts CUDA on one device of each compute capability; the calling thread's device is then 0.
CudaPresence cuda_presence();

// The device that "cuda" (the first usable one) or "cuda:N" means. Throws kUnsupported where CUDA or that device cannot
// be used, and kInvalidArgument for a number that no device has.
int cuda_device(std::string_view backend);

// Put in the place of the library, for instance the emulated module; nullptr puts the library back.
void set_cuda_module_for_tests(const cuda::Module* module);

// What cuda_module() does with the file beside this library. On success `why` stays empty.
const cuda::Module* open_cuda_module(const std::string& file, CudaState& state, std::string& why);

}  // namespace oss
