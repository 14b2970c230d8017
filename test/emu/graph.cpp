// Graphs: a stream records operations instead of queueing them; a launch of the graph queues all of them at once.
#include "test/emu/runtime.h"

namespace oss::emu {

cudaError_t forbid_while_capturing() {
  for (cudaStream_t stream : state().streams) {
    if (stream->capture != nullptr && stream->capturing_thread == std::this_thread::get_id()) {
      stream->capture_error = cudaErrorStreamCaptureInvalidated;
      return cudaErrorStreamCaptureUnsupported;
    }
  }
  return cudaSuccess;
}

}  // namespace oss::emu

using namespace oss::emu;

struct CUgraphExec_st {
  std::shared_ptr<const CUgraph_st> graph;
};

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
