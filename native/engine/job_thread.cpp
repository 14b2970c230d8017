#include "native/engine/job_thread.h"

#include <chrono>
#include <new>
#include <thread>
#include <utility>

namespace oss {

void JobThread::add(std::shared_ptr<Job> job) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    if (!thread_.joinable()) thread_ = Thread(name_, [this] { loop(); });
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void JobThread::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const std::shared_ptr<Job>& job : jobs_) job->cancelled = true;
  }
  changed_.notify_one();
  thread_.join();
  jobs_.clear();
}

static bool is_over(Job& job) {
  try {
    return job.cancelled || job.work();
  } catch (const std::bad_alloc&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return false;
  }
}

void JobThread::loop() {
  for (;;) {
    std::shared_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      job = jobs_.front();
    }
    const bool over = is_over(*job);
    std::lock_guard lock(mutex_);
    if (over) {
      jobs_.pop_front();
    } else {
      jobs_.splice(jobs_.end(), jobs_, jobs_.begin());
    }
  }
}

}  // namespace oss
