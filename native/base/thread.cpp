#include "native/base/thread.h"

#include <limits.h>

#include <cstring>
#include <memory>

#include "native/base/refused.h"

namespace oss {
namespace {

// Our threads need a few hundred kilobytes at most, because recursion is bounded everywhere. AddressSanitizer makes
// frames larger.
constexpr size_t kStackBytes = 2 << 20;

struct Start {
  std::function<void()> body;
  char name[16];  // includes the final zero
};

void* run(void* argument) {
  const std::unique_ptr<Start> start(static_cast<Start*>(argument));
#if defined(__linux__)
  pthread_setname_np(pthread_self(), start->name);
#elif defined(__APPLE__)
  pthread_setname_np(start->name);
#endif
  start->body();
  return nullptr;
}

}  // namespace

Thread::Thread(const char* name, std::function<void()> body) {
  auto start = std::make_unique<Start>(Start{std::move(body), {}});
  std::strncpy(start->name, name, sizeof start->name - 1);
  pthread_attr_t attributes;
  int error = pthread_attr_init(&attributes);
  if (error != 0) throw refused_thread(name, error);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_t handle;
  error = pthread_create(&handle, &attributes, run, start.get());
  pthread_attr_destroy(&attributes);
  if (error != 0) throw refused_thread(name, error);
  start.release();  // the thread owns it now
  handle_ = handle;
}

void Thread::join() {
  if (handle_) pthread_join(*std::exchange(handle_, std::nullopt), nullptr);
}

void Thread::stay_on(int processor) {
  if (handle_) stay_on(*handle_, processor);
}

void Thread::stay_on(pthread_t thread, int processor) {
#if defined(__linux__)
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(processor, &only);
  pthread_setaffinity_np(thread, sizeof(only), &only);
#else
  (void)thread, (void)processor;
#endif
}

void Thread::detach() {
  if (handle_) pthread_detach(*std::exchange(handle_, std::nullopt));
}

}  // namespace oss
