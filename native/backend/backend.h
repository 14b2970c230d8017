// The seam: what a device must do to run the model. One instance per engine, called from the engine thread only
// (loading: from the loading thread only). Everything above speaks tokens and layers, everything below speaks memory.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/common/args.h"
#include "native/base/tensor.h"

namespace oss {

struct DeviceInfo {
  std::string backend;  // "cpu"
  std::string device;   // "Intel(R) Xeon(R) Processor"
  std::string isa;      // "avx512"
  int threads = 0;
  std::string threads_why = "the device computes";  // why so many
  std::string numerics = "exact";                   // float32 activations; "fast": bf16, with float32 sums
};

// Memory of the device; released when destroyed. Zero-filled, and committed on first touch where the system can.
class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, size_t bytes, std::function<void(void*, size_t)> release)
      : data_(data), bytes_(bytes), release_(std::move(release)) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer moved(std::move(other));
    swap(moved);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) release_(data_, bytes_);
  }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
  std::function<void(void*, size_t)> release_;
};

// Activations as a device keeps them between its operations: float32 on the CPU, which rounds them (numerics "fast") when
// it packs them for a product, bf16 on CUDA. Sums, and the residual stream, are float32 everywhere.
struct Operand {
  void* data = nullptr;
  void* low = nullptr;  // for LinearArgs::precise: what rounding took, rounded itself
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// Weights in the device's own layout. On the CPU a bf16 matrix is the mapped file itself.
enum class MatrixUse {
  kTable,    // rows are looked up
  kProduct,  // rows are multiplied with
  kRouter,   // the same, and never rounded: what it gives chooses
};
enum class ExpertUse { kGateUp, kDown };
struct Matrix {                    // [rows, cols]
  const uint16_t* data = nullptr;  // bf16; null when the rows are Q8 (kernels/common/q8.h):
  int rows = 0, cols = 0;
  const int8_t* q8_codes = nullptr;     // [rows, cols]
  const uint16_t* q8_scales = nullptr;  // [rows, cols/32]
};

// Of one pack_experts() call to come.
struct ExpertShape {
  int64_t experts, rows, cols;
};

// Where the experts are that a backend has in a layout of its own.
struct PackedWeights {
  std::string in = "none";  // it reads the checkpoint's files as they are; "memory" or "file": a copy
  std::string path;         // of the file
  bool made = false;        // it is written during this start
  std::string reason;       // why there is no file where one was wanted
};

// What attention, embedding and head are held as. Q8 is made at load, half the bytes, and lossy.
enum class DenseWeights { kBF16, kQ8 };
struct Vector {  // f32 [size]
  const float* data = nullptr;
  int size = 0;
};
struct QkvWeights {
  Matrix q, k, v;
  Vector q_bias, k_bias, v_bias;
};
struct ExpertMatrix {               // MXFP4 [experts, rows, cols] and its bias f32 [experts, rows]
  const uint8_t* blocks = nullptr;  // [experts, rows, cols/32, 16]
  const uint8_t* scales = nullptr;  // [experts, rows, cols/32]
  const float* bias = nullptr;
  int experts = 0, rows = 0, cols = 0;
};

// What the tokens of one step are, as flat arrays. Built by the engine, at the same addresses in every step.
struct Step {
  int num_tokens = 0;
  int num_sequences = 0;
  int num_rows = 0;  // tokens whose logits are wanted
  // [num_tokens]; -1 - r, where a backend runs ahead: what row r of the last draws gives
  std::span<const int32_t> tokens;
  std::span<const int32_t> positions;  // [num_tokens] position of each token in its sequence
  std::span<const int32_t> sequence;   // [num_tokens] row of the block tables
  // By KvGroup: [num_sequences, max_pages] page numbers, -1 where a window has left its page.
  std::span<const int32_t> block_tables[kKvGroups];
  int max_pages = 0;
  std::span<const float> rope;  // [num_tokens, 2, head_dim/2] cos and sin of each position, concentration included
  std::span<const int32_t> logit_tokens;  // [num_rows] index into `tokens`
};

struct TopLogprob {
  int32_t token;
  float logprob;
};

// What a row's draw depends on beside its logits and SamplingArgs. lib/generation/sampling.ts defines how.
struct SamplingContext {
  struct Seen {
    int32_t token;
    int32_t in_completion;  // how often; a token of the prompt alone has 0
  };
  struct Bias {
    int32_t token;
    float bias;  // added to the logit; -infinity bans the token
  };
  std::span<const Seen> seen;  // every distinct token of prompt and completion; may stay empty when no penalty is on
  std::span<const Bias> bias;
  int top_logprobs = 0;  // how many of the most probable tokens to report
  // One bit per token, [(vocab + 31) / 32]: only those that are set can be drawn, whatever penalties and bias say; at least
  // one is. When their logits are no numbers, it is the lowest id. Empty: every token.
  std::span<const uint32_t> allowed{};
};

struct Sampled {
  int32_t token = -1;
  float logprob = 0;  // log softmax of the raw logits at `token`: before penalties, bias, temperature and filters
  std::vector<TopLogprob> top;  // most probable first; of the raw logits too
};

// The largest step that an engine will make, and the shapes in it: what a backend plans its own memory from.
struct StepLimits {
  int tokens = 0, sequences = 0, rows = 0, max_pages = 0;
  int hidden = 0, intermediate = 0, heads = 0, kv_heads = 0, head_dim = 0, experts = 0, top_k = 0, vocab = 0;
  int window = 0;  // of layers that do not see everything
};

struct DeviceMemory {
  uint64_t free_bytes = 0, total_bytes = 0;
  bool dedicated = false;                  // the device's own: nobody minds when all of it is taken
  std::string why = "free on the device";  // what free_bytes is the rest of
};

// What a backend does where the options leave it open.
struct BackendDefaults {
  KvType kv_type;
  int max_batch_tokens;
};

// What the rows of an operation are: a device that repeats recorded work looks up how many there are.
enum class RowsOf { kTokens, kLogits };

class Backend {
 public:
  virtual ~Backend() = default;
  virtual DeviceInfo info() const = 0;
  virtual DeviceMemory memory() const = 0;
  virtual BackendDefaults defaults() const = 0;
  // Throws kUnsupported when this backend cannot run such a model or cache.
  virtual void check(const StepLimits&, KvType) const = 0;
  virtual Buffer allocate(size_t bytes, const char* what) = 0;  // kOutOfMemory names `what`
  virtual size_t operand_bytes() const = 0;                     // of one element of an Operand
  virtual bool operands_have_low() const = 0;                   // or are exact without

