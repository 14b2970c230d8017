#include "native/binding/lab_wrap.h"

#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/common/synthetic.h"
#include "native/base/error.h"
#include "native/base/machine.h"
#include "native/base/str.h"
#include "native/base/thread.h"
#include "native/binding/arrays.h"
#include "native/binding/errors.h"
#include "native/binding/instance.h"
#include "native/binding/promise.h"
#include "native/lab/lab.h"
#include "native/lab/random_operands.h"
#include "native/lab/reference.h"

namespace oss {
namespace {

using lab::Arguments;
using lab::Array;
using lab::Comparison;
using lab::DeviceArray;
using lab::Lab;
using lab::Operation;
using lab::Outputs;

// An operation that a bench repeats, and what it was made from.
struct Prepared {
  Arguments arguments;
  std::unique_ptr<Operation> operation;
  size_t calls = 0;  // so far
};

// What lives on the lab's thread.
struct Bench {
  explicit Bench(const BackendOptions& options) : lab(options) {}
  Lab lab;
  std::map<uint32_t, std::shared_ptr<DeviceArray>> buffers;
  std::map<uint32_t, Prepared> prepared;

  template <typename Map>
  static auto& find(Map& of, uint32_t id, const char* what) {
    const auto found = of.find(id);
    if (found == of.end()) throw Error(Code::kInvalidArgument, str("the ", what, " is disposed"));
    return found->second;
  }
  std::shared_ptr<DeviceArray>& buffer(uint32_t id) { return find(buffers, id, "buffer"); }
};

// Arguments as JavaScript gave them: the lab's thread looks up the numbers of buffers, and makes random operands.
struct Request {
  Arguments arguments;
  std::map<std::string, uint32_t> buffers;
  std::map<std::string, lab::RandomKind> random;

