#include "native/engine/constraint_thread.h"

#include <new>
#include <system_error>
#include <utility>

#include "native/base/str.h"

namespace oss {

void ConstraintThread::add(std::shared_ptr<ConstraintJob> job) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    if (!thread_.joinable()) {
      try {
        thread_ = std::thread([this] { loop(); });
      } catch (const std::system_error& error) {
        throw Error(Code::kOutOfMemory, str("the system refused the thread that compiles constraints: ", error.what()));
      }
    }
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
  if (thread_.joinable()) thread_.join();
}

static CompiledConstraint compile(const ConstraintJob& job) {
  try {
    return grammar::compile_constraint(job.text, job.vocab, job.ends, &job.cancelled);
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(Code::kOutOfMemory, "the system refused the memory to compile the constraint");
  } catch (const std::exception& error) {
    return Error(Code::kInternal, str("compiling the constraint failed: ", error.what()));
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
    if (!job->cancelled) {
      CompiledConstraint compiled = compile(*job);
      if (!job->cancelled) job->done(std::move(compiled));
    }
    std::lock_guard lock(mutex_);
    current_ = nullptr;
  }
}

}  // namespace oss
