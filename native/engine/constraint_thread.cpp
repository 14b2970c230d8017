#include "native/engine/constraint_thread.h"

#include <chrono>
#include <new>
#include <utility>

#include "native/base/str.h"

namespace oss {

void ConstraintThread::add(std::shared_ptr<ConstraintJob> job) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    if (!thread_.joinable()) thread_ = Thread("constraints", [this] { loop(); });
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void ConstraintThread::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    jobs_.clear();
    if (current_ != nullptr) current_->cancelled = true;
  }
  changed_.notify_one();
  thread_.join();
}

static CompiledConstraint compile(const ConstraintJob& job) {
  try {
    return grammar::compile_constraint(job.text, job.vocab, job.ends, &job.cancelled);
  } catch (const std::exception& error) {
    return as_error(error);
  }
}

// A request hears of its constraint in any case, or it would wait forever: where the system refuses even the memory to
// tell of it, once there is some.
static void carry_out(const ConstraintJob& job) {
  while (!job.cancelled) {
    try {
      return job.done(compile(job));
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
}

void ConstraintThread::loop() {
  for (;;) {
    std::shared_ptr<ConstraintJob> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      job = current_ = std::move(jobs_.front());
      jobs_.pop_front();
    }
    carry_out(*job);
    std::lock_guard lock(mutex_);
    current_ = nullptr;
  }
}

}  // namespace oss
