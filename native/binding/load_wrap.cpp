#include "native/binding/load_wrap.h"

#include <atomic>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "native/binding/convert.h"
#include "native/binding/engine_wrap.h"
#include "native/binding/errors.h"
#include "native/binding/promise.h"

namespace oss {
namespace {

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

// Runs on the JavaScript thread, for models that load almost instantly.
Napi::Value load_engine_now(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&] {
    auto engine = std::make_shared<Engine>(
        call[0].As<Napi::String>().Utf8Value(), engine_options_from_js(call[1].As<Napi::Object>()),
        [](const LoadProgress&) {}, nullptr);
    return wrap(call.Env(),
                std::make_shared<EngineHost>(call.Env(), std::move(engine), true, call[2].As<Napi::Function>()));
  });
}

}  // namespace

void init_load(Napi::Env env, Napi::Object exports) {
  exports.Set("loadEngine", Napi::Function::New<load_engine>(env));
  exports.Set("loadEngineNow", Napi::Function::New<load_engine_now>(env));
}

}  // namespace oss
