#include "native/base/thread_pool.h"

#if defined(__linux__)
#include <sched.h>
#endif
#include <time.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "native/base/machine.h"
#include "native/base/thread.h"
#include "test/native/check.h"

namespace oss::test {

TEST("thread_pool: every index once, for any count, grain and number of threads") {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    CHECK_EQ(pool.size(), threads);
    for (const int count : {0, 1, 2, 7, 64, 1000}) {
      for (const int grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> hits(count);
        std::atomic<int> bad{0};
        pool.parallel_for(count, grain, [&](int64_t begin, int64_t end, int thread) {
          if (begin >= end || thread < 0 || thread >= threads) ++bad;
          for (int64_t i = begin; i < end; ++i) ++hits[i];
        });
        CHECK_EQ(bad.load(), 0);
        for (const auto& hit : hits) CHECK_EQ(hit.load(), 1);
      }
    }
  }
}

#if defined(__linux__)
// The processors on which each thread of such a pool may run after keep_apart().
std::vector<std::set<int>> processors_of_pool(int threads) {
  std::vector<std::set<int>> processors(static_cast<size_t>(threads));
  Thread("test",
         [&] {  // the thread of the tests itself stays where it may be
           ThreadPool pool(threads);
           pool.keep_apart();
           std::atomic<int> inside{0};
           // Each thread waits for the others, so that none takes the range of another.
           pool.parallel_for(threads, 1, [&](int64_t begin, int64_t end, int thread) {
             for (inside += int(end - begin); inside < threads;) std::this_thread::yield();
             cpu_set_t allowed;
             if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
             for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
               if (CPU_ISSET(cpu, &allowed)) processors[size_t(thread)].insert(cpu);
             }
           });
         })
      .join();
  return processors;
}

TEST("thread_pool: threads that are kept apart have a core each, where there are enough") {
  const int cores = int(processors_of_cores().size());
  CHECK(cores > 0);
  for (const int threads : {1, cores}) {
    std::set<int> all;
    for (const std::set<int>& one : processors_of_pool(threads)) {
      CHECK_EQ(one.size(), size_t(1));
      all.insert(one.begin(), one.end());
    }
    CHECK_EQ(all.size(), size_t(threads));
  }
  for (const std::set<int>& one : processors_of_pool(cores + 1)) CHECK(one.size() >= size_t(cores));
}
#endif

TEST("thread_pool: the next call sees the writes of a call, ten thousand times") {
  ThreadPool pool(3);
  std::vector<int64_t> values(64);  // plain memory: TSan would report a race, and the sum would show a lost write
  for (int round = 0; round < 10000; ++round) {
    pool.parallel_for(64, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) values[i] += values[i] == round ? 1 : 1000000;
    });
  }
  for (const int64_t value : values) CHECK_EQ(value, 10000);
}

TEST("thread_pool: wakes from sleep, and sleeping uses no CPU") {
  ThreadPool pool(4);
  const auto cpu_ms = [] {
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return double(now.tv_sec) * 1e3 + double(now.tv_nsec) * 1e-6;
  };
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> sum{0};
    pool.parallel_for(100, 1, [&](int64_t begin, int64_t, int) { sum += int(begin); });
    CHECK_EQ(sum.load(), 4950);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // all asleep by now
    const double before = cpu_ms();
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    CHECK(cpu_ms() - before < 10);
  }
}

TEST("thread_pool: made and destroyed at once, used or not") {
  for (int round = 0; round < 50; ++round) {
    ThreadPool unused(3);
    ThreadPool used(2);
    std::atomic<int> calls{0};
    used.parallel_for(2, 1, [&](int64_t, int64_t, int) { ++calls; });
    CHECK_EQ(calls.load(), 2);
  }
}

}  // namespace oss::test
