#include "native/binding/engine_wrap.h"

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "kernels/common/q8.h"
#include "native/base/packed_file.h"
#include "native/base/trace.h"
#include "native/binding/convert.h"
#include "native/binding/errors.h"
#include "native/loader/packed_places.h"

namespace oss {
namespace {

class EngineHost;

// What a call that is still queued holds on to: it may be delivered when its engine is long gone.
struct Link {
  EngineHost* host;
};
void deliver(Napi::Env env, Napi::Function on_events, Link* link, void*);
using Wake = Napi::TypedThreadSafeFunction<Link, void, deliver>;

// Engines that may be attached to from other threads, by handle.
class SharedEngines {
 public:
  uint32_t add(const std::shared_ptr<Engine>& engine) {
    std::lock_guard lock(mutex_);
    std::erase_if(engines_, [](const auto& entry) { return entry.second.expired(); });
    for (const auto& [handle, known] : engines_) {
      if (known.lock() == engine) return handle;
    }
    engines_[++last_] = engine;
    return last_;
  }
  std::shared_ptr<Engine> find(uint32_t handle) {
    std::lock_guard lock(mutex_);
    const auto at = engines_.find(handle);
    return at == engines_.end() ? nullptr : at->second.lock();
  }

 private:
  std::mutex mutex_;
  std::map<uint32_t, std::weak_ptr<Engine>> engines_;
  uint32_t last_ = 0;
};

SharedEngines& shared_engines() {
  static SharedEngines& all = *new SharedEngines;  // never destroyed: other threads may still ask when main() exits
  return all;
}

// One JavaScript environment's way to an engine and back. The engine thread wakes that environment at most once per step;
// the function is referenced only while a request runs, so that an idle engine keeps no process alive.
class EngineHost {
 public:
  // owner: the engine ends with this host; else only this host's requests do.
  EngineHost(Napi::Env env, std::shared_ptr<Engine> shared, bool owner, Napi::Function on_events)
      : engine(std::move(shared)), owner_(owner), env_(env), on_events_(Napi::Persistent(on_events)) {
    auto link = std::make_unique<Link>(Link{this});
    link_ = link.get();
    wake_ = Wake::New(
        env, on_events, "gpt-oss events", 0, 1, link_, [](Napi::Env, Link* owned, Link*) { delete owned; }, link_);
    link.release();  // wake_'s now
    wake_.Unref(env);
    try {
      // Registered after the thread-safe function, hence run before it goes: nobody wakes it any more then.
      hook_ = std::make_unique<Hook>(env.AddCleanupHook(&EngineHost::on_environment_exit, this));
      client_ = engine->connect([this] { wake_.NonBlockingCall(); });
    } catch (...) {
      link_->host = nullptr;
      wake_.Release();
      if (hook_ != nullptr) hook_->Remove(env);
      throw;
    }
  }

  // On the JavaScript thread: after close(), by the collector, or because this environment could not even take the engine.
  ~EngineHost() {
    leave();
    release();
  }

  void submit(Napi::Env env, Request request) {
    request.client = client_;
    const uint64_t id = request.id;
    open_[id] = request.choices;  // before: a request that the engine has must be known here
    try {
      engine->submit(std::move(request));
    } catch (...) {
      open_.erase(id);
      throw;
    }
    if (open_.size() == 1) wake_.Ref(env);
  }
  uint64_t client() const { return client_; }

