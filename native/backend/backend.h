// The seam: the interface that a device implements to step the model. One instance per engine, called from the engine
// thread only, except where a function says otherwise. The code above works with tokens and layers, the code below with
// memory. weight_packer.h is the interface for loading.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/common/args.h"
#include "native/backend/backend_sizes.h"
#include "native/backend/blocks.h"
#include "native/backend/low_rank.h"
#include "native/backend/peaks.h"
#include "native/backend/step.h"
#include "native/backend/tensors.h"
#include "native/backend/weight_packer.h"

namespace oss {

struct DeviceInfo {
  std::string backend;  // "cpu"
  std::string device;   // "Intel(R) Xeon(R) Processor"
  std::string isa;      // "avx512"
  int threads = 0;
  std::string threads_why = "the device computes";  // why this number of threads
  std::string numerics = "exact";                   // float32 activations; "fast": bf16, with float32 sums
};

struct DeviceMemory {
  uint64_t free_bytes = 0, total_bytes = 0;
  bool dedicated = false;                  // the memory of a device: what does not fit there cannot run
  bool shared = false;                     // of such a device: others use it, so that half is left to them
  std::string why = "free on the device";  // the origin of free_bytes, for messages
  uint64_t most_bytes = 0;                 // that its owner can let it have; 0: no more than now
  std::string remedy{};                    // how
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual DeviceInfo info() const = 0;
  virtual DeviceMemory memory() const = 0;
  virtual const BackendSizes& sizes() const = 0;                // of everything that it allocates
  virtual Buffer allocate(size_t bytes, const char* what) = 0;  // kOutOfMemory names `what`
  virtual WeightPacker& packer() = 0;                           // packs the weights that the steps read
  // One more, for weights that are freed with it. The backend outlives it.
  virtual std::unique_ptr<WeightPacker> make_packer() = 0;
  virtual void reserve_workspace(const StepLimits&) = 0;  // its internal memory for steps within the limits
  // Takes an adapter to where steps read it; `host` and its matrices are in host memory. The memory is freed with the
  // result. May be called on any thread, one call at a time, while steps run. Throws kOutOfMemory.
  virtual std::shared_ptr<const AdapterWeights> hold_adapter(std::shared_ptr<const AdapterWeights> host) {
    return host;
  }

  // Keeps each thread of a CPU, this thread among them, on a core of its own (ThreadPool::keep_apart).
  virtual void keep_threads_apart() {}

  // A step. begin() takes its arrays to the device. run() executes the blocks and operations of `body`: it calls
  // `body`, or, with `may_repeat`, repeats the recorded work of an earlier step of the same shape. Then `body` must
  // depend on nothing else.
  virtual void begin(const Step&) = 0;
  virtual void run(const std::function<void()>& body, bool may_repeat) = 0;

  // The seconds that the device takes for `work`, which calls run(). Waits for the end of the work. again: it ran before
  // and does not wait for the device, so it may be recorded and replayed: then its launches do not count.
  virtual double timed(const std::function<void()>& work, bool again);

  // Measures the roofs. A pass over memory reads `cold_bytes`; each unit multiplies for `seconds`, five times.
  virtual Peaks peaks(size_t cold_bytes, double seconds) = 0;

  // The blocks of a layer, called by model/forward.cpp. The defaults run single operations, in the order of blocks.cpp.
  // An override gives the same results within the numerics of the device.
  virtual void attention_block(const AttentionBlock&, const Step&);
  virtual void moe_block(const MoeBlock&);

  // The single operations. Each one is complete when called alone or after any other. Pointers are device memory; rows
  // are contiguous unless args say otherwise.
  virtual void embed(const EmbedArgs&, const Matrix& table, const Step&, float* x) = 0;
  virtual void rms_norm(const RmsNormArgs&, RowsOf, const float* x, const Vector& w, Operand y) = 0;
  virtual void linear(const LinearArgs&, RowsOf, Operand x, const Matrix& w, const Vector* bias, float* y) = 0;
  // Writes q [tokens, heads, head_dim], rotated, and stores keys (rotated) and values in the cache.
  virtual void qkv(const QkvArgs&, const Step&, Operand x, const QkvWeights&, AdapterRows, Operand q, void* cache) = 0;
  virtual void attention(const AttentionArgs&, const Step&, Operand q, const void* cache, const Vector& sinks,
                         Operand out) = 0;
  // index, weight [tokens, top_k], best first; on equal logits the lower expert first.
  virtual void router(const RouterArgs&, const float* logits, int32_t* index, float* weight) = 0;
  // x[t] += Σ_k weight[t,k] · down_e(swiglu(gate_up_e(normed[t]))) with e = index[t,k], summed in the order of k.
  virtual void experts(const ExpertsArgs&, Operand normed, const int32_t* index, const float* weight,
                       const ExpertMatrix& gate_up, const ExpertMatrix& down, AdapterRows, float* x) = 0;
  // y[r] += scale · B (A x[r]) for each row r that has a term, which is neither null nor empty. All terms are of one
  // matrix, whose product with x is y. Their adapters are those of the step.
  virtual void low_rank(RowsOf, std::span<const LowRank* const> terms, Operand x, float* y) = 0;
  // rows[r] = x[logit_tokens[r]]
  virtual void gather_rows(const Step&, int hidden, const float* x, float* rows) = 0;
  // Draws a token from each row of logits [rows, vocab]; args and contexts have one element per row. A device may draw
  // asynchronously; sampled() is called before the next draws begin.
  virtual void sample(int rows, int vocab, float* logits, std::span<const SamplingArgs> args,
                      std::span<const SamplingContext> contexts) = 0;
  // Waits for the draws and returns them.
  virtual std::vector<Sampled> sampled() = 0;
  // Whether a step may begin while the draws of the previous step still run; their results are its tokens. The draws of
  // that step follow once these are known.
  virtual bool runs_ahead() const = 0;
  // Device → host, after all earlier work; host → device, before all later work.
  virtual void read(const float* from, std::span<float> to) = 0;
  virtual void write(std::span<const float> from, float* to) = 0;
};

struct BackendOptions {
  std::string backend = "auto";
  int threads = 0;    // 0 = one per physical core that this process may use
  std::string isa{};  // of the CPU; empty: the one that GPT_OSS_ISA names, else the fastest
  std::string numerics = "auto";
  DenseWeights dense_weights = DenseWeights::kBF16;
  ExpertWeights expert_weights = ExpertWeights::kMXFP4;
  bool repeatable = false;  // the same bits in any batch, even if that costs time
};

// Throws kUnsupported, with the reason, when a requested backend is absent. why: gets the reason for the choice.
std::unique_ptr<Backend> make_backend(const BackendOptions& options, std::string* why = nullptr);

// A device as a plan needs it, which this machine need not have.
struct PlannedDevice {
  std::unique_ptr<const BackendSizes> sizes;
  DeviceInfo info;  // without name and threads
};
// backend: "cpu", "cuda" or "cuda:N". isa: of the CPU; empty: what the engine would choose here. Throws kUnsupported
// and kInvalidArgument as make_backend() does, but not for a missing device.
PlannedDevice planned_device(const BackendOptions& options, const std::string& isa);

// The backends on this machine, for `doctor`: one entry per backend that the build contains or leaves out.
struct BackendStatus {
  std::string name;
  bool available = false;
  std::string detail;  // device and ISA, or why it is absent
};
std::vector<BackendStatus> list_backends();

}  // namespace oss
