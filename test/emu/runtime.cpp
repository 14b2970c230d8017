// The CUDA runtime's API on an emulated machine. Streams are lazy: what is queued runs when somebody waits for it, so a
// host that reads too early, or overwrites too early what a copy still needs, gets what it deserves.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "native/base/str.h"
#include "test/emu/guard.h"
#include "test/emu/include/cuda_runtime.h"
#include "test/emu/machine.h"

// What a stream has queued, or a graph recorded.
struct Queued {
  std::function<cudaError_t(bool before_early_start)> run;
  bool starts_early = false;  // a launch that may begin while the one before it still runs

  Queued() = default;
  template <typename Body>
  Queued(Body body, bool starts_early_ = false) : starts_early(starts_early_) {
    if constexpr (std::is_invocable_v<Body, bool>) {
      run = std::move(body);
    } else {
      run = [body = std::move(body)](bool) { return body(); };
    }
  }
};

struct CUgraph_st {
  std::vector<Queued> operations;
};
struct CUgraphExec_st {
  std::shared_ptr<const CUgraph_st> graph;
};
struct CUstream_st {
  int device;
  std::deque<Queued> operations;
  std::unique_ptr<CUgraph_st> capture;
  cudaError_t capture_error = cudaSuccess;
  std::thread::id capturing_thread;
};

namespace {

using namespace oss::emu;
using oss::str;

struct EventState {
  uint64_t queued = 0, done = 0;  // records
  cudaStream_t stream = nullptr;  // of the last record
  std::chrono::steady_clock::time_point at;
};

}  // namespace

struct CUevent_st {
  std::shared_ptr<EventState> state;
};

