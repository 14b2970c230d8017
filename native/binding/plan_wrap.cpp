#include "native/binding/plan_wrap.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "native/binding/convert.h"
#include "native/binding/errors.h"
#include "native/binding/promise.h"
#include "native/engine/model_plan.h"

namespace oss {
namespace {

PlanQuery query_from_js(const Napi::Object& from) {
  const auto number = [&](const char* key) { return from.Get(key).As<Napi::Number>().DoubleValue(); };
  PlanQuery query;
  query.model = from.Get("model").As<Napi::String>();
  query.has_files = from.Get("hasFiles").As<Napi::Boolean>();
  query.options = engine_options_from_js(from.Get("options").As<Napi::Object>());
  query.isa = from.Get("isa").As<Napi::String>();
  query.memory_bytes = uint64_t(number("memoryBytes"));
  query.wanted_context = int64_t(number("wantedContext"));
  query.wanted_conversations = int(number("wantedConversations"));
  return query;
}

Napi::Object memory_to_js(Napi::Env env, const ModelPlan& plan) {
  const MemoryNeeds& needs = plan.needs;
  Napi::Object out = Napi::Object::New(env);
  const auto set = [&](const char* key, auto value) { out.Set(key, double(value)); };
  set("availableBytes", plan.memory.free_bytes);
  set("totalBytes", plan.memory.total_bytes);
  set("weightsBytes", plan.file_bytes);
  set("mappedBytes", needs.weights.mapped);
  set("packedBytes", needs.packed_bytes());
  set("adapterBytes", needs.adapter_bytes);
  set("workspaceBytes", needs.workspace_bytes);
  set("reservedBytes", needs.reserved_bytes);
  set("leftBytes", plan.memory.free_bytes - std::min(plan.memory.free_bytes, needs.bytes()));
  set("kvBytes", plan.kv_bytes);
  set("kvTokens", plan.kv ? int64_t(plan.kv->pages[kKvFull]) * kPageTokens : 0);
  out.Set("availableReason", plan.memory.why);
  return out;
}

Napi::Array capacities_to_js(Napi::Env env, const ModelPlan& plan) {
  Napi::Array out = Napi::Array::New(env);
  for (const KvCapacity& capacity : plan.capacities) {
    Napi::Object one = Napi::Object::New(env);
    one.Set("dtype", name_of(capacity.type));
    one.Set("longestContext", double(capacity.longest_context));
    Napi::Array counts = Napi::Array::New(env);
    for (size_t i = 0; i < plan.contexts.size(); ++i) {
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("contextLength", double(plan.contexts[i]));
      entry.Set("count", capacity.conversations[i]);
      counts.Set(counts.Length(), entry);
    }
    one.Set("conversations", counts);
    out.Set(out.Length(), one);
  }
  return out;
}

Napi::Array kernels_to_js(Napi::Env env, const ModelPlan& plan) {
  Napi::Array out = Napi::Array::New(env);
  for (const StepKernels& step : plan.kernels) {
    Napi::Object one = Napi::Object::New(env);
    one.Set("step", step.step);
    one.Set("tokens", step.shape.tokens);
    one.Set("keys", step.shape.keys);
    Napi::Array kernels = Napi::Array::New(env);
    for (const metal::PlannedKernel& kernel : step.kernels) {
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("name", kernel.kernel);
      entry.Set("dispatches", kernel.dispatches);
      Napi::Array groups = Napi::Array::New(env);
      for (const uint32_t extent : {kernel.groups.x, kernel.groups.y, kernel.groups.z})
        groups.Set(groups.Length(), extent);
      entry.Set("threadgroups", groups);
      entry.Set("threads", kernel.threads);
      entry.Set("bytes", double(kernel.bytes));
      entry.Set("weightBytes", double(kernel.weight_bytes));
      kernels.Set(kernels.Length(), entry);
    }
    one.Set("kernels", kernels);
    out.Set(out.Length(), one);
  }
  return out;
}

Napi::Object plan_to_js(Napi::Env env, const ModelPlan& plan, const PlanQuery& query) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("model", config_to_js(env, plan.config));
  out.Set("backend", plan.device.backend);
  out.Set("device", plan.device.device);
  out.Set("isa", plan.device.isa);
  out.Set("numerics", plan.device.numerics);
  out.Set("kvCacheDtype", name_of(plan.needs.kv_type));
  out.Set("denseWeights", plan.needs.weights.q8 ? "q8" : "bf16");
  out.Set("expertWeights", name_of(query.options.expert_weights));
  out.Set("expertsInFile", plan.experts_in_file);
  out.Set("fits", plan.fits);
  Napi::Object wanted = Napi::Object::New(env);
  wanted.Set("conversations", query.wanted_conversations);
  wanted.Set("contextLength", double(plan.wanted_context));
  wanted.Set("possible", plan.possible_conversations);
  wanted.Set("bytes", double(plan.wanted_bytes));
  out.Set("wanted", wanted);
  out.Set("memory", memory_to_js(env, plan));
  Napi::Object limits = Napi::Object::New(env);
  limits.Set("contextLength", double(plan.kv ? plan.kv->context_length : 0));
  limits.Set("maxSequences", query.options.max_sequences);
  limits.Set("maxBatchTokens", plan.needs.limits.tokens);
  out.Set("limits", limits);
  out.Set("capacities", capacities_to_js(env, plan));
  out.Set("kernels", kernels_to_js(env, plan));
  return out;
}

class PlanWorker : public Napi::AsyncWorker {
 public:
  PlanWorker(Napi::Env env, PlanQuery query)
      : AsyncWorker(env, "gpt-oss plan"), deferred(env), query_(std::move(query)) {}
  void Execute() override {
    try {
      plan_ = plan_model(query_);
    } catch (...) {
      failure_ = std::current_exception();
      SetError("plan failed");  // OnError finds the reason in failure_
    }
  }
  void OnOK() override {
    settle(deferred, [&] { return plan_to_js(Env(), *plan_, query_); });
  }
  void OnError(const Napi::Error&) override { reject(deferred, failure_); }
  Napi::Promise::Deferred deferred;

 private:
  PlanQuery query_;
  std::optional<ModelPlan> plan_;
  std::exception_ptr failure_;
};

Napi::Value plan_model_js(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&] {
    auto* worker = new PlanWorker(call.Env(), query_from_js(call[0].As<Napi::Object>()));
    worker->Queue();
    return worker->deferred.Promise();
  });
}

}  // namespace

void init_plan(Napi::Env env, Napi::Object exports) {
  exports.Set("planModel", Napi::Function::New<plan_model_js>(env));
}

}  // namespace oss
