#include "test/emu/block.h"

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "native/base/str.h"
#include "test/emu/fiber.h"
#include "test/emu/guard.h"
#include "test/emu/static_shared.h"

namespace oss::emu {

constinit Thread* current = nullptr;
constinit RunningBlock running_block{};

namespace {

constexpr int kMaxWarps = 32;

// The same call site in compiled code. `same` also accepts the same line, for the instances of a template.
bool identical(const Where& a, const Where& b) { return std::memcmp(&a, &b, sizeof(Where)) == 0; }
bool same(const Where& a, const Where& b) {
  return identical(a, b) || (a.line() == b.line() && std::strcmp(a.file_name(), b.file_name()) == 0);
}
std::string name_of(const Where& where) { return str(where.file_name(), ":", where.line()); }
std::string name_of(const Index& index) { return str("(", index.x, ", ", index.y, ", ", index.z, ")"); }

struct AsyncCopy {
  void* to;
  const void* from;  // null: zeros
};

// The eight bytes of a barrier of copies.
struct CopyRounds {
  static constexpr uint16_t kReady = 0xBA55;
  uint16_t ready;
  uint16_t begun, done;  // rounds
  uint16_t unused;
};
struct RunCopy {
  const CopyRounds* barrier;
  void* to;
  const void* from;
  size_t bytes;
};

// Lanes that wait for each other.
struct Meeting {
  unsigned mask = 0;  // 0: free
  unsigned arrived = 0;
  Operation operation = nullptr;
  Where where;
};

struct Warp {
  unsigned alive = 0, ready = 0;
  Meeting meetings[4];  // more than one only where parts of a warp diverge
  void* operands[kWarpLanes];
  int first = 0;  // index of its first thread
};

// Every switch uses the first members, which fit one cache line.
struct alignas(64) DeviceThread : Thread {
  Fiber fiber;
  Warp* warp;
  unsigned bit;
  Where waits_at;
  std::vector<AsyncCopy> copies;
  std::vector<size_t> groups;  // end indices of the committed groups in `copies`
  bool waited;                 // for the previous launch
};

// Dynamic shared memory. With ASan it has exactly the requested size. Without ASan, writes just outside of it are found
// when a block has ended.
class SharedMemory {
 public:
  explicit SharedMemory(size_t bytes) : bytes_(bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, bytes + 2 * kMargin) != 0) throw std::bad_alloc();
    memory_ = static_cast<unsigned char*>(memory);
  }
  ~SharedMemory() { std::free(memory_); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  unsigned char* data() const { return memory_ + kMargin; }
  void poison() { std::memset(memory_, kPoison, bytes_ + 2 * kMargin); }
  bool overrun() const {
    unsigned char untouched[kMargin + 1];
    std::memset(untouched, kPoison, kMargin);
    return std::memcmp(memory_, untouched, kMargin) != 0 ||
           std::memcmp(memory_ + kMargin + bytes_, untouched, kMargin) != 0;
  }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t kMargin = 0;
#else
  static constexpr size_t kMargin = 256;
#endif
  size_t bytes_;
  unsigned char* memory_;
};

void start_thread();

// Chooses the next thread. In order: the rest of the warp, then the lowest warp. Shuffled: from a random place upwards
// or downwards, with a new place now and then, so that some run far ahead and others lag far behind.
class Order {
 public:
  explicit Order(unsigned seed) : state_(seed * 0x9E3779B97F4A7C15ull) {}
  void next_block() {
    if (state_ != 0) redraw();
  }
  bool shuffled() const { return state_ != 0; }
  bool stays() const { return stays_; }
  int choose(unsigned candidates) {
    if (state_ == 0) return std::countr_zero(candidates);
    if ((random() & 15) == 0) redraw();
    const unsigned turned = std::rotr(candidates, turn_);
    return int((down_ ? 31 - std::countl_zero(turned) : std::countr_zero(turned)) + turn_) % 32;
  }
  uint64_t random() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    return state_ ^= state_ << 17;
  }