namespace {

constexpr int kRuntimeVersion = 12040, kOldDriverVersion = 11040;
constexpr size_t kSharedBytes = 48 << 10, kSharedBytesOnRequest = 163 << 10;  // of sm_80
constexpr size_t kPoisonedAllocation = 64 << 20;  // larger ones are not touched before a kernel does: they cost nothing

struct Memory {
  size_t bytes;
  int device;  // -1: pinned host memory
};

struct Device {
  cudaError_t fault = cudaSuccess;
  size_t in_use = 0;
  CUstream_st default_stream{};
  std::map<const void*, int> shared_limits;  // by kernel
  Pages last_written;                        // by the last launch, when the next one starts early
};

struct State {
  std::recursive_mutex mutex;
  Machine machine;
  std::map<int, Device> devices;
  std::map<const char*, Memory> memory;
  std::set<cudaStream_t> streams;
  std::set<cudaEvent_t> events;
  std::set<cudaGraph_t> graphs;
  std::set<cudaGraphExec_t> executables;
  unsigned seed = 0;
  bool idle = false;  // launches do nothing, and memory is zeros
  int launches_to_failure = 0;
  cudaError_t failure = cudaSuccess;
  std::string last_fault;
};

// EMULATED_GPU="devices=2 memory_bytes=100000000": for tests through Node, which cannot call set_machine().
void obey_environment(State& on) {
  const char* text = std::getenv("EMULATED_GPU");
  std::istringstream words(text == nullptr ? "" : text);
  for (std::string name; std::getline(words >> std::ws, name, '=');) {
    size_t value = 0;
    words >> value;
    if (name == "devices") {
      on.machine.devices = int(value);
    } else if (name == "old_driver") {
      on.machine.old_driver = value != 0;
    } else if (name == "compute_major") {
      on.machine.compute_major = int(value);
    } else if (name == "memory_bytes") {
      on.machine.memory_bytes = value;
    } else if (name == "seed") {
      on.seed = unsigned(value);
    } else if (name == "idle") {
      on.idle = value != 0;
    } else {
      std::fprintf(stderr, "EMULATED_GPU: \"%s\" is not devices, old_driver, compute_major, memory_bytes, seed or idle\n",
                   name.c_str());
      std::abort();
    }
  }
}

State& state() {
  static State* never_destroyed = [] {  // streams may be used until the very end of a process
    State* created = new State;
    obey_environment(*created);
    return created;
  }();
  return *never_destroyed;
}

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

using Lock = std::lock_guard<std::recursive_mutex>;

cudaError_t driver_error() {
  const Machine& machine = state().machine;
  return machine.devices == 0 || machine.old_driver ? cudaErrorInsufficientDriver : cudaSuccess;
}

// What every call begins with: a driver, and a device that has not failed.
cudaError_t device_error() {
  if (const cudaError_t error = driver_error()) return error;
  if (current_device >= state().machine.devices) return cudaErrorInvalidDevice;
  return state().devices[current_device].fault;
}

Device& device() { return state().devices[current_device]; }

// A stream by its handle, null where it is none; 0 is the device's default stream.
cudaStream_t find_stream(cudaStream_t stream) {
  if (stream == nullptr) {
    device().default_stream.device = current_device;
    return &device().default_stream;
  }
  return state().streams.count(stream) != 0 ? stream : nullptr;
}

// Runs what is queued, all of it or until `enough`. After a fault nothing runs, but events still happen.
template <typename Enough>
void run(cudaStream_t stream, Enough enough) {
  Device& on = state().devices[stream->device];
  while (!stream->operations.empty() && !enough()) {
    const Queued operation = std::move(stream->operations.front());
    stream->operations.pop_front();
    const bool before_early_start = !stream->operations.empty() && stream->operations.front().starts_early;
    const cudaError_t error = operation.run(before_early_start);
    if (error != cudaSuccess && on.fault == cudaSuccess) on.fault = error;
  }
}
void run(cudaStream_t stream) {
  run(stream, [] { return false; });
}

void run_device(int index) {
  run(&state().devices[index].default_stream);
  for (cudaStream_t stream : state().streams) {
    if (stream->device == index) run(stream);
  }
}

void queue(cudaStream_t stream, Queued operation) {
  if (stream->capture != nullptr) {
    stream->capture->operations.push_back(std::move(operation));
  } else {
    stream->operations.push_back(std::move(operation));
  }
}

// An operation that does nothing on a device that has failed.
template <typename Body>
Queued unless_failed(int index, Body body) {
  return [index, body]() -> cudaError_t {
    if (state().devices[index].fault != cudaSuccess) return cudaSuccess;
    state().devices[index].last_written.clear();
    return body();
  };
}

// Calls that may not be recorded spoil the recording of the thread that makes them.
cudaError_t forbid_while_capturing() {
  for (cudaStream_t stream : state().streams) {
    if (stream->capture != nullptr && stream->capturing_thread == std::this_thread::get_id()) {
      stream->capture_error = cudaErrorStreamCaptureInvalidated;
      return cudaErrorStreamCaptureUnsupported;
    }
  }
  return cudaSuccess;
}

// Whether [address, address + bytes) does not leave the allocation in which it begins, if there is one.
bool within_memory(const void* address, size_t bytes) {
  const char* first = static_cast<const char*>(address);
  auto after = state().memory.upper_bound(first);
  if (after == state().memory.begin()) return true;
  const auto& [begin, memory] = *std::prev(after);
  return first >= begin + memory.bytes || first + bytes <= begin + memory.bytes;
}

cudaError_t allocate(void** to, size_t bytes, int index) {
  *to = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (index >= 0) {
    Device& on = state().devices[index];
    if (bytes > state().machine.memory_bytes || on.in_use > state().machine.memory_bytes - bytes)
      return cudaErrorMemoryAllocation;
    on.in_use += bytes;
  }
  void* memory = nullptr;  // whole pages: see guard.h
  if (posix_memalign(&memory, kPageBytes, (bytes + kPageBytes - 1) / kPageBytes * kPageBytes) != 0) {
    if (index >= 0) state().devices[index].in_use -= bytes;
    return cudaErrorMemoryAllocation;
  }
  if (bytes <= kPoisonedAllocation) std::memset(memory, state().idle ? 0 : kPoison, bytes);
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(static_cast<char*>(memory) + bytes, (kPageBytes - bytes % kPageBytes) % kPageBytes);
#endif
  state().memory[static_cast<char*>(memory)] = {bytes, index};
  *to = memory;
  return cudaSuccess;
}

cudaError_t release(void* memory, bool pinned) {
  if (memory == nullptr) return cudaSuccess;
  const auto found = state().memory.find(static_cast<char*>(memory));
  if (found == state().memory.end() || (found->second.device < 0) != pinned) return cudaErrorInvalidValue;
  if (pinned) {
    for (auto& [index, unused] : state().devices) run_device(index);
  } else {
    run_device(found->second.device);
    state().devices[found->second.device].in_use -= found->second.bytes;
  }
  state().memory.erase(found);
  std::free(memory);
  return cudaSuccess;
}

cudaError_t fail(cudaError_t status, const std::string& text) {
  state().last_fault = text;
  std::fprintf(stderr, "emulated device: %s\n", text.c_str());
  return status;
}

std::vector<Span> device_memory(int index) {
  std::vector<Span> spans;
  for (const auto& [begin, memory] : state().memory) {
    if (memory.device == index)
      spans.push_back({const_cast<char*>(begin), (memory.bytes + kPageBytes - 1) / kPageBytes * kPageBytes});
  }
  return spans;
}

// A launch that starts early runs twice: first every thread up to its wait, with what the launch before has written out
// of reach, then all of it.
cudaError_t launch_now(int index, const Grid& grid, const std::function<void()>& body, bool starts_early,
                       bool before_early_start) {
  if (state().idle) return cudaSuccess;
  if (state().launches_to_failure > 0 && --state().launches_to_failure == 0) {
    return fail(state().failure, "a launch failed as it was told to");
  }
  Device& on = state().devices[index];
  std::optional<Fault> fault;
  if (starts_early) {
    const std::string trespassed = trespass(device_memory(index), on.last_written, [&] {
      fault = run_grid(grid, body, state().seed, Part::kBeforeWait);
    });
    if (!trespassed.empty()) return fail(cudaErrorLaunchFailure, trespassed);
  }
  on.last_written.clear();
  const auto run_all = [&] { fault = run_grid(grid, body, state().seed); };
  if (!fault && before_early_start) on.last_written = pages_written(device_memory(index), run_all);
  if (!fault && !before_early_start) run_all();
  if (fault) return fail(cudaError_t(fault->status), fault->text);
  return cudaSuccess;
}

Index index_of(const dim3& from) { return {from.x, from.y, from.z}; }

}  // namespace

