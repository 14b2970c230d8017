#include "native/backend/cuda/cuda_backend.h"

#include <algorithm>

#include "kernels/cuda/plan.h"
#include "kernels/cuda/sample_scratch.h"
#include "native/backend/cuda/cuda_module.h"
#include "native/backend/registry.h"
#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {
namespace {

// Capacities for which steps are recorded: a step of 13 sequences runs as one of 16. Small steps are bound by weights,
// so this costs nothing; no capacity is more than a third too large.
int bucket_of(int n) {
  if (n <= 2) return n;
  for (int step = 1;; step *= 2) {
    if (n <= 4 * step) return (n + step - 1) / step * step;
  }
}

// Larger steps, and steps with chunks of prompts, rarely repeat, and are long enough to hide their launches.
constexpr int kMostRecordedTokens = 512;

// A window is divided equally at every position: by the largest number of pages that it can touch.
int window_splits(int window) {
  int splits = 1;
  for (int position = window; position < window + kPageTokens; ++position) {
    splits = std::max(splits, cuda::visible_pages(position, window).splits);
  }
  return splits;
}

}  // namespace

BackendStatus cuda_status() {
  const CudaPresence presence = cuda_presence();
  return {"cuda", presence.state == CudaState::kAvailable, presence.detail};
}

static void check_options(const BackendOptions& options) {
  if (options.numerics == "exact") {
    throw Error(Code::kUnsupported,
                "numerics \"exact\" is not what GPUs compute: they have \"fast\"; the CPU backend has \"exact\"",
                "numerics");
  }
  if (options.dense_weights == DenseWeights::kQ8) {
    throw Error(Code::kUnsupported, "denseWeights \"q8\" is for the CPU and Metal backends; CUDA has \"bf16\"",
                "denseWeights");
  }
  if (options.expert_weights == ExpertWeights::kBF16) {
    throw Error(Code::kUnsupported,
                "expertWeights \"bf16\" is for the CPU backend; use \"mxfp4\" on a GPU, or backend \"cpu\"",
                "expertWeights");
  }
}

PlannedDevice planned_cuda(const BackendOptions& options) {
  check_options(options);
  return {.sizes = std::make_unique<CudaSizes>(options.repeatable),
          .info = {.backend = "cuda", .device = "", .isa = "", .numerics = "fast"}};
}

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options) {
  check_options(options);
  const int device = cuda_device(options.backend == "auto" ? "cuda" : options.backend);
  return std::make_unique<CudaBackend>(cuda_module(), device, options.repeatable);
}

CudaBackend::CudaBackend(const cuda::Module& module, int device, bool repeatable)
    : gpu_(std::make_shared<Gpu>(module, device)),
      module_(module),
      repeatable_(repeatable),
      sizes_(repeatable),
      weights_(gpu_),
      adapters_(gpu_),
      graphs_(std::make_unique<Graphs>(gpu_)) {}

CudaBackend::~CudaBackend() {
  // No memory may be freed while a kernel still uses it.
  gpu_->module.use_device(gpu_->device);
  gpu_->module.synchronize(gpu_->stream);
}

DeviceInfo CudaBackend::info() const {
  return {.backend = "cuda",
          .device = gpu_->properties.name,
          .isa = str("sm_", gpu_->properties.compute_major, gpu_->properties.compute_minor),
          .threads = gpu_->properties.multiprocessors,
          .numerics = "fast"};
}

Buffer CudaBackend::allocate(size_t bytes, const char* what) {
  Buffer buffer = gpu_->allocate(bytes, what);
  if (bytes > 0) gpu_->check(module_.fill(buffer.as<void>(), 0, bytes, gpu_->stream), "clearing memory");
  return buffer;
}

// --- steps -----------------------------------------------------------------------------------------------------------

