#include "native/backend/cuda/graphs.h"

#include <algorithm>

namespace oss {

// A graph of the 120b has about 500 nodes and takes one or two megabytes; a service runs a few dozen shapes of steps.
constexpr size_t kMostGraphs = 96;

Graphs::~Graphs() {
  gpu_->module.use_device(gpu_->device);
  for (const auto& [key, entry] : graphs_) {
    if (entry.graph != nullptr) gpu_->module.destroy_graph(entry.graph);
  }
}

void Graphs::run(const StepKey& key, const std::function<void()>& body) {
  const auto [at, is_new] = graphs_.try_emplace(key);
  at->second.last_use = ++uses_;
  if (is_new) {
    // Recording a shape that occurs once does not pay. This run also loads kernels before they are recorded.
    body();
    if (graphs_.size() > kMostGraphs) forget_oldest();
    return;
  }
  if (at->second.graph == nullptr) at->second.graph = record(body);
  gpu_->check(gpu_->module.launch_graph(at->second.graph, gpu_->stream), "starting a recorded step");
}

void* Graphs::record(const std::function<void()>& body) {
  void* graph = nullptr;
  gpu_->check(gpu_->module.begin_capture(gpu_->stream), "beginning to record a step");
  try {
    body();
  } catch (...) {
    if (gpu_->module.end_capture(gpu_->stream, &graph) == 0) gpu_->module.destroy_graph(graph);
    throw;
  }
  gpu_->check(gpu_->module.end_capture(gpu_->stream, &graph), "recording a step");
  return graph;
}

void Graphs::forget_oldest() {
  const auto oldest = std::min_element(graphs_.begin(), graphs_.end(), [](const auto& a, const auto& b) {
    return a.second.last_use < b.second.last_use;
  });
  if (oldest->second.graph != nullptr) gpu_->module.destroy_graph(oldest->second.graph);
  graphs_.erase(oldest);
}

}  // namespace oss