  void resolve(Bench& bench, size_t cold_bytes = 0) {
    uint64_t made = 0;
    for (const auto& [name, array] : arguments.arrays) {
      // Random floats are made as bf16, widened, and copied to the device.
      if (array.synthetic) made += array.bytes() * (random.contains(name) ? 6 : 1);
    }
    bench.lab.check_room(std::max<uint64_t>(made, cold_bytes), "the operands");
    for (const auto& [name, kind] : random) lab::make_random(bench.lab, arguments, name, kind);
    for (const auto& [name, id] : buffers) {
      const auto found = bench.buffers.find(id);
      if (found == bench.buffers.end())
        throw Error(Code::kInvalidArgument, str(name, " is a buffer that was disposed"), name);
      const std::shared_ptr<DeviceArray>& buffer = found->second;
      arguments.arrays[name] = {.dtype = buffer->dtype, .elements = buffer->elements, .host = {}, .device = buffer};
    }
  }
};

// --- from JavaScript -------------------------------------------------------------------------------------------------

struct ElementType {
  DType dtype;
  napi_typedarray_type type;
  const char* name;
};
constexpr ElementType kElementTypes[] = {{DType::kF32, napi_float32_array, "f32"},
                                         {DType::kBF16, napi_uint16_array, "bf16"},
                                         {DType::kI32, napi_int32_array, "i32"},
                                         {DType::kU8, napi_uint8_array, "u8"}};

DType dtype_named(const std::string& name) {
  for (const ElementType& one : kElementTypes) {
    if (name == one.name) return one.dtype;
  }
  throw Error(Code::kInvalidArgument,
              str("expected \"f32\", \"bf16\", \"i32\" or \"u8\" for dtype but received \"", name, "\""), "dtype");
}
const char* name_of(DType dtype) {
  for (const ElementType& one : kElementTypes) {
    if (dtype == one.dtype) return one.name;
  }
  return dtype_name(dtype);
}

std::vector<std::byte> bytes_of(const Napi::TypedArray& array) {
  const auto* data = static_cast<const std::byte*>(array.ArrayBuffer().Data());
  if (data == nullptr) return {};
  return {data + array.ByteOffset(), data + array.ByteOffset() + array.ByteLength()};
}

// { synthetic: "normal" | "norm" | "codes" | "scales" | "floats" | "tokens" | "choices", elements, key, scale }
void add_synthetic(const Napi::Object& from, const std::string& name, Request& to) {
  const std::string kind = from.Get("synthetic").As<Napi::String>();
  if (kind == "floats") to.random[name] = lab::RandomKind::kFloats;
  if (kind == "tokens") to.random[name] = lab::RandomKind::kTokens;
  if (kind == "choices") to.random[name] = lab::RandomKind::kChoices;
  const int number = kind == "norm"     ? kSyntheticNorm
                     : kind == "codes"  ? kSyntheticCodes
                     : kind == "scales" ? kSyntheticScales
                                        : kSyntheticNormal;
  Array& out = to.arguments.arrays[name];
  out.dtype = synthetic_element_bytes(number) == 2 ? DType::kBF16 : DType::kU8;
  out.elements = size_t(from.Get("elements").As<Napi::Number>().Int64Value());
  out.synthetic = SyntheticSource{.kind = number,
                                  .key = uint64_t(from.Get("key").As<Napi::Number>().Int64Value()),
                                  .scale = from.Get("scale").As<Napi::Number>().FloatValue()};
}

// { operation, numbers, words, arrays }: lib/kernels has sorted the values by their types.
Request request_from_js(const Napi::Object& from) {
  Request request;
  request.arguments.operation = from.Get("operation").As<Napi::String>();
  const auto each = [&](const char* key, const auto& body) {
    const Napi::Object values = from.Get(key).As<Napi::Object>();
    const Napi::Array names = values.GetPropertyNames();
    for (uint32_t i = 0; i < names.Length(); ++i) {
      const std::string name = names.Get(i).As<Napi::String>();
      body(name, values.Get(name));
    }
  };
  each("numbers", [&](const std::string& name, const Napi::Value& value) {
    request.arguments.numbers[name] = value.As<Napi::Number>().DoubleValue();
  });
  each("words", [&](const std::string& name, const Napi::Value& value) {
    request.arguments.words[name] = value.As<Napi::String>();
  });
  each("arrays", [&](const std::string& name, const Napi::Value& value) {
    if (value.IsNumber()) {
      request.buffers[name] = value.As<Napi::Number>().Uint32Value();
      return;
    }
    if (!value.IsTypedArray()) {
      add_synthetic(value.As<Napi::Object>(), name, request);
      return;
    }
    const auto array = value.As<Napi::TypedArray>();
    for (const ElementType& one : kElementTypes) {
      if (array.TypedArrayType() != one.type) continue;
      request.arguments.arrays[name] = {.dtype = one.dtype, .elements = array.ElementLength(), .host = bytes_of(array)};
      return;
    }
    throw Error(Code::kInvalidArgument,
                str("expected ", name, " to be a Float32Array, Uint16Array (bf16), Int32Array or Uint8Array"), name);
  });
  return request;
}

BackendOptions options_from_js(const Napi::Object& from) {
  BackendOptions options;
  options.backend = from.Get("backend").As<Napi::String>();
  options.threads = from.Get("threads").As<Napi::Number>().Int32Value();
  options.isa = from.Get("isa").As<Napi::String>();
  options.numerics = from.Get("numerics").As<Napi::String>();
  options.dense_weights =
      from.Get("denseWeights").As<Napi::String>().Utf8Value() == "q8" ? DenseWeights::kQ8 : DenseWeights::kBF16;
  options.repeatable = from.Get("repeatable").As<Napi::Boolean>();
  return options;
}

// --- to JavaScript ---------------------------------------------------------------------------------------------------

// Arrays as bytes with the name of their type. Nothing of a result in a caller's own buffer: the caller has it.
Napi::Object outputs_to_js(Napi::Env env, const Outputs& outputs) {
  Napi::Object out = Napi::Object::New(env);
  for (const auto& [name, array] : outputs) {
    Napi::Object one = Napi::Object::New(env);
    out.Set(name, one);
    if (array.device != nullptr) continue;
    one.Set("dtype", name_of(array.dtype));
    one.Set("bytes", array_to_js<Napi::Uint8Array>(
                         env, std::span(reinterpret_cast<const uint8_t*>(array.host.data()), array.host.size())));
  }
  return out;
}

Napi::Object work_to_js(Napi::Env env, const lab::Work& work) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("bytes", work.bytes);
  out.Set("flops", work.flops);
  out.Set("onBf16Unit", work.on_bf16_unit);
  return out;
}

// --- the thread ------------------------------------------------------------------------------------------------------

// Work for the lab's thread, and what JavaScript makes of its result.
struct Job {
  Napi::Promise::Deferred deferred;
  std::function<void(Bench&)> work;
  std::function<Napi::Value(Napi::Env)> result;
  bool is_last = false;  // closes the lab instead
  std::exception_ptr failure{};
};

// Everything that the lab's thread and the thread of JavaScript share.
class LabThread {
 public:
  // pinned: each of the lab's threads stays on a core of its own, the first ones of the process.
  LabThread(Napi::Env env, BackendOptions options, bool pinned)
      : env_(env), options_(std::move(options)), pinned_(pinned) {
    done_ = Done::New(env, "gpt-oss lab", 0, 1, this);
    done_.Unref(env);
    hook_ = std::make_unique<Hook>(env.AddCleanupHook(&LabThread::on_environment_exit, this));
    try {
      thread_ = Thread("gpt-oss lab", [this] { run(); });
    } catch (...) {
      release();
      throw;
    }
  }
  ~LabThread() {
    stop();
    release();
  }

