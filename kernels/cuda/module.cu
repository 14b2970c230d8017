// The module's table: the CUDA runtime in plain C types, and the launchers.
#include "kernels/cuda/module.h"

#include <cstring>

#include "kernels/cuda/launch.cuh"

#ifndef OSS_CUDA_ARCHITECTURES
#error "the build says which architectures it compiles for"
#endif

namespace oss::cuda {
namespace {

cudaStream_t stream_of(Stream stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

const char* explain(Status status) { return cudaGetErrorString(cudaError_t(status)); }

Status versions(int* driver, int* runtime) {
  if (const cudaError_t status = cudaDriverGetVersion(driver); status != cudaSuccess) return status;
  return cudaRuntimeGetVersion(runtime);
}

Status device_count(int* count) {
  const cudaError_t status = cudaGetDeviceCount(count);
  cudaGetLastError();  // otherwise the runtime would report it again to the next caller
  return status;
}

Status device_properties(int device, DeviceProperties* out) {
  cudaDeviceProp from{};
  if (const cudaError_t status = cudaGetDeviceProperties(&from, device); status != cudaSuccess) return status;
  *out = {};
  static_assert(sizeof(out->name) == sizeof(from.name));
  std::memcpy(out->name, from.name, sizeof(out->name));
  out->compute_major = from.major;
  out->compute_minor = from.minor;
  out->multiprocessors = from.multiProcessorCount;
  out->memory_bytes = from.totalGlobalMem;
  out->l2_bytes = uint64_t(from.l2CacheSize);
  out->shared_bytes = from.sharedMemPerBlockOptin;
  return cudaSuccess;
}

__global__ void probe_kernel() {}

Status probe() {
  cudaFuncAttributes attributes{};
  const cudaError_t status = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(&probe_kernel));
  cudaGetLastError();
  return status;
}

Status use_device(int device) { return cudaSetDevice(device); }
Status memory_info(size_t* free_bytes, size_t* total_bytes) { return cudaMemGetInfo(free_bytes, total_bytes); }

Status allocate(void** memory, size_t bytes) {
  const cudaError_t status = cudaMalloc(memory, bytes);
  if (status != cudaSuccess) cudaGetLastError();  // a full device is not a broken one
  return status;
}
Status release(void* memory) { return cudaFree(memory); }
Status allocate_pinned(void** memory, size_t bytes) {
  const cudaError_t status = cudaHostAlloc(memory, bytes, cudaHostAllocDefault);
  if (status != cudaSuccess) cudaGetLastError();
  return status;
}
Status release_pinned(void* memory) { return cudaFreeHost(memory); }

Status create_stream(Stream* stream) {
  cudaStream_t created = nullptr;
  const cudaError_t status = cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking);
  *stream = created;
  return status;
}
Status destroy_stream(Stream stream) { return cudaStreamDestroy(stream_of(stream)); }
Status synchronize(Stream stream) { return cudaStreamSynchronize(stream_of(stream)); }

Status create_event(void** event) {
  cudaEvent_t created = nullptr;
  const cudaError_t status = cudaEventCreateWithFlags(&created, cudaEventDefault);
  *event = created;
  return status;
}
Status destroy_event(void* event) { return cudaEventDestroy(event_of(event)); }
Status record_event(void* event, Stream stream) { return cudaEventRecord(event_of(event), stream_of(stream)); }
Status await_event(void* event) { return cudaEventSynchronize(event_of(event)); }
Status elapsed(void* from, void* to, float* milliseconds) {
  return cudaEventElapsedTime(milliseconds, event_of(from), event_of(to));
}

Status copy(void* to, const void* from, size_t bytes, Stream stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream));
}
Status fill(void* to, int byte, size_t bytes, Stream stream) {
  return cudaMemsetAsync(to, byte, bytes, stream_of(stream));
}

Status begin_capture(Stream stream) {
  return cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal);
}
Status end_capture(Stream stream, void** graph) {
  cudaGraph_t recorded = nullptr;
  cudaError_t status = cudaStreamEndCapture(stream_of(stream), &recorded);
  if (status != cudaSuccess) return status;
  cudaGraphExec_t ready = nullptr;
  status = cudaGraphInstantiate(&ready, recorded, 0);
  cudaGraphDestroy(recorded);
  *graph = ready;
  return status;
}
Status launch_graph(void* graph, Stream stream) {
  return cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream));
}
Status destroy_graph(void* graph) { return cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

constexpr Module kModule = {.abi = kModuleAbi,
                            .architectures = OSS_CUDA_ARCHITECTURES,
                            .explain = explain,
                            .versions = versions,
                            .device_count = device_count,
                            .device_properties = device_properties,
                            .probe = probe,
                            .use_device = use_device,
                            .memory_info = memory_info,
                            .allocate = allocate,
                            .release = release,
                            .allocate_pinned = allocate_pinned,
                            .release_pinned = release_pinned,
                            .create_stream = create_stream,
                            .destroy_stream = destroy_stream,
                            .synchronize = synchronize,
                            .create_event = create_event,
                            .destroy_event = destroy_event,
                            .record_event = record_event,
                            .await_event = await_event,
                            .elapsed = elapsed,
                            .copy = copy,
                            .fill = fill,
                            .begin_capture = begin_capture,
                            .end_capture = end_capture,
                            .launch_graph = launch_graph,
                            .destroy_graph = destroy_graph,
#define OSS_ENTRY(name) .name = oss::cuda::name,
                            OSS_CUDA_KERNELS(OSS_ENTRY)
#undef OSS_ENTRY
};

}  // namespace
}  // namespace oss::cuda

extern "C" __attribute__((visibility("default"))) const oss::cuda::Module* gptoss_cuda_module() {
  return &oss::cuda::kModule;
}
