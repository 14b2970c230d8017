// The memory that a backend takes, and its defaults: arithmetic on shapes, which needs no device. A backend plans its own
// memory with it; make_sizes() of registry.h serves a plan for a machine that is elsewhere.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/common/args.h"
#include "native/backend/step.h"
#include "native/backend/weight_packer.h"

namespace oss {

// The values that a backend uses where the options leave them open.
struct BackendDefaults {
  KvType kv_type;
  int max_batch_tokens;
};

class BackendSizes {
 public:
  virtual ~BackendSizes() = default;
  virtual BackendDefaults defaults() const = 0;
  // Throws kUnsupported when the backend cannot run such a model or cache.
  virtual void check(const StepLimits&, KvType) const = 0;
  virtual size_t operand_bytes() const = 0;        // bytes of one element of an Operand
  virtual bool operands_have_low() const = 0;      // else they are exact without it
  virtual bool packs_experts_to_file() const = 0;  // WeightPacker::keep_packed() may map the experts from a file

  // Bytes that packed weights take; 0: they are used as they are, in a mapped file or where they were made. They are
  // summed and reserved before any weight is loaded. stored_q8: the file holds the matrix in Q8 blocks.
  virtual uint64_t matrix_bytes(int64_t rows, int64_t cols, MatrixUse, bool stored_q8) const = 0;
  virtual uint64_t vector_bytes(int64_t size) const = 0;
  virtual uint64_t experts_bytes(int64_t experts, int64_t rows, int64_t cols) const = 0;  // without the bias

  // Whether such a matrix is kept in Q8 blocks.
  virtual bool becomes_q8(int64_t /*cols*/, MatrixUse, bool /*stored_q8*/) const { return false; }

  // The backend's internal memory for steps within the limits, and what adapters of requests add to it.
  virtual uint64_t workspace_bytes(const StepLimits&) const = 0;
  virtual uint64_t low_rank_bytes(const StepLimits&) const = 0;
  // What each adapter of requests takes besides its factors.
  virtual uint64_t adapter_table_bytes(int /*layers*/, int /*experts*/) const { return 0; }
};

}  // namespace oss
