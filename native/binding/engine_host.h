// One JavaScript environment's way to an engine and back.
#pragma once
#include <napi.h>

#include <cstdint>
#include <map>
#include <memory>

#include "native/engine/engine.h"

namespace oss {

// The engine thread wakes its environment at most once per step; the function is referenced only while a request runs, so
// that an idle engine keeps no process alive.
class EngineHost {
 public:
  // owner: the engine ends with this host; else only this host's requests do.
  EngineHost(Napi::Env env, std::shared_ptr<Engine> shared, bool owner, Napi::Function on_events);
  // On the JavaScript thread: after close(), by the collector, or because this environment could not even take the engine.
  ~EngineHost();

  void submit(Napi::Env env, Request request);
  uint64_t client() const { return client_; }

  // Hands everything in the mailbox to JavaScript.
  void drain(Napi::Env env);

  // Any thread. Ends the engine, or this host's part in it; what is left to tell is in the mailbox for drain().
  void close();

  // After close(): gives back what ties the engine to its environment.
  void release();

  const std::shared_ptr<Engine> engine;

 private:
  // What a call that is still queued holds on to: it may be delivered when its engine is long gone.
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
