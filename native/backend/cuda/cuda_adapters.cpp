#include "native/backend/cuda/cuda_adapters.h"

#include <vector>

#include "kernels/cuda/layout.h"
#include "native/base/error.h"

namespace oss {
namespace {

static_assert(kMostRank == cuda::kMostLowRank);

uint64_t pointer_bytes(const StepLimits& limits) {
  return padded(uint64_t(limits.tokens) * sizeof(const cuda::LowRankTerm*));
}

size_t bytes_of(const Matrix& matrix) { return size_t(matrix.rows) * size_t(matrix.cols) * sizeof(uint16_t); }

}  // namespace

uint64_t CudaAdapters::work_bytes(const StepLimits& limits) {
  return pointer_bytes(limits) + padded(cuda::low_rank_sums_bytes(limits.tokens, limits.rows, limits.top_k));
}

uint64_t CudaAdapters::table_bytes(int layers, int experts) {
  return padded(size_t(terms_of_adapter(layers, experts)) * sizeof(cuda::LowRankTerm));
}

CudaAdapters::Work::Work(const std::shared_ptr<Gpu>& gpu, const StepLimits& limits)
    : memory(gpu->allocate(work_bytes(limits), "the terms of adapters")),
      pinned(gpu->allocate_pinned(pointer_bytes(limits), "the adapters of a step")),
      sums(reinterpret_cast<float*>(memory.as<std::byte>() + pointer_bytes(limits))),
      copied(gpu),
      last_use(std::make_shared<LastUse>(gpu)) {}

struct CudaAdapters::Held {
  ~Held() {
    // The last request with the adapter may have ended while the device computes a step with it.
    try {
      const std::lock_guard lock(last_use->mutex);
      last_use->event.await();
    } catch (const Error&) {  // a device that has failed reads no memory
    }
  }

  std::shared_ptr<LastUse> last_use;
  Buffer memory;  // the table of its terms, then their factors
  AdapterWeights weights;
};

std::shared_ptr<const AdapterWeights> CudaAdapters::hold(const AdapterWeights& host) {
  gpu_->use();
  if (work_ == nullptr) work_ = std::make_unique<Work>(gpu_, limits_);
  const int layers = int(host.layers.size());
  auto held = std::make_shared<Held>();
  held->last_use = work_->last_use;
  held->weights = host;
  std::vector<cuda::LowRankTerm> table(size_t(terms_of_adapter(layers, limits_.experts)));
  const std::vector<LowRank*> terms = number_terms(held->weights, limits_.experts);
  uint64_t bytes = table_bytes(layers, limits_.experts);
  for (const LowRank* term : terms) bytes += bytes_of(term->a) + bytes_of(term->b);

  // A stream of its own: that of the engine may be recording a step on another thread.
  const auto loader = std::make_shared<Gpu>(gpu_->module, gpu_->device);
  held->memory = gpu_->allocate(bytes, "an adapter");
  std::byte* next = held->memory.as<std::byte>() + table_bytes(layers, limits_.experts);
  const auto send = [&](Matrix& matrix) {
    auto* to = reinterpret_cast<uint16_t*>(next);
    next += bytes_of(matrix);
    loader->copy(to, matrix.data, bytes_of(matrix));
    matrix.data = to;
  };
  for (LowRank* term : terms) send(term->a);  // first, because they have whole rows of 64 bytes, and are read in 16
  for (LowRank* term : terms) send(term->b);
  for (const LowRank* term : terms) {
    table[size_t(term->number)] = {.a = term->a.data, .b = term->b.data, .rank = term->a.rows, .scale = term->scale};
  }
  loader->copy(held->memory.as<void>(), table.data(), table.size() * sizeof(cuda::LowRankTerm));
  loader->synchronize();
  held->weights.on_device = held->memory.as<void>();
  return {held, &held->weights};
}

void CudaAdapters::begin(const Step& step) {
  work_->copied.await();
  auto* host = work_->pinned.as<const cuda::LowRankTerm*>();
  for (size_t token = 0; token < step.adapters.size(); ++token) {
    const AdapterWeights* adapter = step.adapters[token];
    host[token] = adapter != nullptr ? static_cast<const cuda::LowRankTerm*>(adapter->on_device) : nullptr;
  }
  gpu_->copy(work_->memory.as<void>(), host, step.adapters.size_bytes());
  work_->copied.record();
}

void CudaAdapters::finish() {
  const std::lock_guard lock(work_->last_use->mutex);
  work_->last_use->event.record();
}

}  // namespace oss