 private:
  void redraw() {
    const uint64_t bits = random();
    turn_ = int(bits >> 8 & 31);
    down_ = bits >> 16 & 1;
    stays_ = (bits >> 20 & 3) != 0;
  }
  uint64_t state_;
  int turn_ = 0;
  bool down_ = false, stays_ = true;
};

class Block {
 public:
  std::optional<Fault> run(const Grid& grid, const Index& index, const std::function<void()>& kernel,
                           SharedMemory& shared, Order& order, Part part) {
    kernel_ = &kernel;
    part_ = part;
    order_ = &order;
    shuffled_ = order.shuffled();
    running_block = {&grid, index, shared.data()};
    failure_.reset();
    shared.poison();
    order.next_block();
    const int threads = int(grid.threads.count());
    num_threads_ = alive_ = threads;
    num_warps_ = (threads + kWarpLanes - 1) / kWarpLanes;
    at_barrier_ = 0;
    sum_ = 0;
    runs_.clear();
    if (threads_.size() < size_t(threads)) threads_.resize(size_t(threads));
    for (int w = 0; w < num_warps_; ++w) {
      const int lanes = std::min(threads - w * kWarpLanes, kWarpLanes);
      warps_[w] = Warp{};
      warps_[w].first = w * kWarpLanes;
      warps_[w].alive = warps_[w].ready = lanes == kWarpLanes ? kWholeWarp : (1u << lanes) - 1;
    }
    Index at{0, 0, 0};
    for (int i = 0; i < threads; ++i) {
      DeviceThread& thread = threads_[size_t(i)];
      thread.index = at;
      thread.warp = &warps_[i / kWarpLanes];
      thread.lane = unsigned(i % kWarpLanes);
      thread.bit = 1u << thread.lane;
      thread.copies.clear();
      thread.groups.clear();
      thread.waited = false;
      thread.fiber.stack = stacks_.at(size_t(i));
      prepare(thread.fiber, start_thread);
      if (++at.x == grid.threads.x) {
        at.x = 0;
        if (++at.y == grid.threads.y) {
          at.y = 0;
          ++at.z;
        }
      }
    }
    host_ = {};
    const Warp& warp = warps_[order.choose(num_warps_ == kMaxWarps ? kWholeWarp : (1u << num_warps_) - 1)];
    DeviceThread& first = threads_[size_t(warp.first + order.choose(warp.ready))];
    current = &first;
    switch_fiber(host_, first.fiber);
    stopped_ = &running();
    current = nullptr;
    if (!failure_ && shared.overrun())
      return Fault{kIllegalAddress,
                   str("a write outside of dynamic shared memory [block ", name_of(running_block.index), "]")};
    if (!failure_) return std::nullopt;
    for (DeviceThread& thread : threads_) thread.fiber.abandoned = true;
    return explain(*failure_);
  }

  void begin() { arrive(running().fiber, host_); }
  void call_kernel() {
    (*kernel_)();
    if (part_ == Part::kBeforeWait)
      fail(kLaunchFailure, "a thread ends without having waited for the launch before", Where{});
  }

  void dependency_wait(Where where) {
    DeviceThread& me = running();
    if (me.waited) fail(kLaunchFailure, "a thread waits twice for the launch before", where);
    me.waited = true;
    if (part_ != Part::kBeforeWait) return;
    me.fiber.abandoned = true;
    finish();
  }
  void dependency_launch(Where where) {
    if (!running().waited)
      fail(kLaunchFailure, "the next launch is let in by a thread that has not waited for the one before", where);
  }

  [[noreturn]] void finish() {
    DeviceThread& me = running();
    Warp& warp = *me.warp;
    warp.alive &= ~me.bit;
    warp.ready &= ~me.bit;
    --alive_;
    for (Meeting& meeting : warp.meetings) {
      if ((meeting.mask & me.bit) != 0 && meeting.arrived == (meeting.mask & warp.alive)) hold(warp, meeting);
    }
    if (alive_ > 0 && at_barrier_ == alive_) open_barrier();
    if (alive_ == 0) {
      if (!runs_.empty() && part_ == Part::kAll)
        fail(kLaunchFailure, "a block ends while copies to its shared memory are under way", Where{});
      leave();
    }
    go_on();
    std::abort();  // a finished thread must not be resumed
  }

