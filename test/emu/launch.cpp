// Kernel launches: the checks that a GPU makes, queueing, and running.
#include <chrono>
#include <optional>
#include <thread>

#include "native/base/str.h"
#include "test/emu/ptx/lane.h"
#include "test/emu/runtime.h"
#include "test/emu/symbols.h"

namespace oss::emu {
namespace {

bool is_planted(const void* kernel, const std::string& name) { return !name.empty() && has_name(kernel, name); }

// A launch that starts early runs twice. First every thread runs up to its wait, without access to the pages that the
// previous launch has written. Then everything runs.
cudaError_t launch_now(int index, const Grid& grid, const std::function<void()>& body, bool starts_early,
                       bool before_early_start, bool compiled, const void* kernel) {
  if (state().idle) return cudaSuccess;
  if (is_planted(kernel, state().faulty_kernel)) return fail(cudaErrorIllegalAddress, "a fault was planted");
  while (is_planted(kernel, state().hanging_kernel)) std::this_thread::sleep_for(std::chrono::seconds(1));
  if (state().launches_to_failure > 0 && --state().launches_to_failure == 0) {
    return fail(state().failure, "a launch failed as it was told to");
  }
  Device& on = state().devices[index];
  std::optional<Fault> fault;
  if (starts_early) {
    const std::string trespassed = trespass(device_memory(index), on.last_written,
                                            [&] { fault = run_grid(grid, body, state().seed, Part::kBeforeWait); });
    if (!trespassed.empty()) return fail(cudaErrorLaunchFailure, trespassed);
  }
  on.last_written.clear();
  const auto run_all = [&] { fault = run_grid(grid, body, state().seed); };
  if (!fault && before_early_start) on.last_written = pages_written(device_memory(index), run_all);
  if (!fault && !before_early_start) run_all();
  if (fault && compiled) fault->text += str(" at ", ptx::last_place());
  if (fault) return fail(cudaError_t(fault->status), fault->text);
  return cudaSuccess;
}

// The memory that a kernel may access on this device.
ptx::Memory reachable(int index) {
  ptx::Memory memory;
  for (const auto& [begin, one] : state().memory) {
    if (one.device == index || one.device < 0) memory.emplace_back(begin, one.bytes);
  }
  return memory;
}

// The compiled PTX of a kernel, or null.
const ptx::Kernel* find_compiled(const void* kernel) {
  return state().compiled == nullptr ? nullptr : state().compiled->find(kernel);
}
// Bytes of a kernel's shared variables, if they are known.
size_t static_shared_bytes(const void* kernel) {
  const ptx::Kernel* compiled = find_compiled(kernel);
  return compiled == nullptr ? 0 : compiled->static_shared_bytes;
}

Index index_of(const dim3& from) { return {from.x, from.y, from.z}; }

}  // namespace

cudaError_t queue_launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> body,
                         Arguments arguments) {
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
  const size_t most_shared =
      limit == device().shared_limits.end() ? kSharedBytes - static_shared_bytes(kernel) : size_t(limit->second);
  if (grid.shared_bytes > most_shared) return remember(cudaErrorInvalidValue);
  const ptx::Kernel* compiled = find_compiled(kernel);
  if (compiled != nullptr && grid.threads.count() > compiled->most_threads)
    return remember(cudaErrorInvalidConfiguration);
  bool starts_early = false;
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const cudaLaunchAttribute& attribute = config.attrs[i];
    if (attribute.id != cudaLaunchAttributeProgrammaticStreamSerialization || state().machine.compute_major < 9)
      return remember(cudaErrorNotSupported);
    starts_early = attribute.val.programmaticStreamSerializationAllowed != 0;
  }
  const auto run = [=, index = stream->device, body = std::move(body)](bool before_early_start) {
    if (state().devices[index].fault != cudaSuccess) return cudaSuccess;
    if (compiled == nullptr) return launch_now(index, grid, body, starts_early, before_early_start, false, kernel);
    Grid all_shared = grid;
    all_shared.shared_bytes = ptx::shared_bytes(*compiled, grid.shared_bytes);
    return launch_now(index, all_shared, ptx::thread_body(*compiled, arguments, reachable(index)), starts_early,
                      before_early_start, true, kernel);
  };
  queue(stream, {run, starts_early});
  return cudaSuccess;
}

}  // namespace oss::emu

using namespace oss::emu;

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
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;  // affects only speed
  if (value < 0 || size_t(value) + static_shared_bytes(kernel) > shared_bytes_on_request())
    return remember(cudaErrorInvalidValue);
  device().shared_limits[kernel] = value;
  return cudaSuccess;
}
