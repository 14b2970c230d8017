// Compiles the constraint of a request on another thread: a large schema delays neither the caller nor the engine.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "native/base/error.h"
#include "native/engine/job_thread.h"
#include "native/grammar/constraint.h"

namespace oss {

using CompiledConstraint = std::variant<std::shared_ptr<const grammar::Constraint>, Error>;

struct ConstraintJob : Job {
  bool work() override;

  std::string text;
  std::shared_ptr<grammar::Constraints> constraints;
  std::vector<int32_t> ends;
  std::function<void(const CompiledConstraint&)> done;  // called on the job thread, unless the job was cancelled
};

}  // namespace oss
