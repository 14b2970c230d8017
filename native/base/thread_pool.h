// Fork and join: parallel_for divides a range among a fixed set of threads. The caller is one of them.
//
// A decode step makes some hundred calls, a few microseconds apart. So a worker that has finished spins for a moment
// before it sleeps; an idle engine uses no CPU. A late worker, whose core was taken, does not delay a call that the
// others have finished.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <vector>

#include "native/base/thread.h"

namespace oss {

// The reaction of a pool when the system refuses some of its threads.
enum class FewerThreads { kFail, kGoOn };

class ThreadPool {
 public:
  // threads >= 1; with 1 there is no other thread. When some are refused, it throws kResourceLimit and leaves no thread
  // behind; with kGoOn it works with fewer threads.
  explicit ThreadPool(int threads, FewerThreads fewer = FewerThreads::kFail);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return int(workers_.size()) + 1; }

  // Keeps each thread on a core of its own, this thread among them. For benches: some systems put two busy threads on
  // one core although another is idle. Does nothing if there are fewer cores than threads, and on macOS.
  void keep_apart();

  // Calls body(begin, end, thread) on ranges that cover [0, count) once, on threads 0 .. size()-1. Each range is
  // `grain` long, or longer when one thread does everything. Returns when all are done. One call at a time. Rethrows
  // the first exception of a body once no thread is inside. Ranges that had not begun by then are skipped.
  template <typename Body>
  void parallel_for(int64_t count, int64_t grain, const Body& body) {
    Shared<Body> shared{body};
    run(count, grain, &shared, [](void* context, int64_t begin, int64_t end, int thread) {
      auto& call = *static_cast<Shared<Body>*>(context);
      if (call.failed.load(std::memory_order_relaxed)) return;
      try {
        call.body(begin, end, thread);
      } catch (...) {  // an exception that leaves a thread would end the process
        if (!call.failed.exchange(true)) call.first = std::current_exception();
      }
    });
    if (shared.first) std::rethrow_exception(shared.first);
  }

 private:
  using Call = void (*)(void* context, int64_t begin, int64_t end, int thread);
  template <typename Body>
  struct Shared {
    const Body& body;
    std::atomic<bool> failed = false;
    std::exception_ptr first{};  // of the thread that set `failed`
  };

  void run(int64_t count, int64_t grain, void* context, Call call);
  void stop();
  void take_ranges(int thread);
  void work(int thread);
  void wait_for_job(uint32_t seen);

  // The call in progress. Written only while no worker is inside.
  Call call_ = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0, grain_ = 1;
  alignas(64) std::atomic<int64_t> next_{0};  // first index that is not taken

  // The call's generation, whether it still admits workers, and the number of workers that entered. One word, so that
  // entering and closing exclude each other: generation in the upper half, then kClosed, then the count.
  alignas(64) std::atomic<uint64_t> job_;
  alignas(64) std::atomic<uint32_t> left_{0};  // workers that entered and are done
  std::atomic<bool> stopping_{false};

  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Thread> workers_;
};

}  // namespace oss