  // First: what pack_experts() will be called for, in that order, and the files that may keep it from start to start, best
  // first, under this key. May wait for another process that writes one. Throws kCancelled.
  virtual PackedWeights keep_packed(std::span<const ExpertShape>, std::span<const std::string> /*places*/,
                                    uint64_t /*key*/, const std::function<bool()>& /*cancelled*/) {
    return {};
  }
  // Memory that weights take beside the mapped files, before any is loaded; then the whole of it is reserved at once.
  virtual uint64_t matrix_bytes(int64_t rows, int64_t cols, MatrixUse) const = 0;
  virtual uint64_t vector_bytes(int64_t size) const = 0;
  virtual uint64_t experts_bytes(int64_t experts, int64_t rows, int64_t cols) const = 0;  // without the bias
  virtual void reserve_weights(uint64_t bytes) = 0;

  // Once each, at load. The tensors outlive the backend's use of them.
  virtual Matrix pack_matrix(const HostTensor& weight, MatrixUse) = 0;
  virtual Vector pack_vector(const HostTensor& vector) = 0;
  virtual Matrix pack_rope_matrix(const HostTensor& weight) = 0;  // of q or k: the rows of heads that will be rotated
  virtual ExpertMatrix pack_experts(const HostTensor& blocks, const HostTensor& scales, const HostTensor& bias,
                                    ExpertUse) = 0;
  virtual void loaded() = 0;                // all weights have been handed over
  virtual size_t packed_bytes() const = 0;  // memory beyond the mapped files

  // The backend's own memory for steps within the limits.
  virtual uint64_t workspace_bytes(const StepLimits&) const = 0;
  virtual void reserve_workspace(const StepLimits&) = 0;

  // A step: begin() takes its arrays to the device, run() does what `body` says with the operations below, either by
  // calling it or by repeating what a call of it for an equally shaped step did. `body` may not depend on anything else.
  virtual void begin(const Step&) = 0;
  virtual void run(const std::function<void()>& body) = 0;

  // One operation per line of model/forward.cpp. Pointers are device memory, rows contiguous unless args say otherwise.
  virtual void embed(const EmbedArgs&, const Matrix& table, const Step&, float* x) = 0;
  virtual void rms_norm(const RmsNormArgs&, RowsOf, const float* x, const Vector& w, Operand y) = 0;
  virtual void linear(const LinearArgs&, RowsOf, Operand x, const Matrix& w, const Vector* bias, float* y) = 0;
  // q [tokens, heads, head_dim] rotated; keys (rotated) and values to their places in the cache.
  virtual void qkv(const QkvArgs&, const Step&, Operand x, const QkvWeights&, Operand q, void* cache) = 0;
  virtual void attention(const AttentionArgs&, const Step&, Operand q, const void* cache, const Vector& sinks,
                         Operand out) = 0;
  // index, weight [tokens, top_k], best first; on equal logits the lower expert first.
  virtual void router(const RouterArgs&, const float* logits, int32_t* index, float* weight) = 0;
  // x[t] += Σ_k weight[t,k] · down_e(swiglu(gate_up_e(normed[t]))) with e = index[t,k], summed in the order of k.
  virtual void experts(const ExpertsArgs&, Operand normed, const int32_t* index, const float* weight,
                       const ExpertMatrix& gate_up, const ExpertMatrix& down, float* x) = 0;
  // rows[r] = x[logit_tokens[r]]
  virtual void gather_rows(const Step&, int hidden, const float* x, float* rows) = 0;
  // Draws a token from each row of logits [rows, vocab]; args and contexts have one element per row. A device may do so
  // later than it says; they are asked for before the next ones are begun.
  virtual void sample(int rows, int vocab, float* logits, std::span<const SamplingArgs> args,
                      std::span<const SamplingContext> contexts) = 0;
  // Waits for them.
  virtual std::vector<Sampled> sampled() = 0;
  // Whether a step may be begun while the draws of the one before are under way, with tokens that they will give. Its own
  // draws follow when those are known.
  virtual bool runs_ahead() const = 0;
  // Device → host, after everything before it; host → device, before everything after it.
  virtual void read(const float* from, std::span<float> to) = 0;
  virtual void write(std::span<const float> from, float* to) = 0;
};

struct BackendOptions {
  std::string backend = "auto";
  int threads = 0;  // 0 = one per physical core that this process may use
  std::string numerics = "auto";
  DenseWeights dense_weights = DenseWeights::kBF16;
  bool repeatable = false;  // the same bits in any batch, also where that costs time
};

// Throws kUnsupported naming why a requested backend is absent.
std::unique_ptr<Backend> make_backend(const BackendOptions& options);

// What there is on this machine, for `doctor`: one entry per backend known to the build.
struct BackendStatus {
  std::string name;
  bool available = false;
  std::string detail;  // device and ISA, or why it is absent
};
std::vector<BackendStatus> list_backends();

}  // namespace oss