  void barrier(int value, Where where) {
    DeviceThread& me = running();
    me.waits_at = where;
    if (at_barrier_ == 0) {
      barrier_where_ = where;
      sum_ = 0;
    } else if (!same(barrier_where_, where)) {
      fail(kLaunchFailure, "a barrier is reached while other threads of the block wait at another", where,
           &barrier_where_);
    }
    sum_ += value;
    if (++at_barrier_ == alive_) return open_barrier();
    wait(me);
  }
  int barrier_sum() const { return opened_sum_; }

  void collective(unsigned mask, Operation operation, void* operand, Where where) {
    DeviceThread& me = running();
    Warp& warp = *me.warp;
    Meeting& meeting = warp.meetings[0];
    warp.operands[me.lane] = operand;
    me.waits_at = where;
    const unsigned arrived = meeting.arrived | me.bit;
    // In almost all cases a lane is neither the first nor the last to arrive.
    if (meeting.mask == mask && meeting.operation == operation && identical(meeting.where, where) &&
        arrived != (mask & warp.alive) && (mask & me.bit) != 0) {
      meeting.arrived = arrived;
      return wait(me);
    }
    meet(mask, operation, where);
  }

  [[noreturn]] void fail(int status, const char* what, const Where& where, const Where* other = nullptr) {
    failure_ = Failure{status, what, where, other == nullptr ? Where{} : *other};
    leave();
  }

  DeviceThread& running() { return *static_cast<DeviceThread*>(current); }

  // --- copies of runs

  static constexpr size_t kMostRunBytes = 0xFFFF * 16;  // 16 bits for the number of 16-byte units

  CopyRounds& rounds_of(void* barrier, const Where& where) {
    check_aligned(barrier, sizeof(CopyRounds), where);
    CopyRounds& rounds = *static_cast<CopyRounds*>(barrier);
    if (rounds.ready != CopyRounds::kReady) fail(kLaunchFailure, "a barrier of copies that was not initialised", where);
    return rounds;
  }
  void begin_copies(void* barrier, size_t bytes, const Where& where) {
    CopyRounds& rounds = rounds_of(barrier, where);
    if (rounds.begun != rounds.done) fail(kLaunchFailure, "copies begin before the last ones were waited for", where);
    ++rounds.begun;
    expected_[&rounds] = bytes;
  }
  void copy_run(void* barrier, void* to, const void* from, size_t bytes, const Where& where) {
    CopyRounds& rounds = rounds_of(barrier, where);
    if (rounds.begun == rounds.done) fail(kLaunchFailure, "a copy in no round", where);
    if (bytes == 0 || bytes % 16 != 0) fail(kMisalignedAddress, "a copy of no multiple of 16 bytes", where);
    if (bytes > kMostRunBytes) fail(kLaunchFailure, "a copy longer than its instruction can say", where);
    check_aligned(to, 16, where);
    check_aligned(from, 16, where);
    for (size_t i = 0; i < bytes; i += 16) touch(static_cast<const char*>(from) + i);
    std::memset(to, kPoison, bytes);
    runs_.push_back({&rounds, to, from, bytes});
  }
  void prefetch_run(const void* from, size_t bytes, const Where& where) {
    if (bytes == 0 || bytes % 16 != 0) fail(kMisalignedAddress, "a prefetch of no multiple of 16 bytes", where);
    if (bytes > kMostRunBytes) fail(kLaunchFailure, "a prefetch longer than its instruction can say", where);
    check_aligned(from, 16, where);
    touch(from);
    touch(static_cast<const char*>(from) + bytes - 1);
  }
  void wait_copies(void* barrier, unsigned odd, const Where& where) {
    CopyRounds& rounds = rounds_of(barrier, where);
    if ((rounds.done & 1) != (odd & 1)) return;  // that round is over
    if (rounds.begun == rounds.done) fail(kLaunchFailure, "a wait for copies that nobody has begun", where);
    size_t bytes = 0;
    for (const RunCopy& run : runs_) {
      if (run.barrier != &rounds) continue;
      std::memcpy(run.to, run.from, run.bytes);
      bytes += run.bytes;
    }
    std::erase_if(runs_, [&](const RunCopy& run) { return run.barrier == &rounds; });
    if (bytes != expected_[&rounds]) fail(kLaunchFailure, "copies are not of the bytes that were announced", where);
    ++rounds.done;
  }
  static void touch(const void* from) {
    const PastL1 copies(false);
    static_cast<void>(*static_cast<const volatile char*>(from));
  }

