// The kernel lab: single operations of a backend on a caller's arrays, checked and timed. gpt-oss-node/kernels is its
// face in TypeScript. A lab has one backend and is used by one thread.
//
// prepare() puts the operands of an operation on the device. Its weights can be there in several copies, so that a bench
// can repeat it without finding them in a cache.
#pragma once
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "native/backend/backend.h"
#include "native/lab/arrays.h"
#include "native/lab/weights.h"

namespace oss::lab {

// What one call must do at least, for roofs.
struct Work {
  double bytes = 0;           // that it reads for the first time in a step: weights, keys and values, once each
  double flops = 0;           // that the result needs; a multiplication and an addition are two
  bool on_bf16_unit = false;  // numerics "fast" computes it with the unit that multiplies bf16
};

// The result of an operation by name. `device`: the caller's own buffer, or null.
using Outputs = std::map<std::string, Array>;

// An operation with its operands in place.
class Operation {
 public:
  virtual ~Operation() = default;
  // Queues the launches of call number `call`: each takes the next copy of the weights. Within Backend::run().
  virtual void run(size_t call) = 0;
  virtual Outputs outputs() = 0;  // of the last run

  bool waits = false;  // run() waits for the device, so it cannot be recorded
  Step step;           // the arrays of its tokens; the operation owns them
  StepLimits limits;   // that the backend must be prepared for
  Work work;
  Weights weights;
};

class Lab {
 public:
  explicit Lab(const BackendOptions& options);
  ~Lab();

  DeviceInfo info() const { return backend_->info(); }
  const BackendOptions& options() const { return options_; }
  // "f32" where activations of products stay float32, "bf16" where the device rounds them.
  const char* activations() const;
  // The names of the operations that this backend has.
  std::vector<std::string> operations() const;

  std::shared_ptr<DeviceArray> create(DType dtype, size_t elements);
  void write(const DeviceArray& to, size_t first_byte, std::span<const std::byte> from);
  std::vector<std::byte> read(const DeviceArray& from);

  // Throws kUnsupported for an operation that the backend lacks, kInvalidArgument for arguments that do not fit.
  // cold_bytes: the copies of its weights take so much together. 0: one copy.
  std::unique_ptr<Operation> prepare(Arguments arguments, size_t cold_bytes = 0);
  // Runs it `calls` times; the number of the first one selects a copy, and the next one takes the next. Returns the
  // seconds that the device took. again: it ran before, and may run twice as often.
  double run(Operation& operation, size_t first_call = 0, size_t calls = 1, bool again = false);

  // Throws kOutOfMemory if the device lacks room for so many bytes. Systems promise more memory than they have, and end
  // a process that takes it.
  void check_room(uint64_t bytes, const char* what) const;

  Backend& backend() { return *backend_; }

 private:
  void reserve(const StepLimits& wanted);

  const BackendOptions options_;
  const std::unique_ptr<Backend> backend_;
  StepLimits reserved_;  // 0: none
};

}  // namespace oss::lab
