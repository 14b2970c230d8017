#include "native/backend/cuda/cuda_backend.h"

#include <algorithm>

#include "kernels/cuda/plan.h"
#include "native/backend/cuda/cuda_module.h"
#include "native/backend/registry.h"
#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {
namespace {

constexpr uint64_t aligned(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

// Capacities that steps are recorded for: a step of 13 sequences runs as one of 16. Small steps are bound by weights and
// do not notice; none is more than a third larger than needed.
int bucket_of(int n) {
  if (n <= 2) return n;
  for (int step = 1;; step *= 2) {
    if (n <= 4 * step) return (n + step - 1) / step * step;
  }
}

// Steps of more tokens, and those with chunks of prompts, are rarely alike, and long enough to hide their launches.
constexpr int kMostRecordedTokens = 512;

// A window is divided the same way wherever it stands: by the most pages that it can touch.
int window_splits(int window) {
  int splits = 1;
  for (int position = window; position < window + kPageTokens; ++position) {
    splits = std::max(splits, cuda::visible_pages(position, window).splits);
  }
  return splits;
}

void expect(const HostTensor& tensor, bool accepted, const char* expected) {
  if (accepted) return;
  throw Error(Code::kUnsupported, str(tensor.file, ": the CUDA backend needs ", expected, " for ", tensor.name,
                                      " but it is ", dtype_name(tensor.dtype)));
}

// Weights are decoded by moving bits into a bf16 and multiplying it with a power of two, which must be one itself.
void expect_scales(const HostTensor& scales) {
  if (scales.greatest_scale <= cuda::kMaxScaleByte) return;
  throw Error(Code::kUnsupported,
              str(scales.file, ": tensor ", scales.name, ": the CUDA backend takes MXFP4 scales up to 2 (byte ",
                  cuda::kMaxScaleByte, "), found byte ", int(scales.greatest_scale)));
}

}  // namespace

BackendStatus cuda_status() {
  const CudaPresence presence = cuda_presence();
  return {"cuda", presence.state == CudaState::kAvailable, presence.detail};
}

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options) {
  if (options.numerics == "exact") {
    throw Error(Code::kUnsupported,
                "numerics \"exact\" is not what GPUs compute: they have \"fast\"; the CPU backend has \"exact\"");
  }
  if (options.dense_weights == DenseWeights::kQ8) {
    throw Error(Code::kUnsupported, "denseWeights \"q8\" is for the CPU backend; GPUs have \"bf16\"");
  }
  const int device = cuda_device(options.backend == "auto" ? "cuda" : options.backend);
  return std::make_unique<CudaBackend>(cuda_module(), device, options.repeatable);
}

CudaBackend::CudaBackend(const cuda::Module& module, int device, bool repeatable)
    : gpu_(std::make_shared<Gpu>(module, device)),
      module_(module),
      repeatable_(repeatable),
      graphs_(std::make_unique<Graphs>(gpu_)) {}