 private:
  // The report of a failing thread. Nothing on its stack is destroyed afterwards: the host prints the text.
  struct Failure {
    int status;
    const char* what;  // null: no thread can continue
    Where where, other;
  };

  [[noreturn]] void leave() {
    switch_fiber(running().fiber, host_);
    std::abort();  // the block is over
  }

  // wait() and continue_as() do nothing after the jump, so that a waiting thread resumes in the kernel itself.
  void wait(DeviceThread& me) {
    Warp& warp = *me.warp;
    warp.ready &= ~me.bit;
    if (warp.ready == 0 || shuffled_) return go_on();
    DeviceThread* lanes = threads_.data() + warp.first;
    const unsigned later = warp.ready & (warp.ready - 1);
    if (later != 0) {  // its stack has left the L1 cache since it ran
      const char* top = static_cast<const char*>(lanes[std::countr_zero(later)].fiber.stack_pointer);
      __builtin_prefetch(top);
      __builtin_prefetch(top + 64);
      __builtin_prefetch(top + 128);
    }
    continue_as(me, lanes[std::countr_zero(warp.ready)]);
  }
  void continue_as(DeviceThread& me, DeviceThread& next) {
    current = &next;
    switch_fiber(me.fiber, next.fiber);
  }

  [[gnu::noinline]] void go_on() {
    DeviceThread& me = running();
    Warp* warp = me.warp;
    if (warp->ready == 0 || !order_->stays()) {
      unsigned ready = 0;
      for (int w = 0; w < num_warps_; ++w) ready |= (warps_[w].ready != 0 ? 1u : 0u) << w;
      if (ready == 0) fail(kLaunchFailure, nullptr, me.waits_at);
      warp = &warps_[order_->choose(ready)];
    }
    continue_as(me, threads_[size_t(warp->first + order_->choose(warp->ready))]);
  }

  [[gnu::noinline]] void meet(unsigned mask, Operation operation, Where where) {
    DeviceThread& me = running();
    Warp& warp = *me.warp;
    if ((mask & me.bit) == 0) fail(kLaunchFailure, "a lane is not in the mask of its own warp-wide operation", where);
    Meeting* meeting = nullptr;
    for (Meeting& other : warp.meetings) {
      if (other.mask == 0) {
        if (meeting == nullptr) meeting = &other;
      } else if (other.mask == mask) {
        if (other.operation != operation || !same(other.where, where)) {
          fail(kLaunchFailure, "a warp-wide operation is reached while other lanes wait at another", where,
               &other.where);
        }
        meeting = &other;
        break;
      } else if ((other.mask & mask) != 0) {
        fail(kLaunchFailure, "a warp-wide operation whose mask overlaps that of another", where, &other.where);
      }
    }
    if (meeting == nullptr) fail(kLaunchFailure, "a warp waits in more than four parts", where);
    if (meeting->mask == 0) *meeting = Meeting{mask, 0, operation, where};
    meeting->arrived |= me.bit;
    if (meeting->arrived == (mask & warp.alive)) return hold(warp, *meeting);
    wait(me);
  }

  // Performs the operation that the lanes have met for, and lets them continue.
  void hold(Warp& warp, Meeting& meeting) {
    const Meeting held = meeting;
    meeting.mask = 0;
    if (held.operation != nullptr) held.operation(warp.operands, held.arrived, held.where);
    warp.ready |= held.arrived;
  }