// --- the machine
// --------------------------------------------------------------------------------------------------------

namespace oss::emu {

void set_machine(const Machine& machine) {
  const Lock lock(state().mutex);
  state().machine = machine;
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

cudaError_t queue_launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> body) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  const cudaStream_t stream = find_stream(config.stream);
  if (stream == nullptr || stream->device != current_device) return remember(cudaErrorInvalidResourceHandle);
  if (state().machine.compute_major < 8) return remember(cudaErrorNoKernelImageForDevice);
  const Grid grid{index_of(config.grid_size), index_of(config.block_size), config.dynamicSmemBytes};
  const bool possible = grid.threads.count() >= 1 && grid.threads.count() <= 1024 && grid.threads.z <= 64 &&
                        grid.blocks.x >= 1 && grid.blocks.x <= 0x7FFFFFFFu && grid.blocks.y >= 1 &&
                        grid.blocks.y <= 65535 && grid.blocks.z >= 1 && grid.blocks.z <= 65535;
  if (!possible) return remember(cudaErrorInvalidConfiguration);
  const auto limit = device().shared_limits.find(kernel);
  if (grid.shared_bytes > (limit == device().shared_limits.end() ? kSharedBytes : size_t(limit->second))) {
    return remember(cudaErrorInvalidValue);
  }
  bool starts_early = false;
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const cudaLaunchAttribute& attribute = config.attrs[i];
    if (attribute.id != cudaLaunchAttributeProgrammaticStreamSerialization || state().machine.compute_major < 9)
      return remember(cudaErrorNotSupported);
    starts_early = attribute.val.programmaticStreamSerializationAllowed != 0;
  }
  const auto run = [index = stream->device, grid, starts_early, body = std::move(body)](bool before_early_start) {
    if (state().devices[index].fault != cudaSuccess) return cudaSuccess;
    return launch_now(index, grid, body, starts_early, before_early_start);
  };
  queue(stream, {run, starts_early});
  return cudaSuccess;
}

}  // namespace oss::emu