void CudaBackend::reserve_workspace(const StepLimits& l) {
  limits_ = l;
  adapters_.reserve_workspace(l);
  const int singles = sizes_.most_singles(l);
  sampling_ = std::make_unique<SamplingBuffers>(gpu_, l.rows, l.vocab);
  step_ = std::make_unique<StepBuffers>(gpu_, l, repeatable_, sampling_->results());
  attention_scratch_ = gpu_->allocate(cuda::attention_scratch_bytes(singles, l.heads), "attention");
  attention_counters_ = allocate(cuda::attention_counter_bytes(singles, l.kv_heads), "attention");
  experts_scratch_ = gpu_->allocate(cuda::experts_scratch(l.tokens, l.top_k, l.experts, l.hidden, l.intermediate).bytes,
                                    "the experts' activations");
  const cuda::ExpertsScratch at = cuda::experts_scratch(l.tokens, l.top_k, l.experts, l.hidden, l.intermediate);
  gpu_->check(module_.fill(experts_scratch_.as<std::byte>() + at.done, 0, at.lists - at.done, gpu_->stream),
              "clearing memory");
  most_fused_tokens_ = cuda::most_fused_tokens(
      {.hidden = l.hidden, .intermediate = l.intermediate, .experts = l.experts, .top_k = l.top_k},
      {.multiprocessors = gpu_->properties.multiprocessors, .shared_bytes = size_t(gpu_->properties.shared_bytes)});
  sample_scratch_ = gpu_->allocate(cuda::sample_scratch_bytes({.rows = l.rows, .vocab = l.vocab}), "sampling");
}

const int32_t* CudaBackend::count_of(RowsOf rows) const {
  const cuda::StepCounts* counts = step_->device().counts;
  return rows == RowsOf::kTokens ? &counts->tokens : &counts->rows;
}

void CudaBackend::begin(const Step& step) {
  gpu_->use();
  const StepFacts facts = step_->upload(step);
  has_adapters_ = !step.adapters.empty();
  if (has_adapters_) adapters_.begin(step);
  // The launches of a step with adapters depend on the matrices that these change.
  recorded_ = facts.tiles == 0 && step.num_tokens <= kMostRecordedTokens && !has_adapters_;
  tiles_ = facts.tiles;
  singles_ = facts.singles;
  capacity_ = {.tokens = step.num_tokens, .rows = step.num_rows, .splits = facts.splits};
  if (!recorded_) return;
  capacity_ = {.tokens = std::min(bucket_of(step.num_tokens), limits_.tokens),
               .rows = std::min(bucket_of(step.num_rows), limits_.rows),
               .splits = std::min(bucket_of(facts.splits), cuda::kMaxSplits)};
  singles_ = capacity_.tokens;
}

void CudaBackend::run(const std::function<void()>& body, bool may_repeat) {
  if (recorded_ && may_repeat) {
    graphs_->run(capacity_, body);
  } else {
    body();
  }
  if (has_adapters_) adapters_.finish();
}

double CudaBackend::timed(const std::function<void()>& work, bool again) {
  gpu_->use();
  std::shared_ptr<void> graph;
  std::function<void()> start = work;
  if (again) {
    graph = {graphs_->record(work), [this](void* recorded) { module_.destroy_graph(recorded); }};
    start = [&] { gpu_->check(module_.launch_graph(graph.get(), gpu_->stream), "starting recorded work"); };
    start();  // the first start takes the graph to the device
  }
  GpuEvent from(gpu_), to(gpu_);
  from.record();
  start();
  to.record();
  to.await();
  return from.seconds_until(to);
}

void CudaBackend::embed(const EmbedArgs& args, const Matrix& table, const Step&, float* x) {
  launched(
      module_.embed({.tokens = capacity_.tokens, .hidden = args.hidden}, step_->device(), table.data, x, gpu_->stream),
      "embed");
}

void CudaBackend::gather_rows(const Step&, int hidden, const float* x, float* rows) {
  launched(module_.gather_rows({.tokens = capacity_.rows, .hidden = hidden}, step_->device(), x, rows, gpu_->stream),
           "gather_rows");
}

void CudaBackend::rms_norm(const RmsNormArgs& args, RowsOf rows, const float* x, const Vector& w, Operand y) {
  launched(module_.rms_norm({.rows = capacity_of(rows), .hidden = args.hidden, .eps = args.eps}, count_of(rows), x,
                            w.data, y.as<uint16_t>(), static_cast<uint16_t*>(y.low), gpu_->stream),
           "rms_norm");
}

void CudaBackend::linear(const LinearArgs& args, RowsOf rows, Operand x, const Matrix& w, const Vector* bias,
                         float* y) {
  linear(args, rows, x, w, bias, y, {});
}