  // Hands everything in the mailbox to JavaScript.
  void drain(Napi::Env env) {
    const std::optional<Error> ending = engine->ending();  // asked first: all its events are in the mailbox then
    std::vector<Event> events = engine->take_events(client_);
    const bool was_busy = !open_.empty();
    for (const Event& event : events) {
      const auto at = open_.find(event.id);
      if (at == open_.end()) continue;
      if (event.kind == Event::Kind::kDone) --at->second;
      if (event.kind == Event::Kind::kError || at->second == 0) open_.erase(at);
    }
    if (ending) {  // an engine that memory was refused to may not have told of everything
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

  // Any thread. Ends the engine, or this host's part in it; what is left to tell is in the mailbox for drain().
  void close() {
    if (owner_) engine->close();
  }

  // After close(): gives back what ties the engine to its environment.
  void release() {
    if (std::exchange(released_, true)) return;
    engine->disconnect(client_);
    link_->host = nullptr;
    wake_.Release();
    hook_->Remove(env_);
  }

  const std::shared_ptr<Engine> engine;

 private:
  using Hook = Napi::Env::CleanupHook<void (*)(EngineHost*), EngineHost>;

  void leave() {
    engine->disconnect(client_);
    close();
  }
  static void on_environment_exit(EngineHost* host) {
    host->leave();
    host->link_->host = nullptr;
    host->released_ = true;  // the environment frees the thread-safe function itself
  }

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

void deliver(Napi::Env env, Napi::Function, Link* link, void*) {
  if (env == nullptr || link->host == nullptr) return;
  try {
    guarded(env, [&] { link->host->drain(env); });
  } catch (const Napi::Error&) {
    // The dispatcher of lib/engine.ts does not throw: this environment is being terminated and runs no more JavaScript.
  }
}

// What a worker thread threw, with its code.
void reject(const Napi::Promise::Deferred& deferred, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Napi::Error& error) {
    deferred.Reject(error.Value());
  } catch (const std::exception& error) {
    deferred.Reject(to_js_error(deferred.Env(), error).Value());
  }
}

// At the end of a worker: nothing but an error of JavaScript may leave it, and then nobody would settle the promise.
template <typename Body>
void settle(const Napi::Promise::Deferred& deferred, const Body& body) {
  try {
    deferred.Resolve(body());
  } catch (...) {
    reject(deferred, std::current_exception());
  }
}

class CloseWorker : public Napi::AsyncWorker {
 public:
  CloseWorker(Napi::Env env, std::shared_ptr<EngineHost> host)
      : AsyncWorker(env, "gpt-oss close"), deferred(env), host_(std::move(host)) {}
  void Execute() override { host_->close(); }
  void OnOK() override {
    settle(deferred, [&]() -> Napi::Value {
      host_->drain(Env());  // the rejections come before close() resolves
      host_->release();
      return Env().Undefined();
    });
  }
  Napi::Promise::Deferred deferred;

 private:
  std::shared_ptr<EngineHost> host_;
};

class EngineWrap : public Napi::ObjectWrap<EngineWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "NativeEngine",
        {InstanceAccessor<&EngineWrap::info>("info"), InstanceMethod<&EngineWrap::submit>("submit"),
         InstanceMethod<&EngineWrap::cancel>("cancel"), InstanceMethod<&EngineWrap::pause>("pause"),
         InstanceMethod<&EngineWrap::supply_logits>("supplyLogits"), InstanceMethod<&EngineWrap::stats>("stats"),
         InstanceMethod<&EngineWrap::share>("share"), InstanceMethod<&EngineWrap::bytes_per_token>("bytesPerToken"),
         InstanceMethod<&EngineWrap::close>("close")});
  }

  // Made by LoadWorker only: the argument is an External of a shared_ptr<EngineHost>.
  explicit EngineWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    if (info.Length() != 1 || !info[0].IsExternal()) {
      throw to_js_error(info.Env(), Code::kInvalidArgument, "a NativeEngine is made by loadEngine()");
    }
    host_ = *info[0].As<Napi::External<std::shared_ptr<EngineHost>>>().Data();
  }