// --- versions and devices
// -----------------------------------------------------------------------------------------------

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
  out->sharedMemPerBlockOptin = kSharedBytesOnRequest;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  cudaDeviceProp properties{};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, index)) return error;
  *value = attribute == cudaDevAttrMultiProcessorCount ? properties.multiProcessorCount
                                                       : int(properties.sharedMemPerBlockOptin);
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  if (const cudaError_t error = forbid_while_capturing()) return remember(error);
  run_device(current_device);
  return remember(device().fault);
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* out, const void* kernel) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  if (state().machine.compute_major < 8) return remember(cudaErrorNoKernelImageForDevice);
  const auto limit = device().shared_limits.find(kernel);
  *out = {1024, limit == device().shared_limits.end() ? int(kSharedBytes) : limit->second,
          10 * state().machine.compute_major + state().machine.compute_minor};
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  if (state().machine.compute_major < 8) return remember(cudaErrorNoKernelImageForDevice);
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;  // a matter of speed
  if (value < 0 || size_t(value) > kSharedBytesOnRequest) return remember(cudaErrorInvalidValue);
  device().shared_limits[kernel] = value;
  return cudaSuccess;
}

// --- memory
// ---------------------------------------------------------------------------------------------------------------

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  *total_bytes = state().machine.memory_bytes;
  *free_bytes = *total_bytes - std::min(*total_bytes, device().in_use);
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** memory, size_t bytes) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  if (const cudaError_t error = forbid_while_capturing()) return remember(error);
  return remember(allocate(memory, bytes, current_device));
}
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  if (const cudaError_t error = forbid_while_capturing()) return remember(error);
  return remember(allocate(memory, bytes, -1));
}
// On a failed device memory is given back all the same, so that a test can count it.
cudaError_t cudaFree(void* memory) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = forbid_while_capturing()) return remember(error);
  if (const cudaError_t error = release(memory, false)) return remember(error);
  return remember(device_error());
}
cudaError_t cudaFreeHost(void* memory) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = forbid_while_capturing()) return remember(error);
  if (const cudaError_t error = release(memory, true)) return remember(error);
  return remember(device_error());
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t handle) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  const cudaStream_t stream = find_stream(handle);
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (bytes == 0) return cudaSuccess;
  if (to == nullptr || from == nullptr || !within_memory(to, bytes) || !within_memory(from, bytes))
    return remember(cudaErrorInvalidValue);
  queue(stream, unless_failed(stream->device, [=] {
          std::memmove(to, from, bytes);
          return cudaSuccess;
        }));
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int byte, size_t bytes, cudaStream_t handle) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  const cudaStream_t stream = find_stream(handle);
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (bytes == 0) return cudaSuccess;
  if (to == nullptr || !within_memory(to, bytes)) return remember(cudaErrorInvalidValue);
  if (state().idle && byte == 0) return cudaSuccess;
  queue(stream, unless_failed(stream->device, [=] {
          std::memset(to, byte, bytes);
          return cudaSuccess;
        }));
  return cudaSuccess;
}