void CudaBackend::linear(const LinearArgs& args, RowsOf rows, Operand x, const Matrix& w, const Vector* bias, float* y,
                         const cuda::Prefetch& next) {
  LinearArgs in_step = args;
  in_step.rows = capacity_of(rows);
  const auto* low = args.precise != 0 ? static_cast<const uint16_t*>(x.low) : nullptr;
  launched(module_.linear(in_step, count_of(rows), x.as<uint16_t>(), low, w.data,
                          bias != nullptr ? bias->data : nullptr, y, next, gpu_->stream),
           "linear");
}

static bool changes_moe(const LayerAdapter& of) { return !of.router.empty() || changes_experts(of); }

// The matrices of q, k and v are adjacent, and so are their biases: they were packed one after the other.
void CudaBackend::qkv(const QkvArgs& args, const Step&, Operand x, const QkvWeights& weights, AdapterRows adapters,
                      Operand q, void* cache) {
  QkvArgs in_step = args;
  in_step.tokens = capacity_.tokens;
  if (const LayerAdapter* adapter = first_with(adapters, changes_qkv)) {
    launched(module_.qkv_low_rank(in_step, step_->device(), adapters_.device(), adapter->q.number, x.as<uint16_t>(),
                                  weights.q.data, weights.q_bias.data, q.as<uint16_t>(), cache, gpu_->stream),
             "qkv_low_rank");
    return;
  }
  launched(module_.qkv(in_step, step_->device(), x.as<uint16_t>(), weights.q.data, weights.q_bias.data,
                       q.as<uint16_t>(), cache, gpu_->stream),
           "qkv");
}

void CudaBackend::attention(const AttentionArgs& args, const Step&, Operand q, const void* cache, const Vector& sinks,
                            Operand out) {
  AttentionArgs in_step = args;
  in_step.max_pages = step_->device().max_pages;
  if (singles_ > 0) {
    in_step.tokens = singles_;
    const int splits = args.window > 0 ? window_splits(args.window) : capacity_.splits;
    launched(module_.attention_split(in_step, step_->device(), splits, q.as<uint16_t>(), cache, sinks.data,
                                     attention_scratch_.as<float>(), attention_counters_.as<int32_t>(),
                                     out.as<uint16_t>(), gpu_->stream),
             "attention_split");
  }
  if (tiles_ > 0) {
    in_step.tokens = capacity_.tokens;
    launched(module_.attention_tiles(in_step, step_->device(), tiles_, q.as<uint16_t>(), cache, sinks.data,
                                     out.as<uint16_t>(), gpu_->stream),
             "attention_tiles");
  }
}

void CudaBackend::router(const RouterArgs& args, const float* logits, int32_t* index, float* weight) {
  launched(module_.router({.tokens = capacity_.tokens, .experts = args.experts, .top_k = args.top_k},
                          count_of(RowsOf::kTokens), logits, index, weight, gpu_->stream),
           "router");
}

static cuda::PackedExperts packed(const ExpertMatrix& matrix) { return {matrix.blocks, matrix.scales, matrix.bias}; }

void CudaBackend::experts(const ExpertsArgs& args, Operand normed, const int32_t* index, const float* weight,
                          const ExpertMatrix& gate_up, const ExpertMatrix& down, AdapterRows adapters, float* x) {
  ExpertsArgs in_step = args;
  in_step.tokens = capacity_.tokens;
  if (const LayerAdapter* adapter = first_with(adapters, changes_experts)) {
    const int begin = layer_begin(*adapter);
    const cuda::ExpertTerms terms = {.gate_up = gate_up_term(begin, 0), .down = down_term(begin, args.experts, 0)};
    launched(module_.experts_low_rank(in_step, adapters_.device(), terms, count_of(RowsOf::kTokens),
                                      normed.as<uint16_t>(), index, weight, packed(gate_up), packed(down),
                                      experts_scratch_.as<void>(), x, gpu_->stream),
             "experts_low_rank");
    return;
  }
  launched(module_.experts(in_step, count_of(RowsOf::kTokens), normed.as<uint16_t>(), index, weight, packed(gate_up),
                           packed(down), experts_scratch_.as<void>(), x, gpu_->stream),
           "experts");
}

