// Runs jobs that no step waits for, one part of each in turn, on a thread that starts with the first job.
#pragma once
#include <atomic>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>

#include "native/base/thread.h"

namespace oss {

struct Job {
  virtual ~Job() = default;
  // Runs one part; false when there is more to do. Throws only std::bad_alloc. The part then runs again after a pause,
  // since the requests that wait for the job would otherwise wait forever.
  virtual bool work() = 0;
  std::atomic<bool> cancelled{false};  // set when the result is no longer needed: no further part runs then
};

class JobThread {
 public:
  explicit JobThread(const char* name) : name_(name) {}
  ~JobThread() { stop(); }

  // Throws kResourceLimit when the system refuses the thread; the job is not taken then.
  void add(std::shared_ptr<Job> job);
  // Cancels the remaining jobs, and joins the thread. Later jobs are not taken. Idempotent.
  void stop();

 private:
  void loop();

  const char* const name_;
  std::mutex mutex_;  // guards the members below, except the thread once it has begun
  std::condition_variable changed_;
  std::list<std::shared_ptr<Job>> jobs_;  // the first one runs
  bool stopping_ = false;
  Thread thread_;
};

}  // namespace oss