CudaBackend::~CudaBackend() {
  // Nothing of it is freed under a kernel that still runs.
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

// Larger chunks of a prompt read each weight less often; where every token walks over its keys alone, each takes 0.5 MB
// of scratch memory instead.
BackendDefaults CudaBackend::defaults() const {
  return {.kv_type = kKvBF16, .max_batch_tokens = repeatable_ ? 256 : 2048};
}

void CudaBackend::check(const StepLimits& limits, KvType type) const {
  const auto refuse = [](const auto&... words) { throw Error(Code::kUnsupported, str("the CUDA backend ", words...)); };
  if (type == kKvF32) refuse("has no \"f32\" KV cache: kvCache.dtype can be \"bf16\" or \"fp8\"");
  if (limits.head_dim != kHeadDim) refuse("is made for heads of ", kHeadDim, ", not of ", limits.head_dim);
  if (limits.heads > 16 * limits.kv_heads)
    refuse("has at most 16 query heads to a KV head, not ", limits.heads, " to ", limits.kv_heads);
  if (limits.experts > 256) refuse("has at most 256 experts, not ", limits.experts);
  for (const int size : {limits.hidden, limits.intermediate}) {
    if (size % kMxBlock != 0) refuse("needs layers in multiples of ", kMxBlock, ", not of ", size);
  }
}

Buffer CudaBackend::allocate(size_t bytes, const char* what) {
  Buffer buffer = gpu_->allocate(bytes, what);
  if (bytes > 0) gpu_->check(module_.fill(buffer.as<void>(), 0, bytes, gpu_->stream), "clearing memory");
  return buffer;
}

// --- weights --------------------------------------------------------------------------------------------------------------

uint64_t CudaBackend::matrix_bytes(int64_t rows, int64_t cols, MatrixUse use) const {
  return aligned(use == MatrixUse::kTable ? uint64_t(rows) * cols * 2 : cuda::packed_matrix_bytes(rows, cols));
}

uint64_t CudaBackend::vector_bytes(int64_t size) const { return aligned(uint64_t(size) * sizeof(float)); }

uint64_t CudaBackend::experts_bytes(int64_t experts, int64_t rows, int64_t cols) const {
  return aligned(uint64_t(experts) * cuda::packed_codes_bytes(rows, cols)) +
         aligned(uint64_t(experts) * cuda::packed_scales_bytes(rows, cols));
}

void CudaBackend::reserve_weights(uint64_t bytes) {
  weights_ = gpu_->allocate(bytes, "the weights");
  stream_ = std::make_unique<WeightStream>(gpu_);
}

std::byte* CudaBackend::take_weights(uint64_t bytes) {
  if (weights_used_ + aligned(bytes) > weights_.bytes()) throw Error(Code::kInternal, "more weights than were planned");
  std::byte* at = weights_.as<std::byte>() + weights_used_;
  weights_used_ += aligned(bytes);
  return at;
}

void CudaBackend::send_units(const HostTensor& tensor, int64_t units, size_t unit_bytes,
                             const std::function<void(const void*, int64_t, int64_t)>& pack) {
  const int64_t piece = std::max<int64_t>(1, int64_t(WeightStream::kPieceBytes / unit_bytes));
  for (int64_t first = 0; first < units; first += piece) {
    const int64_t count = std::min(piece, units - first);
    const size_t begin = size_t(first) * unit_bytes;
    stream_->send(tensor, begin, std::min(size_t(count) * unit_bytes, tensor.bytes - begin),
                  [&](const void* raw) { pack(raw, first, count); });
  }
}

Matrix CudaBackend::pack_matrix(const HostTensor& weight, MatrixUse use) {
  if (use != MatrixUse::kTable) return pack_product(weight, cuda::kRowsPlain);
  expect(weight, weight.dtype == DType::kBF16 && weight.shape.size() == 2, "a BF16 matrix");
  std::byte* to = take_weights(weight.bytes);
  stream_->send(weight, to);
  return {reinterpret_cast<const uint16_t*>(to), int(weight.shape[0]), int(weight.shape[1])};
}

Matrix CudaBackend::pack_rope_matrix(const HostTensor& weight) { return pack_product(weight, cuda::kRowsRope); }

Matrix CudaBackend::pack_product(const HostTensor& weight, cuda::RowOrder order) {
  expect(weight, weight.dtype == DType::kBF16 && weight.shape.size() == 2, "a BF16 matrix");
  const int rows = int(weight.shape[0]), cols = int(weight.shape[1]);
  std::byte* to = take_weights(cuda::packed_matrix_bytes(rows, cols));
  constexpr int kUnit = kHeadDim;  // rows; whole heads, and whole tiles
  send_units(weight, (rows + kUnit - 1) / kUnit, size_t(kUnit) * cols * sizeof(uint16_t),
             [&](const void* raw, int64_t first, int64_t count) {
               const int begin = int(first) * kUnit, end = std::min(rows, begin + int(count) * kUnit);
               launched(module_.pack_matrix({.rows = end - begin, .cols = cols, .order = order},
                                            static_cast<const uint16_t*>(raw),
                                            to + size_t(begin) * cols * sizeof(uint16_t), gpu_->stream),
                        "pack_matrix");
             });
  return {reinterpret_cast<const uint16_t*>(to), rows, cols};
}

Vector CudaBackend::pack_vector(const HostTensor& vector) {
  expect(vector, vector.dtype == DType::kBF16 || vector.dtype == DType::kF32, "BF16 or F32");
  const size_t size = size_t(vector.elements());
  std::byte* to = take_weights(size * sizeof(float));
  stream_->send_f32(vector, to);
  return {reinterpret_cast<const float*>(to), int(size)};
}

ExpertMatrix CudaBackend::pack_experts(const HostTensor& blocks, const HostTensor& scales, const HostTensor& bias,
                                       ExpertUse use) {
  expect(blocks, blocks.dtype == DType::kU8 && blocks.shape.size() == 4, "U8 [experts, rows, cols/32, 16]");
  expect(scales, scales.dtype == DType::kU8, "U8");
  const int experts = int(blocks.shape[0]), rows = int(blocks.shape[1]), cols = int(blocks.shape[2]) * kMxBlock;
  expect_scales(scales);
  const size_t codes_bytes = cuda::packed_codes_bytes(rows, cols), scales_bytes = cuda::packed_scales_bytes(rows, cols);
  const cuda::RowOrder order = use == ExpertUse::kGateUp ? cuda::kRowsGateUp : cuda::kRowsPlain;
  std::byte* to_codes = take_weights(size_t(experts) * codes_bytes);
  std::byte* to_scales = take_weights(size_t(experts) * scales_bytes);
  const auto args = [&](int64_t count) {
    return cuda::PackExpertsArgs{.experts = int(count), .rows = rows, .cols = cols, .order = order};
  };
  send_units(blocks, experts, blocks.bytes / size_t(experts), [&](const void* raw, int64_t first, int64_t count) {
    launched(module_.pack_expert_codes(args(count), static_cast<const uint8_t*>(raw),
                                       to_codes + size_t(first) * codes_bytes, gpu_->stream),
             "pack_expert_codes");
  });
  send_units(scales, experts, scales.bytes / size_t(experts), [&](const void* raw, int64_t first, int64_t count) {
    launched(module_.pack_expert_scales(args(count), static_cast<const uint8_t*>(raw),
                                        to_scales + size_t(first) * scales_bytes, gpu_->stream),
             "pack_expert_scales");
  });
  return {reinterpret_cast<const uint8_t*>(to_codes),
          reinterpret_cast<const uint8_t*>(to_scales),
          pack_vector(bias).data,
          experts,
          rows,
          cols};
}

void CudaBackend::loaded() {
  stream_->finish();
  stream_.reset();
}

// --- steps ----------------------------------------------------------------------------------------------------------------

uint64_t CudaBackend::workspace_bytes(const StepLimits& l) const {
  const int singles = repeatable_ ? l.tokens : l.sequences;
  return StepBuffers::bytes(l) + aligned(cuda::attention_scratch_bytes(singles, l.heads)) +
         aligned(cuda::attention_counter_bytes(singles, l.kv_heads)) +
         aligned(cuda::experts_scratch(l.tokens, l.top_k, l.experts, l.hidden, l.intermediate).bytes) +
         aligned(module_.sample_scratch_bytes({.rows = l.rows, .vocab = l.vocab})) +
         aligned(SamplingBuffers::bytes(l.rows));
}

void CudaBackend::reserve_workspace(const StepLimits& l) {
  limits_ = l;
  const int singles = repeatable_ ? l.tokens : l.sequences;
  sampling_ = std::make_unique<SamplingBuffers>(gpu_, l.rows);
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
  sample_scratch_ = gpu_->allocate(module_.sample_scratch_bytes({.rows = l.rows, .vocab = l.vocab}), "sampling");
}

const int32_t* CudaBackend::count_of(RowsOf rows) const {
  const cuda::StepCounts* counts = step_->device().counts;
  return rows == RowsOf::kTokens ? &counts->tokens : &counts->rows;
}

void CudaBackend::begin(const Step& step) {
  gpu_->use();
  const StepFacts facts = step_->upload(step);
  recorded_ = facts.tiles == 0 && step.num_tokens <= kMostRecordedTokens;
  tiles_ = facts.tiles;
  singles_ = facts.singles;
  capacity_ = {.tokens = step.num_tokens, .rows = step.num_rows, .splits = facts.splits};
  if (!recorded_) return;
  capacity_ = {.tokens = std::min(bucket_of(step.num_tokens), limits_.tokens),
               .rows = std::min(bucket_of(step.num_rows), limits_.rows),
               .splits = std::min(bucket_of(facts.splits), cuda::kMaxSplits)};
  singles_ = capacity_.tokens;
}

void CudaBackend::run(const std::function<void()>& body) {
  if (recorded_) {
    graphs_->run(capacity_, body);
  } else {
    body();
  }
}

void CudaBackend::embed(const EmbedArgs& args, const Matrix& table, const Step&, float* x) {
  last_added_ = nullptr;  // a step begins
  launched(
      module_.embed({.tokens = capacity_.tokens, .hidden = args.hidden}, step_->device(), table.data, x, gpu_->stream),
      "embed");
}

void CudaBackend::gather_rows(const Step&, int hidden, const float* x, float* rows) {
  launched(module_.gather_rows({.tokens = capacity_.rows, .hidden = hidden}, step_->device(), x, rows, gpu_->stream),
           "gather_rows");
}

void CudaBackend::rms_norm(const RmsNormArgs& args, RowsOf rows, const float* x, const Vector& w, Operand y) {
  norm_ = {};
  if (rows == RowsOf::kTokens && fused()) {
    norm_ = {.x = x, .weights = w.data, .eps = args.eps, .normed = y.data};
    return;
  }
  launched(module_.rms_norm({.rows = capacity_of(rows), .hidden = args.hidden, .eps = args.eps}, count_of(rows), x,
                            w.data, y.as<uint16_t>(), static_cast<uint16_t*>(y.low), gpu_->stream),
           "rms_norm");
}

void CudaBackend::linear(const LinearArgs& args, RowsOf rows, Operand x, const Matrix& w, const Vector* bias,
                         float* y) {
  LinearArgs in_step = args;
  in_step.rows = capacity_of(rows);
  const float* bias_data = bias != nullptr ? bias->data : nullptr;
  if (norm_.normed == x.data && norm_.normed != nullptr) {
    launched(module_.norm_linear(in_step, norm_.eps, count_of(rows), norm_.x, norm_.weights, w.data, bias_data,
                                 x.as<uint16_t>(), y, gpu_->stream),
             "norm_linear");
    return;
  }
  const auto* low = args.precise != 0 ? static_cast<const uint16_t*>(x.low) : nullptr;
  cuda::Prefetch next;
  if (args.accumulate != 0) {
    last_added_ = w.data;
    if (const auto known = next_qkv_.find(w.data); known != next_qkv_.end()) next = known->second;
  }
  launched(module_.linear(in_step, count_of(rows), x.as<uint16_t>(), low, w.data, bias_data, y, next, gpu_->stream),
           "linear");
}

// The matrices of q, k and v lie side by side, and so do their biases: they were packed one after the other.
void CudaBackend::qkv(const QkvArgs& args, const Step&, Operand x, const QkvWeights& weights, Operand q, void* cache) {
  QkvArgs in_step = args;
  in_step.tokens = capacity_.tokens;
  if (last_added_ != nullptr) {
    const int64_t rows = int64_t(args.heads + 2 * args.kv_heads) * args.head_dim;
    next_qkv_[last_added_] = {weights.q.data, cuda::packed_matrix_bytes(rows, args.hidden)};
  }
  if (norm_.normed == x.data && norm_.normed != nullptr) {
    launched(module_.norm_qkv(in_step, norm_.eps, step_->device(), norm_.x, norm_.weights, weights.q.data,
                              weights.q_bias.data, q.as<uint16_t>(), cache, gpu_->stream),
             "norm_qkv");
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
  if (fused()) {
    router_logits_ = logits;
    return;
  }
  launched(module_.router({.tokens = capacity_.tokens, .experts = args.experts, .top_k = args.top_k},
                          count_of(RowsOf::kTokens), logits, index, weight, gpu_->stream),
           "router");
}

void CudaBackend::experts(const ExpertsArgs& args, Operand normed, const int32_t* index, const float* weight,
                          const ExpertMatrix& gate_up, const ExpertMatrix& down, float* x) {
  ExpertsArgs in_step = args;
  in_step.tokens = capacity_.tokens;
  const cuda::PackedExperts w1 = {gate_up.blocks, gate_up.scales, gate_up.bias},
                            w2 = {down.blocks, down.scales, down.bias};
  if (fused()) {
    launched(module_.few_experts(in_step, count_of(RowsOf::kTokens), router_logits_, normed.as<uint16_t>(), w1, w2,
                                 experts_scratch_.as<void>(), x, gpu_->stream),
             "few_experts");
    return;
  }
  launched(module_.experts(in_step, count_of(RowsOf::kTokens), normed.as<uint16_t>(), index, weight, w1, w2,
                           experts_scratch_.as<void>(), x, gpu_->stream),
           "experts");
}

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