void CudaBackend::low_rank(RowsOf rows, std::span<const LowRank* const> terms, Operand x, float* y) {
  const auto found = std::ranges::find_if(terms, [](const LowRank* term) { return term != nullptr && !term->empty(); });
  if (found == terms.end()) return;
  const LowRank& term = **found;
  launched(module_.low_rank({.rows = capacity_of(rows), .in = term.a.cols, .out = term.b.rows, .number = term.number},
                            adapters_.device(), count_of(rows),
                            rows == RowsOf::kLogits ? step_->device().logit_tokens : nullptr, x.as<uint16_t>(),
                            static_cast<const uint16_t*>(x.low), y, gpu_->stream),
           "low_rank");
}

// --- blocks ----------------------------------------------------------------------------------------------------------

// The memory of the matrix that is read next: q, k and v are adjacent.
static cuda::Prefetch prefetch_of(const QkvWeights* weights) {
  if (weights == nullptr) return {};
  const int64_t rows = int64_t(weights->q.rows) + weights->k.rows + weights->v.rows;
  return {weights->q.data, cuda::packed_matrix_bytes(rows, weights->q.cols)};
}

void CudaBackend::attention_block(const AttentionBlock& b, const Step& step) {
  if (!b.adapters.empty()) {
    Backend::attention_block(b, step);
    return;
  }
  if (fuses()) {
    QkvArgs in_step = b.qkv_args;
    in_step.tokens = capacity_.tokens;
    launched(module_.norm_qkv(in_step, b.norm_args.eps, step_->device(), b.x, b.norm.data, b.qkv.q.data,
                              b.qkv.q_bias.data, b.q.as<uint16_t>(), b.cache, gpu_->stream),
             "norm_qkv");
  } else {
    rms_norm(b.norm_args, RowsOf::kTokens, b.x, b.norm, b.normed);
    qkv(b.qkv_args, step, b.normed, b.qkv, b.adapters, b.q, b.cache);
  }
  attention(b.attention_args, step, b.q, b.cache, b.sinks, b.attended);
  linear(b.o_args, RowsOf::kTokens, b.attended, b.o, &b.o_bias, b.x, prefetch_of(b.next_qkv));
}

void CudaBackend::moe_block(const MoeBlock& b) {
  if (!fuses() || first_with(b.adapters, changes_moe) != nullptr) {
    Backend::moe_block(b);
    return;
  }
  LinearArgs router = b.router_args;
  router.rows = capacity_.tokens;
  launched(module_.norm_linear(router, b.norm_args.eps, count_of(RowsOf::kTokens), b.x, b.norm.data, b.router.data,
                               b.router_bias.data, b.normed.as<uint16_t>(), b.router_logits, gpu_->stream),
           "norm_linear");
  ExpertsArgs experts = b.experts_args;
  experts.tokens = capacity_.tokens;
  launched(module_.few_experts(experts, count_of(RowsOf::kTokens), b.router_logits, b.normed.as<uint16_t>(),
                               packed(b.gate_up), packed(b.down), experts_scratch_.as<void>(), b.x, gpu_->stream),
           "few_experts");
}

// --- draws -----------------------------------------------------------------------------------------------------------

void CudaBackend::sample(int rows, int vocab, float* logits, std::span<const SamplingArgs> args,
                         std::span<const SamplingContext> contexts) {
  gpu_->use();
  const SamplingBuffers::Device on_device = sampling_->upload(args, contexts);
  launched(module_.sample({.rows = rows, .vocab = vocab}, on_device.num_rows, logits, on_device.rows, on_device.seen,
                          on_device.bias, sample_scratch_.as<void>(), sampling_->results(), gpu_->stream),
           "sample");
  sampling_->download(rows);
}

std::vector<Sampled> CudaBackend::sampled() {
  gpu_->use();
  std::vector<Sampled> out;
  for (const cuda::SampleResult& from : sampling_->await()) {
    Sampled& one = out.emplace_back(Sampled{.token = from.token, .logprob = from.logprob, .top = {}});
    for (int i = 0; i < from.num_top; ++i) one.top.push_back({from.top_token[i], from.top_logprob[i]});
  }
  return out;
}

void CudaBackend::read(const float* from, std::span<float> to) {
  gpu_->use();
  gpu_->copy(to.data(), from, to.size_bytes());
  gpu_->synchronize();
}

void CudaBackend::write(std::span<const float> from, float* to) {
  gpu_->use();
  gpu_->copy(to, from.data(), from.size_bytes());
  gpu_->synchronize();
}

}  // namespace oss
