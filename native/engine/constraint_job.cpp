#include "native/engine/constraint_job.h"

#include "native/base/give_back.h"

namespace oss {

static CompiledConstraint compile(const ConstraintJob& job) {
  try {
    return job.constraints->compile(job.text, job.ends, &job.cancelled);
  } catch (const std::exception& error) {
    return as_error(error);
  }
}

// Bytes of constraint text. Compiling takes more than twenty times this memory, and malloc keeps that memory.
constexpr size_t kLargeText = 32 << 10;

bool ConstraintJob::work() {
  done(compile(*this));
  if (text.size() >= kLargeText) give_back_memory();
  return true;
}

}  // namespace oss
