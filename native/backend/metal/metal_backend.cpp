#include "native/backend/metal/metal_backend.h"

#include <algorithm>
#include <cstring>

#include "kernels/metal/dense.h"
#include "kernels/metal/experts.h"
#include "native/backend/metal/metal_memory.h"
#include "native/backend/registry.h"
#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {
namespace {

void check_options(const BackendOptions& options) {
  if (options.numerics == "exact") {
    throw Error(Code::kUnsupported,
                "numerics \"exact\" is not what GPUs compute: they have \"fast\"; the CPU backend has \"exact\"",
                "numerics");
  }
  if (options.expert_weights == ExpertWeights::kBF16) {
    throw Error(Code::kUnsupported,
                "expertWeights \"bf16\" is for the CPU backend; use \"mxfp4\" on a GPU, or backend \"cpu\"",
                "expertWeights");
  }
}

}  // namespace

// The 20b with a conversation of 4,096 tokens; `gpt-oss plan 20b --backend metal` has the exact number.
constexpr uint64_t kLeastFor20b = 14'700'000'000;

BackendStatus metal_status() {
  const metal::Found found = metal::find_device();
  if (found.device == nullptr) return {"metal", false, found.reason};
  const metal::DeviceLimits& limits = found.device->limits();
  const char* small =
      limits.working_set_bytes < kLeastFor20b ? ", which is too small for the 20b: auto takes the CPU for it" : "";
  return {"metal", true,
          str(limits.name, ", Apple GPU family ", limits.family, ", ", limits.working_set_bytes >> 20,
              " MiB for the GPU", small)};
}

PlannedDevice planned_metal(const BackendOptions& options) {
  check_options(options);
  return {.sizes = std::make_unique<MetalSizes>(options.repeatable, options.dense_weights),
          .info = {.backend = "metal", .device = "", .isa = "", .numerics = "fast"}};
}

std::unique_ptr<Backend> make_metal_backend(const BackendOptions& options) {
  check_options(options);
  metal::Found found = metal::find_device();
  if (found.device == nullptr) {
    throw Error(
        Code::kUnsupported,
        str("backend \"", options.backend, "\": ", found.reason, "; use \"cpu\", or \"auto\" for the best there is"),
        "backend");
  }
  return std::make_unique<MetalBackend>(std::move(found.device), options.repeatable, options.dense_weights);
}

MetalBackend::MetalBackend(std::shared_ptr<metal::Device> device, bool repeatable, DenseWeights dense_weights)
    : device_(std::move(device)),
      repeatable_(repeatable),
      sizes_(repeatable, dense_weights),
      weights_(device_, sizes_),
      adapters_(device_),
      encoder_(std::make_shared<metal::Encoder>(device_)) {}

MetalBackend::~MetalBackend() {
  encoder_->finish();  // no memory may be freed while a kernel still uses it
}

DeviceInfo MetalBackend::info() const {
  return {.backend = "metal",
          .device = device_->limits().name,
          .isa = str("apple", device_->limits().family),
          .threads = 0,
          .numerics = "fast"};
}

DeviceMemory MetalBackend::memory() const { return metal_memory(*device_); }

Buffer MetalBackend::allocate(size_t bytes, const char* what) {
  auto memory = std::make_shared<Buffer>(allocate_metal(device_, bytes, what));
  // Its owner frees it when no step will use it; one that runs may still do.
  return Buffer(memory->as<void>(), bytes, [memory, encoder = encoder_](void*, size_t) {
    encoder->finish();
    *memory = Buffer();
  });
}

std::shared_ptr<const AdapterWeights> MetalBackend::hold_adapter(std::shared_ptr<const AdapterWeights> host) {
  return adapters_.hold(*host);
}

static metal::Rows rows_of(const Matrix& w) {
  return w.data != nullptr ? metal::Rows(w.data) : metal::Rows(w.q8_codes, w.q8_scales);
}

// --- steps -----------------------------------------------------------------------------------------------------------

void MetalBackend::reserve_workspace(const StepLimits& l) {
  adapters_.reserve_workspace(l);
  ring_ = std::make_unique<StepArraysRing>(device_, l, repeatable_);
  sampling_ = std::make_unique<SamplingArrays>(device_, l.rows, l.vocab);
  drawn_rows_ = 0;  // those of before are gone
  attention_scratch_ =
      allocate_metal(device_, metal::attention_scratch_bytes(sizes_.most_singles(l), l.heads), "attention");
  experts_scratch_ = allocate_metal(
      device_, metal::experts_scratch_bytes(l.tokens, l.top_k, l.experts, l.hidden, l.intermediate), "the experts");
  sample_scratch_ = allocate_metal(device_, metal::sample_scratch_bytes(l.rows, l.vocab), "sampling");
}

