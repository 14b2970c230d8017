#include "native/binding/engine_wrap.h"

#include <exception>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/common/q8.h"
#include "native/binding/convert.h"
#include "native/binding/errors.h"
#include "native/binding/instance.h"
#include "native/binding/promise.h"
#include "native/model/weight_sums.h"

namespace oss {
namespace {

// Engines to which other threads may attach, by handle.
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
  static SharedEngines& all = *new SharedEngines;  // never destroyed: other threads may still use it when main() exits
  return all;
}

class CloseWorker : public Napi::AsyncWorker {
 public:
  CloseWorker(Napi::Env env, std::shared_ptr<EngineHost> host)
      : AsyncWorker(env, "gpt-oss close"), deferred(env), host_(std::move(host)) {}
  void Execute() override { host_->close(); }
  void OnOK() override {
    settle(deferred, [&]() -> Napi::Value {
      host_->drain(Env());  // the rejections arrive before close() resolves
      host_->release();
      return Env().Undefined();
    });
  }
  Napi::Promise::Deferred deferred;

 private:
  std::shared_ptr<EngineHost> host_;
};

// Reads an adapter on a thread of the pool.
class AdapterWorker : public Napi::AsyncWorker {
 public:
  AdapterWorker(Napi::Env env, std::shared_ptr<EngineHost> host, AdapterOption option)
      : AsyncWorker(env, "gpt-oss adapter"), deferred(env), host_(std::move(host)), option_(std::move(option)) {}
  void Execute() override {
    try {
      info_ = host_->engine->load_adapter(option_);
    } catch (...) {
      failure_ = std::current_exception();
      SetError("load failed");  // OnError finds the reason in failure_
    }
  }
  void OnOK() override {
    settle(deferred, [&]() -> Napi::Value { return adapter_to_js(Env(), info_); });
  }
  void OnError(const Napi::Error&) override { reject(deferred, failure_); }
  Napi::Promise::Deferred deferred;

 private:
  std::shared_ptr<EngineHost> host_;
  AdapterOption option_;
  AdapterInfo info_;
  std::exception_ptr failure_;
};

class EngineWrap : public Napi::ObjectWrap<EngineWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "NativeEngine",
        {InstanceAccessor<&EngineWrap::info>("info"), InstanceMethod<&EngineWrap::submit>("submit"),
         InstanceMethod<&EngineWrap::cancel>("cancel"), InstanceMethod<&EngineWrap::pause>("pause"),
         InstanceMethod<&EngineWrap::supply_logits>("supplyLogits"), InstanceMethod<&EngineWrap::stats>("stats"),
         InstanceMethod<&EngineWrap::share>("share"), InstanceMethod<&EngineWrap::bytes_of_a_token>("bytesPerToken"),
         InstanceMethod<&EngineWrap::load_adapter>("loadAdapter"),
         InstanceMethod<&EngineWrap::unload_adapter>("unloadAdapter"),
         InstanceMethod<&EngineWrap::adapters>("adapters"), InstanceMethod<&EngineWrap::close>("close")});
  }

  // Called by LoadWorker only: the argument is an External of a shared_ptr<EngineHost>.
  explicit EngineWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    if (info.Length() != 1 || !info[0].IsExternal()) {
      throw to_js_error(info.Env(), Error(Code::kInvalidArgument, "a NativeEngine is made by loadEngine()"));
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
  Napi::Value bytes_of_a_token(const Napi::CallbackInfo& call) {
    const int64_t context = call[0].As<Napi::Number>().Int64Value();
    const EngineInfo& info = host_->engine->info();
    const double dense_bytes = info.dense_weights == DenseWeights::kQ8 ? double(kQ8BlockBytes) / kQ8Block : 2;
    return Napi::Number::New(call.Env(), bytes_per_token(info.model, context, kv_element_bytes(info.kv_type),
                                                         dense_bytes, info.expert_weights));
  }
  Napi::Value load_adapter(const Napi::CallbackInfo& call) {
    return guarded(call.Env(), [&] {
      auto* worker = new AdapterWorker(call.Env(), host_, adapter_option_from_js(call[0].As<Napi::Object>()));
      worker->Queue();
      return worker->deferred.Promise();
    });
  }
  void unload_adapter(const Napi::CallbackInfo& call) {
    guarded(call.Env(), [&] { host_->engine->unload_adapter(call[0].As<Napi::String>().Utf8Value()); });
  }
  Napi::Value adapters(const Napi::CallbackInfo& call) {
    return guarded(call.Env(), [&] { return adapters_to_js(call.Env(), host_->engine->adapters()); });
  }
  Napi::Value close(const Napi::CallbackInfo& call) {
    return guarded(call.Env(), [&] {
      auto* worker = new CloseWorker(call.Env(), host_);
      worker->Queue();
      return worker->deferred.Promise();
    });
  }

  std::shared_ptr<EngineHost> host_;  // when the object is collected, the engine ends
};

Napi::Value attach_engine(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    std::shared_ptr<Engine> engine = shared_engines().find(call[0].As<Napi::Number>());
    if (engine == nullptr) throw Error(Code::kClosed, "the engine of this handle is gone, or of another process");
    return wrap(call.Env(),
                std::make_shared<EngineHost>(call.Env(), std::move(engine), false, call[1].As<Napi::Function>()));
  });
}

}  // namespace

Napi::Object wrap(Napi::Env env, std::shared_ptr<EngineHost> host) {
  auto& constructor = env.GetInstanceData<Instance>()->engine_class;
  return constructor.New({Napi::External<std::shared_ptr<EngineHost>>::New(env, &host)});
}

void init_engine(Napi::Env env, Napi::Object exports) {
  env.GetInstanceData<Instance>()->engine_class = Napi::Persistent(EngineWrap::define(env));
  exports.Set("attachEngine", Napi::Function::New<attach_engine>(env));
}

}  // namespace oss
