#include "native/binding/machine_wrap.h"

#include "native/backend/backend.h"
#include "native/backend/cuda/cuda_module.h"
#include "native/base/machine.h"
#include "native/binding/errors.h"
#include "native/engine/environment.h"

namespace oss {
namespace {

Napi::Value list_backends_js(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&] {
    Napi::Array out = Napi::Array::New(call.Env());
    for (const BackendStatus& status : list_backends()) {
      Napi::Object entry = Napi::Object::New(call.Env());
      entry.Set("name", status.name);
      entry.Set("available", status.available);
      entry.Set("detail", status.detail);
      out.Set(out.Length(), entry);
    }
    return out;
  });
}

// The loader of lib/ finds the package that has the CUDA module.
Napi::Value use_cuda_module(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&] {
    set_cuda_module_file(call[0].As<Napi::String>());
    return call.Env().Undefined();
  });
}

// The resources that the process may use, and the reason for their limits.
Napi::Value usable(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&] {
    const UsableThreads threads = usable_threads();
    const UsableMemory memory = usable_memory();
    Napi::Object out = Napi::Object::New(call.Env());
    out.Set("threads", threads.count);
    out.Set("threadsReason", threads.why);
    out.Set("memoryBytes", double(memory.bytes));
    out.Set("memoryReason", memory.why);
    return out;
  });
}

Napi::Value environment_problems_js(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&] {
    Napi::Object out = Napi::Object::New(call.Env());
    for (const EnvironmentProblem& problem : environment_problems()) out.Set(problem.name, problem.error.what());
    return out;
  });
}

Napi::Value error_codes(const Napi::CallbackInfo& call) {
  Napi::Array out = Napi::Array::New(call.Env());
#define OSS_PUSH(name, text) out.Set(out.Length(), text);
  OSS_ERROR_CODES(OSS_PUSH)
#undef OSS_PUSH
  return out;
}

}  // namespace

void init_machine(Napi::Env env, Napi::Object exports) {
  exports.Set("listBackends", Napi::Function::New<list_backends_js>(env));
  exports.Set("useCudaModule", Napi::Function::New<use_cuda_module>(env));
  exports.Set("usable", Napi::Function::New<usable>(env));
  exports.Set("environmentProblems", Napi::Function::New<environment_problems_js>(env));
  exports.Set("errorCodes", Napi::Function::New<error_codes>(env));
}

}  // namespace oss
