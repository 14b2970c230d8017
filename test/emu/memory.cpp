// Device memory and pinned host memory, both from the heap, counted and poisoned.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "test/emu/runtime.h"

namespace oss::emu {
namespace {

constexpr size_t kPoisonedAllocation = 64 << 20;  // larger ones stay untouched until a kernel uses them

// Whether [address, address + bytes) stays inside the allocation in which it begins. True if there is none.
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

// Wraps an operation so that it does nothing on a failed device.
template <typename Body>
Queued unless_failed(int index, Body body) {
  return [index, body]() -> cudaError_t {
    if (state().devices[index].fault != cudaSuccess) return cudaSuccess;
    state().devices[index].last_written.clear();
    return body();
  };
}

}  // namespace

std::vector<Span> device_memory(int index) {
  std::vector<Span> spans;
  for (const auto& [begin, memory] : state().memory) {
    if (memory.device == index)
      spans.push_back({const_cast<char*>(begin), (memory.bytes + kPageBytes - 1) / kPageBytes * kPageBytes});
  }
  return spans;
}

}  // namespace oss::emu

using namespace oss::emu;

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
// Memory is freed even on a failed device, so that a test can count it.
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