 private:
  Napi::Value info(const Napi::CallbackInfo& call) {
    return guarded(call.Env(), [&] { return info_to_js(call.Env(), host_->engine->info()); });
  }
  void submit(const Napi::CallbackInfo& call) {
    guarded(call.Env(), [&] { host_->submit(call.Env(), request_from_js(call[0].As<Napi::Object>())); });
  }
  void cancel(const Napi::CallbackInfo& call) {
    guarded(call.Env(), [&] {
      if (call[1].IsNumber()) {
        host_->engine->cancel_choice(host_->client(), id_of(call), call[1].As<Napi::Number>());
      } else {
        host_->engine->cancel(host_->client(), id_of(call));
      }
    });
  }
  void pause(const Napi::CallbackInfo& call) {
    guarded(call.Env(), [&] {
      host_->engine->pause(host_->client(), id_of(call), call[1].As<Napi::Number>(), call[2].As<Napi::Boolean>());
    });
  }
  void supply_logits(const Napi::CallbackInfo& call) {
    guarded(call.Env(), [&] {
      host_->engine->supply_logits(host_->client(), id_of(call), call[1].As<Napi::Number>(), floats_from_js(call[2]));
    });
  }
  Napi::Value share(const Napi::CallbackInfo& call) {
    return guarded(call.Env(), [&] { return Napi::Number::New(call.Env(), shared_engines().add(host_->engine)); });
  }
  static uint64_t id_of(const Napi::CallbackInfo& call) { return uint64_t(call[0].As<Napi::Number>().DoubleValue()); }
  Napi::Value stats(const Napi::CallbackInfo& call) {
    return guarded(call.Env(), [&] { return stats_to_js(call.Env(), host_->engine->stats()); });
  }
  Napi::Value bytes_per_token(const Napi::CallbackInfo& call) {
    const int64_t context = call[0].As<Napi::Number>().Int64Value();
    const EngineInfo& info = host_->engine->info();
    const double dense_bytes = info.dense_weights == DenseWeights::kQ8 ? double(kQ8BlockBytes) / kQ8Block : 2;
    return Napi::Number::New(call.Env(),
                             info.model.bytes_per_token(context, kv_element_bytes(info.kv_type), dense_bytes));
  }
  Napi::Value close(const Napi::CallbackInfo& call) {
    return guarded(call.Env(), [&] {
      auto* worker = new CloseWorker(call.Env(), host_);
      worker->Queue();
      return worker->deferred.Promise();
    });
  }

  std::shared_ptr<EngineHost> host_;  // with the object collected, the engine ends
};

// Per environment (main thread or worker): the constructor of NativeEngine.
struct Instance {
  Napi::FunctionReference engine_class;
};

Napi::Object wrap(Napi::Env env, std::shared_ptr<EngineHost> host) {
  auto& constructor = env.GetInstanceData<Instance>()->engine_class;
  return constructor.New({Napi::External<std::shared_ptr<EngineHost>>::New(env, &host)});
}

Napi::Value attach_engine(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    std::shared_ptr<Engine> engine = shared_engines().find(call[0].As<Napi::Number>());
    if (engine == nullptr) throw Error(Code::kClosed, "the engine of this handle is gone, or of another process");
    return wrap(call.Env(),
                std::make_shared<EngineHost>(call.Env(), std::move(engine), false, call[1].As<Napi::Function>()));
  });
}

class LoadWorker : public Napi::AsyncProgressQueueWorker<LoadProgress> {
 public:
  LoadWorker(Napi::Env env, std::string path, EngineOptions options, Napi::Function on_events, Napi::Value on_progress,
             std::shared_ptr<std::atomic<bool>> cancelled)
      : AsyncProgressQueueWorker(env, "gpt-oss load"),
        deferred(env),
        path_(std::move(path)),
        options_(std::move(options)),
        on_events_(Napi::Persistent(on_events)),
        cancelled_(std::move(cancelled)) {
    if (on_progress.IsFunction()) on_progress_ = Napi::Persistent(on_progress.As<Napi::Function>());
  }

  void Execute(const ExecutionProgress& execution) override {
    try {
      engine_ = std::make_shared<Engine>(
          path_, options_, [&](const LoadProgress& progress) { execution.Send(&progress, 1); },
          [this] { return cancelled_->load(); });
    } catch (...) {
      failure_ = std::current_exception();
      SetError("load failed");  // OnError finds the reason in failure_
    }
  }

  void OnProgress(const LoadProgress* progress, size_t count) override {
    if (on_progress_.IsEmpty()) return;
    for (size_t i = 0; i < count; ++i) {
      Napi::Object event = Napi::Object::New(Env());
      event.Set("phase", progress[i].phase);
      event.Set("loadedBytes", double(progress[i].loaded_bytes));
      event.Set("totalBytes", double(progress[i].total_bytes));
      if (!progress[i].writes.empty()) event.Set("writes", progress[i].writes);
      on_progress_.Call({event});
    }
  }