  Napi::Promise push(std::function<void(Bench&)> work, std::function<Napi::Value(Napi::Env)> result) {
    return push({Napi::Promise::Deferred::New(env_), std::move(work), std::move(result)});
  }
  // Later calls are refused, and those that have not begun are rejected. The promise resolves when all memory is free.
  Napi::Promise close() {
    return push({Napi::Promise::Deferred::New(env_), nullptr, [](Napi::Env env) { return env.Undefined(); }, true});
  }

 private:
  static void deliver(Napi::Env env, Napi::Function, LabThread* self, Job* job) {
    const std::unique_ptr<Job> owned(job);
    if (env == nullptr) return;
    if (--self->open_ == 0) self->done_.Unref(env);
    if (owned->failure != nullptr)
      reject(owned->deferred, owned->failure);
    else
      settle(owned->deferred, [&] { return owned->result(env); });
  }
  using Done = Napi::TypedThreadSafeFunction<LabThread, Job, &LabThread::deliver>;
  using Hook = Napi::Env::CleanupHook<void (*)(LabThread*), LabThread>;

  Napi::Promise push(Job made) {
    auto job = std::make_unique<Job>(std::move(made));
    const Napi::Promise promise = job->deferred.Promise();
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) throw Error(Code::kClosed, "the lab is closed");
      stopping_ = job->is_last;
      jobs_.push_back(std::move(job));
    }
    if (open_++ == 0) done_.Ref(env_);  // so that the process waits for it
    wake_.notify_one();
    return promise;
  }

  void run() {
    std::optional<Bench> bench;
    for (;;) {
      std::unique_ptr<Job> job;
      bool stopped = false;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
        stopped = stopping_;
        if (jobs_.empty()) break;
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      try {
        if (job->is_last) {
          bench.reset();
        } else if (stopped) {
          throw Error(Code::kClosed, "the lab was closed");
        } else {
          if (!bench) {
            bench.emplace(options_);
            if (pinned_) bench->lab.backend().keep_threads_apart();
          }
          job->work(*bench);
        }
      } catch (...) {
        job->failure = std::current_exception();
      }
      Job* ended = job.release();
      if (done_.NonBlockingCall(ended) != napi_ok) delete ended;  // the environment ends
    }
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  void release() {
    if (std::exchange(released_, true)) return;
    done_.Release();
    hook_->Remove(env_);
  }
  static void on_environment_exit(LabThread* self) {
    self->stop();
    self->released_ = true;  // the environment frees the thread-safe function itself
  }

  Napi::Env env_;
  const BackendOptions options_;
  const bool pinned_;
  Done done_;
  std::unique_ptr<Hook> hook_;
  size_t open_ = 0;  // calls that have not ended; the thread of JavaScript only
  bool released_ = false;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> jobs_;
  bool stopping_ = false;
  Thread thread_;
};

// --- the class -------------------------------------------------------------------------------------------------------

