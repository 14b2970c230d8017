// Compiles the constraints of requests one after the other, on a thread of its own: neither the caller's thread nor the
// engine's waits for a large schema. The thread begins with the first constraint.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "native/base/error.h"
#include "native/base/thread.h"
#include "native/grammar/constraint.h"

namespace oss {

using CompiledConstraint = std::variant<std::shared_ptr<const grammar::Constraint>, Error>;

// A constraint on its way; whoever loses interest sets `cancelled`.
struct ConstraintJob {
  std::string text;
  int vocab = 0;
  std::vector<int32_t> ends;
  std::function<void(const CompiledConstraint&)> done;  // called on the thread, unless it was cancelled
  std::atomic<bool> cancelled{false};
};

class ConstraintThread {
 public:
  ~ConstraintThread() { stop(); }

  // Throws kResourceLimit when the system refuses the thread; the job is not taken then.
  void add(std::shared_ptr<ConstraintJob> job);
  // Cancels what is left, and waits for the thread. Nothing is taken afterwards. Idempotent.
  void stop();

 private:
  void loop();

  std::mutex mutex_;  // guards what follows, but for the thread after it has begun
  std::condition_variable changed_;
  std::deque<std::shared_ptr<ConstraintJob>> jobs_;
  std::shared_ptr<ConstraintJob> current_;
  bool stopping_ = false;
  Thread thread_;
};

}  // namespace oss
