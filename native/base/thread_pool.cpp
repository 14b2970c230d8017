#include "native/base/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "native/base/error.h"
#include "native/base/machine.h"
#include "native/base/str.h"

namespace oss {

static constexpr uint64_t kClosed = uint64_t(1) << 31;

// Longer than the gap between two operations of a step, but too short to show as CPU load.
static constexpr auto kSpin = std::chrono::microseconds(50);

static uint32_t generation(uint64_t job) { return uint32_t(job >> 32); }

static void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

ThreadPool::ThreadPool(int threads, FewerThreads fewer) : job_(kClosed) {
  workers_.reserve(size_t(threads) - 1);
  try {
    for (int thread = 1; thread < threads; ++thread) {
      workers_.emplace_back("gpt-oss worker", [this, thread] { work(thread); });
    }
  } catch (const Error& error) {
    if (fewer == FewerThreads::kGoOn && error.code() == Code::kResourceLimit) return;
    const size_t made = workers_.size();
    stop();
    throw Error(error.code(), str(threads, " threads were wanted, and ", made, " could be made: ", error.what(),
                                  ", or set threads to ", std::max<size_t>(1, made), " or less"));
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  workers_.clear();  // joins them
}

void ThreadPool::keep_apart() {
  const std::vector<int> processors = processors_of_cores();
  if (processors.size() < size_t(size())) return;
  Thread::stay_on(pthread_self(), processors[0]);
  for (size_t i = 0; i < workers_.size(); ++i) workers_[i].stay_on(processors[i + 1]);
}

void ThreadPool::run(int64_t count, int64_t grain, void* context, Call call) {
  if (count <= 0) return;
  if (workers_.empty() || count <= grain) {
    call(context, 0, count, 0);
    return;
  }
  call_ = call;
  context_ = context;
  count_ = count;
  grain_ = grain;
  next_.store(0, std::memory_order_relaxed);
  left_.store(0, std::memory_order_relaxed);
  job_.store(uint64_t(generation(job_.load(std::memory_order_relaxed)) + 1) << 32);
  // Either this thread sees the sleeper, or the sleeper sees the new generation, because it counts itself first.
  if (sleepers_.load() > 0) {
    {
      std::lock_guard lock(mutex_);
    }
    wake_.notify_all();
  }
  take_ranges(0);
  const uint32_t entered = uint32_t(job_.fetch_or(kClosed, std::memory_order_acq_rel) & (kClosed - 1));
  for (int spins = 0; left_.load(std::memory_order_acquire) != entered; ++spins) {
    if (spins < 2000) {
      relax();
    } else {
      std::this_thread::yield();  // the system took a worker's core in the middle of the call
    }
  }
}

void ThreadPool::take_ranges(int thread) {
  for (;;) {
    const int64_t begin = next_.fetch_add(grain_, std::memory_order_relaxed);
    if (begin >= count_) return;
    call_(context_, begin, std::min(begin + grain_, count_), thread);
  }
}

void ThreadPool::wait_for_job(uint32_t seen) {
  const auto news = [&] { return stopping_.load() || generation(job_.load()) != seen; };
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (news()) return;
      relax();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  std::unique_lock lock(mutex_);
  ++sleepers_;
  wake_.wait(lock, news);
  --sleepers_;
}

void ThreadPool::work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    wait_for_job(seen);
    if (stopping_) return;
    uint64_t job = job_.load(std::memory_order_acquire);
    while ((job & kClosed) == 0) {
      if (job_.compare_exchange_weak(job, job + 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
        take_ranges(thread);
        left_.fetch_add(1, std::memory_order_release);
        break;
      }
    }
    seen = generation(job);
  }
}

}  // namespace oss