class LabWrap final : public Napi::ObjectWrap<LabWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "Lab",
        {InstanceMethod<&LabWrap::info>("info"), InstanceMethod<&LabWrap::create_buffer>("createBuffer"),
         InstanceMethod<&LabWrap::write_buffer>("writeBuffer"), InstanceMethod<&LabWrap::read_buffer>("readBuffer"),
         InstanceMethod<&LabWrap::dispose_buffer>("disposeBuffer"), InstanceMethod<&LabWrap::run>("run"),
         InstanceMethod<&LabWrap::prepare>("prepare"), InstanceMethod<&LabWrap::repeat>("repeat"),
         InstanceMethod<&LabWrap::compare>("compare"), InstanceMethod<&LabWrap::outputs>("outputs"),
         InstanceMethod<&LabWrap::dispose>("dispose"), InstanceMethod<&LabWrap::roofs>("roofs"),
         InstanceMethod<&LabWrap::close>("close")});
  }

  explicit LabWrap(const Napi::CallbackInfo& call)
      : ObjectWrap(call), thread_(guarded(call.Env(), [&] {
          const Napi::Object options = call[0].As<Napi::Object>();
          return std::make_unique<LabThread>(call.Env(), options_from_js(options),
                                             options.Get("pinned").As<Napi::Boolean>().Value());
        })) {}

 private:
  // `work` makes a value on the lab's thread, `result` makes JavaScript's of it.
  template <typename Work, typename Result>
  Napi::Value later(const Napi::CallbackInfo& call, Work work, Result result) {
    return guarded(call.Env(), [&] {
      using Value = std::invoke_result_t<Work, Bench&>;
      auto value = std::make_shared<std::optional<Value>>();
      return thread_->push(
          [value, work = std::move(work)](Bench& bench) mutable { value->emplace(work(bench)); },
          [value, result = std::move(result)](Napi::Env env) { return Napi::Value(result(env, **value)); });
    });
  }
  static Napi::Value nothing(Napi::Env env, bool) { return env.Undefined(); }

  Napi::Value info(const Napi::CallbackInfo& call) {
    struct Info {
      DeviceInfo device;
      std::string activations;
      std::vector<std::string> operations;
    };
    return later(
        call, [](Bench& bench) { return Info{bench.lab.info(), bench.lab.activations(), bench.lab.operations()}; },
        [](Napi::Env env, const Info& info) {
          Napi::Object out = Napi::Object::New(env);
          out.Set("backend", info.device.backend);
          out.Set("device", info.device.device);
          out.Set("isa", info.device.isa);
          out.Set("threads", info.device.threads);
          out.Set("numerics", info.device.numerics);
          out.Set("activations", info.activations);
          Napi::Array names = Napi::Array::New(env);
          for (const std::string& name : info.operations) names.Set(names.Length(), name);
          out.Set("operations", names);
          return out;
        });
  }

  // createBuffer(dtype, elements) → number
  Napi::Value create_buffer(const Napi::CallbackInfo& call) {
    return guarded(call.Env(), [&] {
      const DType dtype = dtype_named(call[0].As<Napi::String>());
      const auto elements = size_t(call[1].As<Napi::Number>().Int64Value());
      const uint32_t id = ++last_id_;
      return later(
          call,
          [=](Bench& bench) {
            bench.buffers[id] = bench.lab.create(dtype, elements);
            return id;
          },
          [](Napi::Env env, uint32_t made) { return Napi::Number::New(env, made); });
    });
  }
  // writeBuffer(number, first byte, typed array)
  Napi::Value write_buffer(const Napi::CallbackInfo& call) {
    const uint32_t id = call[0].As<Napi::Number>().Uint32Value();
    const auto first = size_t(call[1].As<Napi::Number>().Int64Value());
    return later(
        call,
        [=, bytes = bytes_of(call[2].As<Napi::TypedArray>())](Bench& bench) {
          const std::shared_ptr<DeviceArray>& to = bench.buffer(id);
          if (first > to->bytes() || bytes.size() > to->bytes() - first)
            throw Error(Code::kInvalidArgument,
                        str(bytes.size(), " bytes from ", first, " on exceed the buffer of ", to->bytes()));
          bench.lab.write(*to, first, bytes);
          return true;
        },
        nothing);
  }
  Napi::Value read_buffer(const Napi::CallbackInfo& call) {
    const uint32_t id = call[0].As<Napi::Number>().Uint32Value();
    return later(
        call, [=](Bench& bench) { return bench.lab.read(*bench.buffer(id)); },
        [](Napi::Env env, const std::vector<std::byte>& bytes) {
          return array_to_js<Napi::Uint8Array>(env,
                                               std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
        });
  }
  Napi::Value dispose_buffer(const Napi::CallbackInfo& call) {
    const uint32_t id = call[0].As<Napi::Number>().Uint32Value();
    return later(call, [=](Bench& bench) { return bench.buffers.erase(id) > 0; }, nothing);
  }

  // run(request) → { outputs, seconds, work }
  Napi::Value run(const Napi::CallbackInfo& call) {
    return guarded(call.Env(), [&] {
      struct Ran {
        Outputs outputs;
        double seconds;
        lab::Work work;
      };
      return later(
          call,
          [request = request_from_js(call[0].As<Napi::Object>())](Bench& bench) mutable {
            request.resolve(bench);
            const std::unique_ptr<Operation> operation = bench.lab.prepare(std::move(request.arguments));
            const double seconds = bench.lab.run(*operation);
            return Ran{operation->outputs(), seconds, operation->work};
          },
          [](Napi::Env env, const Ran& ran) {
            Napi::Object out = Napi::Object::New(env);
            out.Set("outputs", outputs_to_js(env, ran.outputs));
            out.Set("seconds", ran.seconds);
            out.Set("work", work_to_js(env, ran.work));
            return out;
          });
    });
  }

  // prepare(request, coldBytes) → { id, work }
  Napi::Value prepare(const Napi::CallbackInfo& call) {
    return guarded(call.Env(), [&] {
      const uint32_t id = ++last_id_;
      const auto cold_bytes = size_t(call[1].As<Napi::Number>().Int64Value());
      return later(
          call,
          [=, request = request_from_js(call[0].As<Napi::Object>())](Bench& bench) mutable {
            request.resolve(bench, cold_bytes);
            std::unique_ptr<Operation> operation = bench.lab.prepare(request.arguments, cold_bytes);
            const lab::Work work = operation->work;
            bench.prepared[id] = {std::move(request.arguments), std::move(operation)};
            return work;
          },
          [id](Napi::Env env, const lab::Work& work) {
            Napi::Object out = Napi::Object::New(env);
            out.Set("id", id);
            out.Set("work", work_to_js(env, work));
            return out;
          });
    });
  }
  // repeat(number, calls) → seconds of all calls together
  Napi::Value repeat(const Napi::CallbackInfo& call) {
    const uint32_t id = call[0].As<Napi::Number>().Uint32Value();
    const size_t calls = call[1].As<Napi::Number>().Uint32Value();
    return later(
        call,
        [=](Bench& bench) {
          Prepared& one = Bench::find(bench.prepared, id, "operation");
          const double seconds = bench.lab.run(*one.operation, one.calls, calls, one.calls > 0);
          one.calls += calls;
          return seconds;
        },
        [](Napi::Env env, double seconds) { return Napi::Number::New(env, seconds); });
  }
  // compare(number) → { values, worst, where }: of the results of one run, which must be the first
  Napi::Value compare(const Napi::CallbackInfo& call) {
    const uint32_t id = call[0].As<Napi::Number>().Uint32Value();
    return later(
        call,
        [=](Bench& bench) {
          Prepared& one = Bench::find(bench.prepared, id, "operation");
          bench.lab.run(*one.operation);
          return lab::compare(bench.lab, one.arguments, one.operation->outputs());
        },
        [](Napi::Env env, const Comparison& comparison) {
          Napi::Object out = Napi::Object::New(env);
          out.Set("values", double(comparison.values));
          out.Set("worst", comparison.worst);
          out.Set("where", comparison.where);
          return out;
        });
  }
  Napi::Value outputs(const Napi::CallbackInfo& call) {
    const uint32_t id = call[0].As<Napi::Number>().Uint32Value();
    return later(
        call, [=](Bench& bench) { return Bench::find(bench.prepared, id, "operation").operation->outputs(); },
        [](Napi::Env env, const Outputs& outputs) { return outputs_to_js(env, outputs); });
  }
  Napi::Value dispose(const Napi::CallbackInfo& call) {
    const uint32_t id = call[0].As<Napi::Number>().Uint32Value();
    return later(call, [=](Bench& bench) { return bench.prepared.erase(id) > 0; }, nothing);
  }

  // roofs(coldBytes, seconds) → { bytesPerSecond, bytesBy, float32, bf16 }
  Napi::Value roofs(const Napi::CallbackInfo& call) {
    const auto cold_bytes = size_t(call[0].As<Napi::Number>().Int64Value());
    const double seconds = call[1].As<Napi::Number>().DoubleValue();
    return later(
        call, [=](Bench& bench) { return bench.lab.backend().peaks(cold_bytes, seconds); },
        [](Napi::Env env, const Peaks& peaks) {
          Napi::Object out = Napi::Object::New(env);
          const auto unit = [env](const UnitPeak& of) {
            Napi::Object one = Napi::Object::New(env);
            one.Set("instruction", of.instruction);
            one.Set("flopsPerSecond", of.flops_per_second);
            return one;
          };
          out.Set("bytesPerSecond", peaks.bytes_per_second);
          out.Set("bytesBy", peaks.bytes_by);
          out.Set("float32", unit(peaks.float32));
          out.Set("bf16", peaks.bf16 ? Napi::Value(unit(*peaks.bf16)) : Napi::Value(env.Null()));
          return out;
        });
  }

  Napi::Value close(const Napi::CallbackInfo& call) {
    return guarded(call.Env(), [&] { return thread_->close(); });
  }

  std::unique_ptr<LabThread> thread_;
  uint32_t last_id_ = 0;
};

}  // namespace

static Napi::Value open_lab(const Napi::CallbackInfo& call) {
  return call.Env().GetInstanceData<Instance>()->lab_class.New({call[0]});
}

void init_lab(Napi::Env env, Napi::Object exports) {
  env.GetInstanceData<Instance>()->lab_class = Napi::Persistent(LabWrap::define(env));
  exports.Set("openLab", Napi::Function::New<open_lab>(env));
}

}  // namespace oss