  void open_barrier() {
    for (int w = 0; w < num_warps_; ++w) warps_[w].ready = warps_[w].alive;
    at_barrier_ = 0;
    opened_sum_ = sum_;
  }

  Fault explain(const Failure& failure) const {
    const std::string thread =
        str(" [block ", name_of(running_block.index), ", thread ", name_of(stopped_->index), "]");
    if (failure.what != nullptr) {
      const std::string other = failure.other.line() == 0 ? "" : ", " + name_of(failure.other);
      const std::string where = failure.where.line() == 0 ? "" : name_of(failure.where) + ": ";
      return {failure.status, str(where, failure.what, other, thread)};
    }
    std::set<std::string> places;
    for (int i = 0; i < num_threads_; ++i) {
      const DeviceThread& waiting = threads_[size_t(i)];
      if ((waiting.warp->alive & waiting.bit) == 0) continue;
      bool met = false;
      for (const Meeting& meeting : waiting.warp->meetings)
        met = met || (meeting.mask != 0 && (meeting.arrived & waiting.bit) != 0);
      places.insert(str(met ? "other lanes at " : "a barrier at ", name_of(waiting.waits_at)));
    }
    std::string all;
    for (const std::string& place : places) all += (all.empty() ? "" : ", others for ") + place;
    return {failure.status, str("deadlock: some threads wait for ", all, thread)};
  }

  const std::function<void()>* kernel_ = nullptr;
  Order* order_ = nullptr;
  Part part_ = Part::kAll;
  bool shuffled_ = false;
  std::optional<Failure> failure_;
  int num_threads_ = 0, num_warps_ = 0, alive_ = 0;
  int at_barrier_ = 0, sum_ = 0, opened_sum_ = 0;
  Where barrier_where_;
  Warp warps_[kMaxWarps];
  std::vector<DeviceThread> threads_;
  std::vector<RunCopy> runs_;                     // under way
  std::map<const CopyRounds*, size_t> expected_;  // bytes of a barrier's round
  const DeviceThread* stopped_ = nullptr;         // when the block came to its end
  Fiber host_;
  Stacks stacks_;
};

// Never destroyed, because a stream may be used until the process ends.
Block* const block = new Block;

void start_thread() {
  block->begin();
  block->call_kernel();
  block->finish();
}

}  // namespace

void barrier(Where where) { block->barrier(0, where); }
int barrier_sum(int value, Where where) {
  block->barrier(value, where);
  return block->barrier_sum();
}
void collective(unsigned mask, Operation operation, void* operand, Where where) {
  block->collective(mask, operation, operand, where);
}
void init_copies(void* barrier, Where where) {
  check_aligned(barrier, sizeof(CopyRounds), where);
  *static_cast<CopyRounds*>(barrier) = {CopyRounds::kReady, 0, 0, 0};
}
void begin_copies(void* barrier, unsigned bytes, Where where) { block->begin_copies(barrier, bytes, where); }
void copy_run(void* barrier, void* to, const void* from, unsigned bytes, Where where) {
  block->copy_run(barrier, to, from, bytes, where);
}
void prefetch_run(const void* from, unsigned bytes, Where where) { block->prefetch_run(from, bytes, where); }
// The whole warp meets here. On the device each lane waits, but no lane waits long for another.
void wait_copies(void* barrier, unsigned odd, Where where) {
  struct Wait {
    void* barrier;
    unsigned odd;
  } mine{barrier, odd};
  const Operation operation = [](void* const* operands, unsigned lanes, const Where& at) {
    const Wait& first = *static_cast<const Wait*>(operands[std::countr_zero(lanes)]);
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      if ((lanes >> lane & 1) == 0) continue;
      const Wait& other = *static_cast<const Wait*>(operands[lane]);
      if (other.barrier != first.barrier || other.odd != first.odd)
        block->fail(kLaunchFailure, "lanes of a warp wait for different copies", at);
    }
    block->wait_copies(first.barrier, first.odd, at);
  };
  collective(kWholeWarp, operation, &mine, where);
}

