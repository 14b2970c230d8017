#include "native/binding/engine_host.h"

#include <optional>
#include <utility>
#include <vector>

#include "native/base/trace.h"
#include "native/binding/convert.h"
#include "native/binding/errors.h"

namespace oss {

EngineHost::EngineHost(Napi::Env env, std::shared_ptr<Engine> shared, bool owner, Napi::Function on_events)
    : engine(std::move(shared)), owner_(owner), env_(env), on_events_(Napi::Persistent(on_events)) {
  auto link = std::make_unique<Link>(Link{this});
  link_ = link.get();
  wake_ = Wake::New(
      env, on_events, "gpt-oss events", 0, 1, link_, [](Napi::Env, Link* owned, Link*) { delete owned; }, link_);
  link.release();  // wake_ owns it now
  wake_.Unref(env);
  try {
    // Registered after the thread-safe function, so it runs before that is freed: no thread calls it afterwards.
    hook_ = std::make_unique<Hook>(env.AddCleanupHook(&EngineHost::on_environment_exit, this));
    client_ = engine->connect([this] { wake_.NonBlockingCall(); });
  } catch (...) {
    link_->host = nullptr;
    wake_.Release();
    if (hook_ != nullptr) hook_->Remove(env);
    throw;
  }
}

EngineHost::~EngineHost() {
  leave();
  release();
}

void EngineHost::submit(Napi::Env env, Request request) {
  request.client = client_;
  const uint64_t id = request.id;
  open_[id] = request.choices;  // before submit(): its events may arrive at once, and need this entry
  try {
    engine->submit(std::move(request));
  } catch (...) {
    open_.erase(id);
    throw;
  }
  if (open_.size() == 1) wake_.Ref(env);
}

void EngineHost::drain(Napi::Env env) {
  const std::optional<Error> ending = engine->ending();  // read first: if it is set, all events are in the mailbox
  std::vector<Event> events = engine->take_events(client_);
  const bool was_busy = !open_.empty();
  for (const Event& event : events) {
    const auto at = open_.find(event.id);
    if (at == open_.end()) continue;
    if (event.kind == Event::Kind::kDone) --at->second;
    if (event.kind == Event::Kind::kError || at->second == 0) open_.erase(at);
  }
  if (ending) {  // an engine without memory may not have reported every end
    for (const auto& [id, choices] : open_) {
      events.push_back({.id = id, .kind = Event::Kind::kError, .code = ending->code(), .message = ending->what()});
    }
    open_.clear();
  }
  if (events.empty()) return;
  if (was_busy && open_.empty()) wake_.Unref(env);
  TraceSpan span("js", "events");
  span.arg("events", events.size());
  on_events_.Call({events_to_js(env, events)});
}

void EngineHost::close() {
  if (owner_) engine->close();
}

void EngineHost::release() {
  if (std::exchange(released_, true)) return;
  engine->disconnect(client_);
  link_->host = nullptr;
  wake_.Release();
  hook_->Remove(env_);
}

void EngineHost::leave() {
  engine->disconnect(client_);
  close();
}

void EngineHost::on_environment_exit(EngineHost* host) {
  host->leave();
  host->link_->host = nullptr;
  host->released_ = true;  // the environment frees the thread-safe function itself
}

void EngineHost::deliver(Napi::Env env, Napi::Function, Link* link, void*) {
  if (env == nullptr || link->host == nullptr) return;
  try {
    guarded(env, [&] { link->host->drain(env); });
  } catch (const Napi::Error&) {
    // The dispatcher of lib/engine.ts does not throw: the environment is being terminated and runs no more JavaScript.
  }
}

}  // namespace oss
