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

// Of the constraint. What is taken while such a text is compiled is twenty times as large and more, and malloc keeps it.
constexpr size_t kLargeText = 32 << 10;

bool ConstraintJob::work() {
  done(compile(*this));
  if (text.size() >= kLargeText) give_back_memory();
  return true;
}

}  // namespace oss
