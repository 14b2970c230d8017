// The C ABI between the addon and libgptoss_cuda, which is loaded at run time: the addon itself needs no CUDA library.
// The CUDA runtime is linked into the module, and finds the driver's symbols at its first use.
#pragma once
#include "kernels/cuda/kernels.h"

namespace oss::cuda {

// Raised when anything in kernels.h or here changes: an addon refuses a module with another number.
constexpr int kModuleAbi = 7;

struct DeviceProperties {
  char name[256];
  int compute_major, compute_minor;
  int multiprocessors;
  uint64_t memory_bytes, l2_bytes;
  uint64_t shared_bytes;  // the most that a block may have
};

struct Module {
  int abi;
  const char* architectures;  // the compiled architectures, e.g. "80;90a"

  const char* (*explain)(Status);
  // Both 0 where there is no driver. The runtime's version, as 1000 * major + 10 * minor.
  Status (*versions)(int* driver, int* runtime);
  Status (*device_count)(int*);
  Status (*device_properties)(int device, DeviceProperties*);
  // Whether a kernel of this module runs on the current device: finds unsupported architectures before loading.
  Status (*probe)();
  Status (*use_device)(int device);  // for the calling thread
  Status (*memory_info)(size_t* free_bytes, size_t* total_bytes);

  Status (*allocate)(void** device_memory, size_t bytes);
  Status (*release)(void* device_memory);
  Status (*allocate_pinned)(void** host_memory, size_t bytes);
  Status (*release_pinned)(void* host_memory);

  Status (*create_stream)(Stream*);
  Status (*destroy_stream)(Stream);
  Status (*synchronize)(Stream);
  Status (*create_event)(void** event);
  Status (*destroy_event)(void* event);
  Status (*record_event)(void* event, Stream);
  Status (*await_event)(void* event);  // the caller waits
  Status (*elapsed)(void* from_event, void* to_event, float* milliseconds);

  Status (*copy)(void* to, const void* from, size_t bytes, Stream);  // host memory must be pinned and stay untouched
  Status (*fill)(void* to, int byte, size_t bytes, Stream);

  // Launches between the two are recorded instead of run.
  Status (*begin_capture)(Stream);
  Status (*end_capture)(Stream, void** graph);
  Status (*launch_graph)(void* graph, Stream);
  Status (*destroy_graph)(void* graph);

  // One line for each kernel.
  // clang-format off
#define OSS_CUDA_KERNELS(X) \
  X(pack_matrix) \
  X(pack_expert_codes) \
  X(pack_expert_scales) \
  X(synthesize) \
  X(embed) \
  X(gather_rows) \
  X(rms_norm) \
  X(linear) \
  X(norm_linear) \
  X(qkv) \
  X(norm_qkv) \
  X(attention_split) \
  X(attention_tiles) \
  X(router) \
  X(experts) \
  X(few_experts) \
  X(low_rank) \
  X(qkv_low_rank) \
  X(experts_low_rank) \
  X(sample) \
  X(read_memory) \
  X(multiply)
// clang-format on
#define OSS_DECLARE(name) decltype(&oss::cuda::name) name;
  OSS_CUDA_KERNELS(OSS_DECLARE)
#undef OSS_DECLARE
};

}  // namespace oss::cuda

// The module's only exported symbol.
extern "C" const oss::cuda::Module* gptoss_cuda_module();
