// Work that no step waits for: jobs in turns, a part of each at a time, on a thread that begins with the first one.
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
  // One part; false when there is more to do. Throws std::bad_alloc and nothing else: then it is called again once there may
  // be memory, for whoever waits for a job hears of it in any case, or would wait forever.
  virtual bool work() = 0;
  std::atomic<bool> cancelled{false};  // set by whoever loses interest: there is no further part then
};

class JobThread {
 public:
  explicit JobThread(const char* name) : name_(name) {}
  ~JobThread() { stop(); }

  // Throws kResourceLimit when the system refuses the thread; the job is not taken then.
  void add(std::shared_ptr<Job> job);
  // Cancels what is left, and waits for the thread. Nothing is taken afterwards. Idempotent.
  void stop();

 private:
  void loop();

  const char* const name_;
  std::mutex mutex_;  // guards what follows, but for the thread after it has begun
  std::condition_variable changed_;
  std::list<std::shared_ptr<Job>> jobs_;  // the first is at work
  bool stopping_ = false;
  Thread thread_;
};

}  // namespace oss