  void OnOK() override {
    settle(deferred, [&] {
      return wrap(Env(), std::make_shared<EngineHost>(Env(), std::move(engine_), true, on_events_.Value()));
    });
  }

  void OnError(const Napi::Error&) override { reject(deferred, failure_); }

  Napi::Promise::Deferred deferred;

 private:
  std::string path_;
  EngineOptions options_;
  Napi::FunctionReference on_events_, on_progress_;
  std::shared_ptr<std::atomic<bool>> cancelled_;
  std::shared_ptr<Engine> engine_;
  std::exception_ptr failure_;
};

Napi::Value load_engine(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&] {
    auto cancelled = std::make_shared<std::atomic<bool>>(false);
    auto* worker = new LoadWorker(env, call[0].As<Napi::String>(), engine_options_from_js(call[1].As<Napi::Object>()),
                                  call[2].As<Napi::Function>(), call[3], cancelled);
    Napi::Object loading = Napi::Object::New(env);
    loading.Set("promise", worker->deferred.Promise());
    loading.Set("cancel", Napi::Function::New(env, [cancelled](const Napi::CallbackInfo&) { *cancelled = true; }));
    worker->Queue();
    return loading;
  });
}

// On the JavaScript thread, for models that are there in no time.
Napi::Value load_engine_now(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&] {
    auto engine = std::make_shared<Engine>(
        call[0].As<Napi::String>().Utf8Value(), engine_options_from_js(call[1].As<Napi::Object>()),
        [](const LoadProgress&) {}, nullptr);
    return wrap(call.Env(),
                std::make_shared<EngineHost>(call.Env(), std::move(engine), true, call[2].As<Napi::Function>()));
  });
}

class InspectWorker : public Napi::AsyncWorker {
 public:
  InspectWorker(Napi::Env env, std::string path)
      : AsyncWorker(env, "gpt-oss inspect"), deferred(env), path_(std::move(path)) {}
  void Execute() override {
    try {
      checkpoint_ = open_checkpoint(path_);
      for (const std::string& path : packed_places(*checkpoint_, "auto")) {
        std::error_code absent;
        const uintmax_t bytes = std::filesystem::file_size(path, absent);
        if (!absent) packed_.push_back({path, bytes, PackedFile::damage(path)});
      }
    } catch (...) {
      failure_ = std::current_exception();
      SetError("inspect failed");
    }
  }
  void OnOK() override {
    settle(deferred, [&] {
      Napi::Object summary = checkpoint_to_js(Env(), *checkpoint_);
      Napi::Array packed = Napi::Array::New(Env());
      for (const Packed& file : packed_) {
        Napi::Object entry = Napi::Object::New(Env());
        entry.Set("path", file.path);
        entry.Set("bytes", double(file.bytes));
        entry.Set("damage", file.damage.empty() ? Env().Null() : Napi::String::New(Env(), file.damage));
        packed.Set(packed.Length(), entry);
      }
      summary.Set("packed", packed);
      return summary;
    });
  }
  void OnError(const Napi::Error&) override { reject(deferred, failure_); }
  Napi::Promise::Deferred deferred;

 private:
  std::string path_;
  struct Packed {
    std::string path;
    uintmax_t bytes;
    std::string damage;
  };
  std::unique_ptr<Checkpoint> checkpoint_;
  std::vector<Packed> packed_;
  std::exception_ptr failure_;
};

Napi::Value inspect(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&] {
    auto* worker = new InspectWorker(call.Env(), call[0].As<Napi::String>());
    worker->Queue();
    return worker->deferred.Promise();
  });
}

}  // namespace

void init_engine(Napi::Env env, Napi::Object exports) {
  auto* instance = new Instance{Napi::Persistent(EngineWrap::define(env))};
  env.SetInstanceData(instance);
  exports.Set("loadEngine", Napi::Function::New<load_engine>(env));
  exports.Set("loadEngineNow", Napi::Function::New<load_engine_now>(env));
  exports.Set("attachEngine", Napi::Function::New<attach_engine>(env));
  exports.Set("inspect", Napi::Function::New<inspect>(env));
}

}  // namespace oss