void MetalBackend::begin(const Step& step) {
  if (!resident_) {  // once, when weights, cache and work memory exist
    if (!device_->make_resident()) {
      const DeviceMemory now = memory();
      throw Error(Code::kOutOfMemory, str(device_->limits().name, " cannot keep ", device_->allocated_bytes(),
                                          " bytes in its memory of ", now.total_bytes));
    }
    resident_ = true;
  }
  step_ = ring_->fill(step, *encoder_);
  has_adapters_ = !step.adapters.empty();
  if (has_adapters_) adapters_.begin(step, *encoder_);
  step_.drawn = sampling_->results();
  step_.drawn_rows = drawn_rows_;
}

void MetalBackend::run(const std::function<void()>& body, bool) {
  body();
  const uint64_t commit = encoder_->commit();
  ring_->used_by(commit);
  if (has_adapters_) adapters_.finish(*encoder_, commit);
}

double MetalBackend::timed(const std::function<void()>& work, bool) {
  encoder_->wait();
  const double before = encoder_->seconds();
  work();
  encoder_->wait();
  return encoder_->seconds() - before;
}

void MetalBackend::moe_block(const MoeBlock& b) {
  if (!b.adapters.empty() || b.router.data == nullptr ||
      !metal::fuses_router(b.choice_args.tokens, b.norm_args.hidden, b.choice_args.experts)) {
    Backend::moe_block(b);
    return;
  }
  metal::norm_router(*encoder_, b.choice_args, b.norm_args.hidden, b.norm_args.eps, b.x, b.norm.data, b.router.data,
                     b.router_bias.data, b.normed.as<uint16_t>(), b.expert, b.expert_weight);
  experts(b.experts_args, b.normed, b.expert, b.expert_weight, b.gate_up, b.down, b.adapters, b.x);
}

void MetalBackend::embed(const EmbedArgs& args, const Matrix& table, const Step&, float* x) {
  metal::embed(*encoder_, args, step_, rows_of(table), table.rows, x);
}

void MetalBackend::gather_rows(const Step& step, int hidden, const float* x, float* rows) {
  metal::gather_rows(*encoder_, {.tokens = step.num_rows, .hidden = hidden}, step_, x, rows);
}

void MetalBackend::rms_norm(const RmsNormArgs& args, RowsOf, const float* x, const Vector& w, Operand y) {
  metal::rms_norm(*encoder_, args, x, w.data, y.as<uint16_t>(), static_cast<uint16_t*>(y.low));
}

// Calls body(first, count) for `rows` in order: all at once, or, where bits must not depend on the batch, as many at a
// time as the kernels for few rows take: their sums are the same for any number of rows.
template <typename Body>
void MetalBackend::in_portions(int rows, int few, const Body& body) const {
  const int most = repeatable_ ? few : rows;
  for (int first = 0; first < rows; first += most) body(first, std::min(most, rows - first));
}

void MetalBackend::linear(const LinearArgs& args, RowsOf, Operand x, const Matrix& w, const Vector* bias, float* y) {
  const uint16_t* low = args.precise != 0 ? static_cast<const uint16_t*>(x.low) : nullptr;
  in_portions(args.rows, kFewRows, [&](int first, int count) {
    LinearArgs portion = args;
    portion.rows = count;
    const size_t from = size_t(first) * size_t(args.in);
    metal::linear(*encoder_, portion, x.as<uint16_t>() + from, low != nullptr ? low + from : nullptr, rows_of(w),
                  bias != nullptr ? bias->data : nullptr, y + size_t(first) * size_t(args.out));
  });
}

// To the end of the layer's group of pages: how many a layer has is not known here.
metal::Cache MetalBackend::cache_at(const void* cache) const {
  return {const_cast<void*>(cache), device_->bytes_from(cache)};
}

