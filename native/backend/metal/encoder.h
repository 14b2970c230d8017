// Encodes the dispatches of a step into one command buffer, with a barrier only where a dispatch needs the results of
// an earlier one, or overwrites what an earlier one uses. So independent dispatches run side by side.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <type_traits>
#include <vector>

#include "native/backend/metal/device.h"

namespace oss::metal {

// A struct of arguments, by value.
template <typename T>
  requires(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>)
Argument bytes_of(const T& value) {
  return {Argument::Kind::kBytes, &value, sizeof(T)};
}
// Elements [at, at + count) that a kernel reads, writes, or both.
template <typename T>
Argument reads(const T* at, size_t count) {
  return {Argument::Kind::kRead, at, count * sizeof(T)};
}
template <typename T>
Argument writes(T* at, size_t count) {
  return {Argument::Kind::kWrite, at, count * sizeof(T)};
}
template <typename T>
Argument updates(T* at, size_t count) {
  return {Argument::Kind::kReadWrite, at, count * sizeof(T)};
}

class Encoder {
 public:
  explicit Encoder(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  // arguments: those of the kernel, in the order of their indices. What it writes must be declared so.
  void dispatch(const char* kernel, Groups groups, uint32_t threads, std::initializer_list<Argument> arguments);

  // Starts what was encoded, if anything. Returns the number of the last commit; they count from 1.
  uint64_t commit();
  // Waits for the commits up to this number. Throws kDevice when one of them has failed.
  void wait(uint64_t number);
  // Commits, and waits for everything.
  void wait() { wait(commit()); }
  // What was committed last; null when that has been waited for. Any thread may wait for it.
  std::shared_ptr<Commands> last() const { return committed_.empty() ? nullptr : committed_.back(); }
  // Waits for everything that was committed, whether or not it fails; drops the rest.
  void finish() noexcept;

  // Since the start: the time of all commands that have been waited for.
  double seconds() const { return seconds_; }
  // Since the start, for tests.
  int64_t dispatches() const { return dispatches_; }
  int64_t barriers() const { return barriers_; }

 private:
  struct Range {
    const char *begin, *end;
  };
  static bool overlaps(const std::vector<Range>& ranges, const Range& with);

  std::shared_ptr<Device> device_;
  std::unique_ptr<Commands> open_;                   // being encoded
  std::deque<std::shared_ptr<Commands>> committed_;  // those not waited for, the oldest first
  uint64_t commits_ = 0;
  std::vector<Range> read_, written_;  // since the last barrier
  int64_t dispatches_ = 0, barriers_ = 0;
  double seconds_ = 0;
};

}  // namespace oss::metal
