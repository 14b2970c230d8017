// The CUDA runtime's API on an emulated machine. Streams are lazy: queued operations run when the host waits for them.
// So a host that reads too early, or overwrites data that a queued copy needs, gets wrong results. This is the common
// part of machine.cpp, memory.cpp, stream.cpp, graph.cpp and launch.cpp.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "test/emu/guard.h"
#include "test/emu/include/cuda_runtime.h"
#include "test/emu/machine.h"
#include "test/emu/ptx/library.h"

// One operation that a stream has queued or a graph has recorded.
struct Queued {
  std::function<cudaError_t(bool before_early_start)> run;
  bool starts_early = false;  // a launch that may begin while the previous one runs

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
struct CUstream_st {
  int device;
  std::deque<Queued> operations;
  std::unique_ptr<CUgraph_st> capture;
  cudaError_t capture_error = cudaSuccess;
  std::thread::id capturing_thread;
};

namespace oss::emu {

constexpr size_t kSharedBytes = 48 << 10;

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
  bool idle = false;                          // launches do nothing, and memory is zeros
  std::string faulty_kernel, hanging_kernel;  // name prefixes from the environment; a reset keeps them
  int launches_to_failure = 0;
  cudaError_t failure = cudaSuccess;
  std::string last_fault;
  std::unique_ptr<const ptx::Library> compiled;  // runs in place of the kernels that g++ compiled
};

State& state();
using Lock = std::lock_guard<std::recursive_mutex>;

extern thread_local constinit int current_device;
extern thread_local constinit cudaError_t last_error;

inline size_t shared_bytes_on_request() { return (state().machine.compute_major < 9 ? 163 : 227) << 10; }

inline Device& device() { return state().devices[current_device]; }

inline cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

// --- machine.cpp -----------------------------------------------------------------------------------------------------

cudaError_t driver_error();
// The check at the start of every call: a driver exists, and the device has not failed.
cudaError_t device_error();
// Returns `status`; writes its reason to last_fault() and stderr.
cudaError_t fail(cudaError_t status, const std::string& text);

// --- memory.cpp ------------------------------------------------------------------------------------------------------

std::vector<Span> device_memory(int index);

// --- stream.cpp ------------------------------------------------------------------------------------------------------

// Finds a stream by its handle; null where there is none. 0 is the device's default stream.
cudaStream_t find_stream(cudaStream_t);
// Queues an operation, or adds it to the graph that the stream is recording.
void queue(cudaStream_t, Queued);
// Runs all queued operations of a device.
void run_device(int index);

// --- graph.cpp -------------------------------------------------------------------------------------------------------

// For calls that must not be recorded: they invalidate the calling thread's recording.
cudaError_t forbid_while_capturing();

}  // namespace oss::emu