void dependency_wait(Where where) { block->dependency_wait(where); }
void dependency_launch(Where where) { block->dependency_launch(where); }
void fault(int status, const char* what, Where where) { block->fail(status, what, where); }

void async_copy(void* to, const void* from, bool valid, Where where) {
  check_aligned(to, 16, where);
  if (valid) check_aligned(from, 16, where);
  if (valid) Block::touch(from);
  std::memset(to, kPoison, 16);
  block->running().copies.push_back({to, valid ? from : nullptr});
}

void async_commit() {
  DeviceThread& thread = block->running();
  thread.groups.push_back(thread.copies.size());
}

void async_wait(int pending) {
  DeviceThread& thread = block->running();
  if (thread.groups.size() <= size_t(pending)) return;
  const size_t complete = thread.groups.size() - size_t(pending), copies = thread.groups[complete - 1];
  for (size_t i = 0; i < copies; ++i) {
    const AsyncCopy& copy = thread.copies[i];
    if (copy.from != nullptr) {
      std::memcpy(copy.to, copy.from, 16);
    } else {
      std::memset(copy.to, 0, 16);
    }
  }
  thread.copies.erase(thread.copies.begin(), thread.copies.begin() + ptrdiff_t(copies));
  thread.groups.erase(thread.groups.begin(), thread.groups.begin() + ptrdiff_t(complete));
  for (size_t& end : thread.groups) end -= copies;
}

void async_tell(void* barrier, Where where) {
  struct Telling {
    void* barrier;
    std::vector<AsyncCopy> copies;
  } mine{barrier, {}};
  DeviceThread& thread = block->running();
  const size_t committed = thread.groups.empty() ? 0 : thread.groups.back();
  mine.copies.assign(thread.copies.begin() + ptrdiff_t(committed), thread.copies.end());
  thread.copies.resize(committed);
  const Operation operation = [](void* const* operands, unsigned lanes, const Where& at) {
    size_t bytes = 0;
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      if ((lanes >> lane & 1) != 0) bytes += 16 * static_cast<const Telling*>(operands[lane])->copies.size();
    }
    if (lanes != kWholeWarp) block->fail(kLaunchFailure, "a barrier of copies waits for lanes that have ended", at);
    void* const told = static_cast<const Telling*>(operands[0])->barrier;
    block->begin_copies(told, bytes, at);
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      const Telling& telling = *static_cast<const Telling*>(operands[lane]);
      if (telling.barrier != told) block->fail(kLaunchFailure, "lanes of a warp tell different barriers", at);
      for (const AsyncCopy& copy : telling.copies) block->copy_run(told, copy.to, copy.from, 16, at);
    }
  };
  collective(kWholeWarp, operation, &mine, where);
}

std::optional<Fault> run_grid(const Grid& grid, const std::function<void()>& kernel, unsigned seed, Part part) {
  static std::mutex* const one_at_a_time = new std::mutex;  // the CUDA device and the Metal device share all of this
  const std::lock_guard lock(*one_at_a_time);
  thread_local const std::vector<std::span<unsigned char>> static_shared = static_shared_memory();
  SharedMemory shared(grid.shared_bytes);
  Order order(seed);
  std::vector<uint32_t> sequence;
  if (seed != 0) {
    sequence.resize(grid.blocks.count());
    std::iota(sequence.begin(), sequence.end(), 0u);
    std::mt19937 random(seed);
    for (size_t i = sequence.size(); i > 1; --i) std::swap(sequence[i - 1], sequence[random() % i]);
  }
  for (size_t i = 0; i < grid.blocks.count(); ++i) {
    const size_t b = seed == 0 ? i : sequence[i];
    const Index index{unsigned(b % grid.blocks.x), unsigned(b / grid.blocks.x % grid.blocks.y),
                      unsigned(b / grid.blocks.x / grid.blocks.y)};
    for (const std::span<unsigned char>& array : static_shared) std::memset(array.data(), kPoison, array.size());
    if (std::optional<Fault> fault = block->run(grid, index, kernel, shared, order, part)) return fault;
  }
  return std::nullopt;
}

}  // namespace oss::emu
