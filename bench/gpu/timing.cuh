// Of floor.cu: errors, and the time of work queued on a stream.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
  std::exit(1);
}

// The least seconds of 15 runs after two warm-up runs.
inline double seconds(const std::function<void(cudaStream_t)>& body, cudaStream_t stream) {
  cudaEvent_t from, to;
  check(cudaEventCreate(&from), "event");
  check(cudaEventCreate(&to), "event");
  double least = 1e30;
  for (int i = 0; i < 17; ++i) {
    check(cudaEventRecord(from, stream), "record");
    body(stream);
    check(cudaEventRecord(to, stream), "record");
    check(cudaEventSynchronize(to), "run");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, from, to), "elapsed");
    if (i >= 2) least = std::min(least, double(milliseconds) / 1000);
  }
  check(cudaEventDestroy(from), "event");
  check(cudaEventDestroy(to), "event");
  return least;
}

// The launches of `body`, recorded for replay.
inline cudaGraphExec_t recorded(const std::function<void(cudaStream_t)>& body, cudaStream_t stream) {
  cudaGraph_t graph;
  cudaGraphExec_t ready;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  body(stream);
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&ready, graph, 0), "graph");
  check(cudaGraphDestroy(graph), "graph");
  return ready;
}

// Seconds of one replay of the launches of `body`.
inline double replay_seconds(const std::function<void(cudaStream_t)>& body, cudaStream_t stream) {
  const cudaGraphExec_t graph = recorded(body, stream);
  const double least = seconds([&](cudaStream_t s) { check(cudaGraphLaunch(graph, s), "graph"); }, stream);
  check(cudaGraphExecDestroy(graph), "graph");
  return least;
}
