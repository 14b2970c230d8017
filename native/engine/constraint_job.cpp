#include "native/engine/constraint_job.h"

namespace oss {

static CompiledConstraint compile(const ConstraintJob& job) {
  try {
    return job.constraints->compile(job.text, job.ends, &job.cancelled);
  } catch (const std::exception& error) {
    return as_error(error);
  }
}

bool ConstraintJob::work() {
  done(compile(*this));
  return true;
}

}  // namespace oss
