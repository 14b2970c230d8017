// A thread of this process. Unlike std::thread it is joined when it goes, has a name that debuggers and `top -H` show, a
// stack of a size of its own, and says which limit refused it.
//
// The system's default stack is `ulimit -s`, which may be anything: some kilobytes, in which the first large frame is a
// crash, or gigabytes, of which a process with a limited address space has few.
#pragma once
#include <pthread.h>

#include <functional>
#include <optional>
#include <utility>

namespace oss {

class Thread {
 public:
  Thread() = default;
  // `name`: at most 15 characters are shown. body does not throw. Throws kResourceLimit when the system refuses a thread.
  Thread(const char* name, std::function<void()> body);
  Thread(Thread&& other) noexcept : handle_(std::exchange(other.handle_, std::nullopt)) {}
  Thread& operator=(Thread&& other) noexcept {
    join();
    handle_ = std::exchange(other.handle_, std::nullopt);
    return *this;
  }
  ~Thread() { join(); }

  bool joinable() const { return handle_.has_value(); }
  void join();
  void detach();  // runs on by itself; what it uses lives as long as the process

 private:
  std::optional<pthread_t> handle_;
};

}  // namespace oss