void MetalBackend::qkv(const QkvArgs& args, const Step&, Operand x, const QkvWeights& weights, AdapterRows adapters,
                       Operand q, void* cache) {
  const metal::QkvMatrices w = {.q = rows_of(weights.q),
                                .k = rows_of(weights.k),
                                .v = rows_of(weights.v),
                                .q_bias = weights.q_bias.data,
                                .k_bias = weights.k_bias.data,
                                .v_bias = weights.v_bias.data};
  const LayerAdapter* adapter = first_with(adapters, changes_qkv);
  in_portions(args.tokens, kFewRows, [&](int first, int count) {
    QkvArgs portion = args;
    portion.tokens = count;
    metal::StepArrays step = step_;
    step.tokens = count;
    step.positions += first;
    step.sequence += first;
    step.rope += size_t(first) * kHeadDim;
    const uint16_t* from = x.as<uint16_t>() + size_t(first) * size_t(args.hidden);
    uint16_t* to = q.as<uint16_t>() + size_t(first) * size_t(args.heads) * size_t(args.head_dim);
    if (adapter != nullptr) {
      metal::qkv_low_rank(*encoder_, portion, step, adapters_.of_tokens(first, count), adapter->q.number, from, w, to,
                          cache_at(cache));
    } else {
      metal::qkv(*encoder_, portion, step, from, w, to, cache_at(cache));
    }
  });
}

void MetalBackend::attention(const AttentionArgs& args, const Step&, Operand q, const void* cache, const Vector& sinks,
                             Operand out) {
  metal::attention(*encoder_, args, step_, q.as<uint16_t>(), cache_at(cache), sinks.data,
                   attention_scratch_.as<float>(), out.as<uint16_t>());
}

void MetalBackend::router(const RouterArgs& args, const float* logits, int32_t* index, float* weight) {
  metal::router(*encoder_, args, logits, index, weight);
}

void MetalBackend::experts(const ExpertsArgs& args, Operand normed, const int32_t* index, const float* weight,
                           const ExpertMatrix& gate_up, const ExpertMatrix& down, AdapterRows adapters, float* x) {
  const metal::Experts w1 = {gate_up.blocks, gate_up.scales, gate_up.bias}, w2 = {down.blocks, down.scales, down.bias};
  const LayerAdapter* adapter = first_with(adapters, changes_experts);
  in_portions(args.tokens, most_few_tokens(args.top_k, args.experts), [&](int first, int count) {
    ExpertsArgs portion = args;
    portion.tokens = count;
    const size_t row = size_t(first) * size_t(args.hidden), pair = size_t(first) * size_t(args.top_k);
    const uint16_t* from = normed.as<uint16_t>() + row;
    if (adapter != nullptr) {
      const int begin = layer_begin(*adapter);
      metal::experts_low_rank(*encoder_, portion, adapters_.of_tokens(first, count),
                              {.gate_up = gate_up_term(begin, 0), .down = down_term(begin, args.experts, 0)}, from,
                              index + pair, weight + pair, w1, w2, experts_scratch_.as<void>(), x + row);
    } else {
      metal::experts(*encoder_, portion, from, index + pair, weight + pair, w1, w2, experts_scratch_.as<void>(),
                     x + row);
    }
  });
}

void MetalBackend::low_rank(RowsOf rows, std::span<const LowRank* const> terms, Operand x, float* y) {
  const auto found = std::ranges::find_if(terms, [](const LowRank* term) { return term != nullptr && !term->empty(); });
  if (found == terms.end()) return;
  const LowRank& term = **found;
  metal::low_rank(*encoder_, {.rows = int(terms.size()), .in = term.a.cols, .out = term.b.rows, .number = term.number},
                  adapters_.of(rows), x.as<uint16_t>(), static_cast<const uint16_t*>(x.low), y);
}

// --- draws -----------------------------------------------------------------------------------------------------------

void MetalBackend::sample(int rows, int vocab, float* logits, std::span<const SamplingArgs> args,
                          std::span<const SamplingContext> contexts) {
  encoder_->wait(drawn_by_);
  metal::sample(*encoder_, rows, vocab, logits, sampling_->fill(args, contexts), sample_scratch_.as<void>(),
                sampling_->results());
  drawn_rows_ = rows;
  drawn_by_ = encoder_->commit();
}

std::vector<Sampled> MetalBackend::sampled() {
  encoder_->wait(drawn_by_);
  weights_.check_files();  // steps read them: results of a file that has changed are worth nothing
  std::vector<Sampled> out;
  for (const SampleResult& from : std::span(sampling_->results(), size_t(drawn_rows_))) {
    Sampled& one = out.emplace_back(Sampled{.token = from.token, .logprob = from.logprob, .top = {}});
    for (int i = 0; i < from.num_top; ++i) one.top.push_back({from.top_token[i], from.top_logprob[i]});
  }
  return out;
}

void MetalBackend::read(const float* from, std::span<float> to) {
  encoder_->wait();
  weights_.check_files();
  std::memcpy(to.data(), from, to.size_bytes());
}

void MetalBackend::write(std::span<const float> from, float* to) {
  encoder_->wait();
  std::memcpy(to, from.data(), from.size_bytes());
}

}  // namespace oss
