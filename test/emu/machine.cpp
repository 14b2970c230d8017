// The machine (machine.h), and the host's queries about its driver and devices.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "test/emu/runtime.h"

namespace oss::emu {
namespace {

constexpr int kRuntimeVersion = 12040, kOldDriverVersion = 11040;

// Raises the machine's architecture to that of the compiled kernels.
void fit_to_compiled(State& on) {
  if (on.compiled == nullptr || 10 * on.machine.compute_major + on.machine.compute_minor < on.compiled->architecture())
    return;
  on.machine.compute_major = on.compiled->architecture() / 10;
  on.machine.compute_minor = on.compiled->architecture() % 10;
}

// EMULATED_GPU="devices=2 memory_bytes=100000000": for tests through Node, which cannot call set_machine().
void obey_environment(State& on) {
  const char* text = std::getenv("EMULATED_GPU");
  std::istringstream words(text == nullptr ? "" : text);
  for (std::string name; std::getline(words >> std::ws, name, '=');) {
    if (name == "ptx") {
      std::string folder;
      words >> folder;
      on.compiled = std::make_unique<ptx::Library>(folder);
      fit_to_compiled(on);
      continue;
    }
    if (name == "fault" || name == "hang") {
      words >> (name == "fault" ? on.faulty_kernel : on.hanging_kernel);
      continue;
    }
    size_t value = 0;
    words >> value;
    if (name == "devices") {
      on.machine.devices = int(value);
    } else if (name == "old_driver") {
      on.machine.old_driver = value != 0;
    } else if (name == "compute_major") {
      on.machine.compute_major = int(value);
    } else if (name == "multiprocessors") {
      on.machine.multiprocessors = int(value);
    } else if (name == "memory_bytes") {
      on.machine.memory_bytes = value;
    } else if (name == "seed") {
      on.seed = unsigned(value);
    } else if (name == "idle") {
      on.idle = value != 0;
    } else {
      std::fprintf(
          stderr,
          "EMULATED_GPU: \"%s\" is not devices, old_driver, compute_major, multiprocessors, memory_bytes, seed, idle, "
          "fault, hang or ptx\n",
          name.c_str());
      std::abort();
    }
  }
}

}  // namespace

thread_local constinit int current_device = 0;
thread_local constinit cudaError_t last_error = cudaSuccess;

State& state() {
  static State* never_destroyed = [] {  // streams may be used until the process ends
    State* created = new State;
    obey_environment(*created);
    return created;
  }();
  return *never_destroyed;
}

cudaError_t driver_error() {
  const Machine& machine = state().machine;
  return machine.devices == 0 || machine.old_driver ? cudaErrorInsufficientDriver : cudaSuccess;
}
cudaError_t device_error() {
  if (const cudaError_t error = driver_error()) return error;
  if (current_device >= state().machine.devices) return cudaErrorInvalidDevice;
  return state().devices[current_device].fault;
}
cudaError_t fail(cudaError_t status, const std::string& text) {
  state().last_fault = text;
  std::fprintf(stderr, "emulated device: %s\n", text.c_str());
  return status;
}

void set_machine(const Machine& machine) {
  const Lock lock(state().mutex);
  state().machine = machine;
  fit_to_compiled(state());
  state().seed = 0;
  state().launches_to_failure = 0;
  state().last_fault.clear();
  for (auto& [index, device] : state().devices) device.fault = cudaSuccess;
  last_error = cudaSuccess;
  current_device = 0;
}
void reset() { set_machine(Machine{}); }

void fail_launch(int n, int status) {
  const Lock lock(state().mutex);
  state().launches_to_failure = n;
  state().failure = cudaError_t(status);
}
void set_schedule_seed(unsigned seed) {
  const Lock lock(state().mutex);
  state().seed = seed;
}
size_t bytes_in_use(int device) {
  const Lock lock(state().mutex);
  return state().devices[device].in_use;
}
std::string last_fault() {
  const Lock lock(state().mutex);
  return state().last_fault;
}

}  // namespace oss::emu

using namespace oss::emu;

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorInvalidDeviceFunction:
      return "invalid device function";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNoKernelImageForDevice:
      return "no kernel image is available for execution on the device";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorMisalignedAddress:
      return "misaligned address";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorNotSupported:
      return "operation not supported";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureUnmatched:
      return "capture was not initiated in this stream";
    case cudaErrorStreamCaptureIsolation:
      return "dependency created on uncaptured work in another stream";
    case cudaErrorCapturedEvent:
      return "operation not permitted on an event last recorded in a capturing stream";
    case cudaErrorUnknown:
      return "unknown error";
  }
  return "unrecognized error code";
}

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaDriverGetVersion(int* version) {
  const Lock lock(state().mutex);
  const Machine& machine = state().machine;
  *version = machine.devices == 0 ? 0 : machine.old_driver ? kOldDriverVersion : kRuntimeVersion;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kRuntimeVersion;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  const Lock lock(state().mutex);
  *count = 0;
  if (const cudaError_t error = driver_error()) return remember(error);
  *count = state().machine.devices;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* index) {
  *index = current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int index) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = driver_error()) return remember(error);
  if (index < 0 || index >= state().machine.devices) return remember(cudaErrorInvalidDevice);
  current_device = index;
  return remember(device().fault);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* out, int index) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = driver_error()) return remember(error);
  const Machine& machine = state().machine;
  if (index < 0 || index >= machine.devices) return remember(cudaErrorInvalidDevice);
  *out = {};
  std::strcpy(out->name, "Emulated GPU");
  out->major = machine.compute_major;
  out->minor = machine.compute_minor;
  out->multiProcessorCount = machine.multiprocessors;
  out->totalGlobalMem = machine.memory_bytes;
  out->l2CacheSize = 32 << 20;
  out->sharedMemPerBlock = kSharedBytes;
  out->sharedMemPerBlockOptin = shared_bytes_on_request();
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  cudaDeviceProp properties{};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, index)) return error;
  *value = attribute == cudaDevAttrMultiProcessorCount ? properties.multiProcessorCount
                                                       : int(properties.sharedMemPerBlockOptin);
  return cudaSuccess;
}
