// Connects one JavaScript environment to an engine.
#pragma once
#include <napi.h>

#include <cstdint>
#include <map>
#include <memory>

#include "native/engine/engine.h"

namespace oss {

// The engine thread wakes its environment at most once per step. The thread-safe function is referenced only while a
// request runs, so that an idle engine keeps no process alive.
class EngineHost {
 public:
  // owner: the engine ends with this host; otherwise only this host's requests end.
  EngineHost(Napi::Env env, std::shared_ptr<Engine> shared, bool owner, Napi::Function on_events);
  // Runs on the JavaScript thread: after close(), by the garbage collector, or when the wrapper was not constructed.
  ~EngineHost();

  void submit(Napi::Env env, Request request);
  uint64_t client() const { return client_; }

  // Passes all events in the mailbox to JavaScript.
  void drain(Napi::Env env);

  // Any thread. Ends the engine, if this host owns it; the remaining events are in the mailbox for drain().
  void close();

  // After close(): releases the resources that connect the engine to its environment.
  void release();

  const std::shared_ptr<Engine> engine;

 private:
  // The argument of a queued call, which may be delivered after the engine is gone.
  struct Link {
    EngineHost* host;
  };
  static void deliver(Napi::Env env, Napi::Function on_events, Link* link, void*);
  using Wake = Napi::TypedThreadSafeFunction<Link, void, &EngineHost::deliver>;
  using Hook = Napi::Env::CleanupHook<void (*)(EngineHost*), EngineHost>;

  void leave();
  static void on_environment_exit(EngineHost* host);

  const bool owner_;
  Napi::Env env_;
  Napi::FunctionReference on_events_;
  Link* link_ = nullptr;  // owned by wake_
  Wake wake_;
  std::unique_ptr<Hook> hook_;
  uint64_t client_ = 0;
  std::map<uint64_t, int> open_;  // requests and how many of their choices have not ended; JavaScript thread only
  bool released_ = false;
};

}  // namespace oss