// --- streams and events
// -----------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  *stream = new CUstream_st{};
  (*stream)->device = current_device;
  state().streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(state().mutex);
  if (state().streams.count(stream) == 0) return remember(cudaErrorInvalidResourceHandle);
  run(stream);
  const cudaError_t fault = state().devices[stream->device].fault;
  state().streams.erase(stream);
  delete stream;
  return remember(fault);
}
cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  const cudaStream_t stream = find_stream(handle);
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    stream->capture_error = cudaErrorStreamCaptureInvalidated;
    return remember(cudaErrorStreamCaptureUnsupported);
  }
  run(stream);
  return remember(state().devices[stream->device].fault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  *event = new CUevent_st{std::make_shared<EventState>()};
  state().events.insert(*event);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Lock lock(state().mutex);
  if (state().events.erase(event) == 0) return remember(cudaErrorInvalidResourceHandle);
  delete event;
  return remember(device_error());
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  const cudaStream_t stream = find_stream(handle);
  if (stream == nullptr || state().events.count(event) == 0) return remember(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    stream->capture_error = cudaErrorStreamCaptureInvalidated;
    return remember(fail(cudaErrorNotSupported, "events within a captured graph are not emulated"));
  }
  event->state->stream = stream;
  queue(stream, [event = event->state, record = ++event->state->queued] {
    event->done = record;
    event->at = std::chrono::steady_clock::now();
    return cudaSuccess;
  });
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  const cudaStream_t stream = find_stream(handle);
  if (stream == nullptr || state().events.count(event) == 0) return remember(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    stream->capture_error = cudaErrorStreamCaptureInvalidated;
    return remember(cudaErrorStreamCaptureIsolation);
  }
  // Whatever is recorded later does not matter to this wait.
  queue(stream, [event = event->state, record = event->state->queued, other = event->state->stream] {
    if (event->done < record && state().streams.count(other) != 0) run(other, [&] { return event->done >= record; });
    return cudaSuccess;
  });
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  if (state().events.count(event) == 0) return remember(cudaErrorInvalidResourceHandle);
  EventState& of = *event->state;
  if (of.done == of.queued) return cudaSuccess;
  const uint64_t record = of.queued;
  run(of.stream, [&] { return of.done >= record; });
  return remember(device().fault);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  if (state().events.count(from) == 0 || state().events.count(to) == 0) return remember(cudaErrorInvalidResourceHandle);
  if (from->state->queued == 0 || to->state->queued == 0) return remember(cudaErrorInvalidResourceHandle);
  if (from->state->done != from->state->queued || to->state->done != to->state->queued) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(to->state->at - from->state->at).count();
  return cudaSuccess;
}

// --- graphs
// -------------------------------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  if (stream == nullptr) return remember(cudaErrorStreamCaptureUnsupported);  // the default stream cannot be captured
  if (state().streams.count(stream) == 0) return remember(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) return remember(cudaErrorInvalidValue);
  stream->capture = std::make_unique<CUgraph_st>();
  stream->capture_error = cudaSuccess;
  stream->capturing_thread = std::this_thread::get_id();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock(state().mutex);
  *graph = nullptr;
  if (const cudaError_t error = device_error()) return remember(error);
  if (state().streams.count(stream) == 0) return remember(cudaErrorInvalidResourceHandle);
  if (stream->capture == nullptr) return remember(cudaErrorStreamCaptureUnmatched);
  const std::unique_ptr<CUgraph_st> captured = std::move(stream->capture);
  if (stream->capture_error != cudaSuccess) return remember(stream->capture_error);
  *graph = new CUgraph_st(*captured);
  state().graphs.insert(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  if (state().graphs.count(graph) == 0) return remember(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st{std::make_shared<const CUgraph_st>(*graph)};
  state().executables.insert(*executable);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Lock lock(state().mutex);
  if (state().graphs.erase(graph) == 0) return remember(cudaErrorInvalidValue);
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  const cudaStream_t stream = find_stream(handle);
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (state().executables.count(executable) == 0) return remember(cudaErrorInvalidValue);
  queue(stream, [graph = executable->graph]() -> cudaError_t {
    for (size_t i = 0; i < graph->operations.size(); ++i) {
      const bool before_early_start = i + 1 < graph->operations.size() && graph->operations[i + 1].starts_early;
      if (const cudaError_t error = graph->operations[i].run(before_early_start)) return error;
    }
    return cudaSuccess;
  });
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  const Lock lock(state().mutex);
  if (state().executables.erase(executable) == 0) return remember(cudaErrorInvalidValue);
  delete executable;
  return cudaSuccess;
}
