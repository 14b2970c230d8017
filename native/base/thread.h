// A thread of this process. Unlike std::thread, its destructor joins it, and it has a name that debuggers and `top -H`
// show. It has a fixed stack size, and its error names the limit that refused it.
//
// The system's default stack is `ulimit -s`, which can be any size. With some kilobytes, the first large frame crashes.
// With gigabytes, a process with a limited address space has room for few threads.
#pragma once
#include <pthread.h>

#include <functional>
#include <optional>
#include <utility>

namespace oss {

class Thread {
 public:
  Thread() = default;
  // `name`: only 15 characters are shown. `body` does not throw. Throws kResourceLimit when the system refuses a
  // thread.
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
  // Keeps it on one processor. Does nothing where the system cannot (macOS), or refuses.
  void stay_on(int processor);
  static void stay_on(pthread_t thread, int processor);
  void detach();  // never joined; all that it uses must stay valid until the process ends

 private:
  std::optional<pthread_t> handle_;
};

}  // namespace oss
