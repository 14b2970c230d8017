#include "native/binding/convert.h"

#include <algorithm>
#include <new>
#include <span>

#include "native/binding/arrays.h"
#include "native/binding/errors.h"
#include "native/model/weight_sums.h"
#include "native/testing/script.h"

namespace oss {

static double number(const Napi::Object& from, const char* key) {
  return from.Get(key).As<Napi::Number>().DoubleValue();
}

static std::optional<KvType> kv_type_of(const std::string& dtype) {
  if (dtype == "f32") return kKvF32;
  if (dtype == "bf16") return kKvBF16;
  if (dtype == "fp8") return kKvFP8;
  return std::nullopt;  // "auto"
}

const char* name_of(ExpertWeights type) { return type == ExpertWeights::kBF16 ? "bf16" : "mxfp4"; }
const char* name_of(KvType type) { return type == kKvF32 ? "f32" : type == kKvBF16 ? "bf16" : "fp8"; }

AdapterOption adapter_option_from_js(const Napi::Object& adapter) {
  return {
      .name = adapter.Get("name").As<Napi::String>().Utf8Value(),
      .path = adapter.Get("path").As<Napi::String>().Utf8Value(),
      .scale = float(number(adapter, "scale")),
      .merge = adapter.Get("merge").As<Napi::Boolean>().Value(),
  };
}

static std::vector<AdapterOption> adapter_options_from_js(const Napi::Array& adapters) {
  std::vector<AdapterOption> out;
  for (uint32_t i = 0; i < adapters.Length(); ++i) {
    out.push_back(adapter_option_from_js(adapters.Get(i).As<Napi::Object>()));
  }
  return out;
}

EngineOptions engine_options_from_js(const Napi::Object& options) {
  return {
      .backend = options.Get("backend").As<Napi::String>().Utf8Value(),
      .threads = int(number(options, "threads")),
      .context_length = int64_t(number(options, "contextLength")),
      .max_sequences = int(number(options, "maxSequences")),
      .max_queue = int(number(options, "maxQueue")),
      .max_batch_tokens = int(number(options, "maxBatchTokens")),
      .kv_type = kv_type_of(options.Get("kvDtype").As<Napi::String>().Utf8Value()),
      .kv_bytes = uint64_t(number(options, "kvBytes")),
      .prefix_cache = options.Get("prefixCache").As<Napi::Boolean>().Value(),
      .numerics = options.Get("numerics").As<Napi::String>().Utf8Value(),
      .dense_weights =
          options.Get("denseWeights").As<Napi::String>().Utf8Value() == "q8" ? DenseWeights::kQ8 : DenseWeights::kBF16,
      .expert_weights = options.Get("expertWeights").As<Napi::String>().Utf8Value() == "bf16" ? ExpertWeights::kBF16
                                                                                              : ExpertWeights::kMXFP4,
      .packed_weights = options.Get("packedWeights").As<Napi::String>().Utf8Value(),
      .repeatable = options.Get("repeatable").As<Napi::Boolean>().Value(),
      .adapters = adapter_options_from_js(options.Get("adapters").As<Napi::Array>()),
  };
}

SamplingArgs sampling_from_js(const Napi::Object& params) {
  bool lossless = false;
  const uint64_t seed = params.Get("seed").As<Napi::BigInt>().Uint64Value(&lossless);
  return {
      .temperature = float(number(params, "temperature")),
      .top_k = int(number(params, "topK")),
      .top_p = float(number(params, "topP")),
      .min_p = float(number(params, "minP")),
      .seed_lo = unsigned(seed),
      .seed_hi = unsigned(seed >> 32),
      .position = 0,
      .choice = 0,
      .repetition_penalty = float(number(params, "repetitionPenalty")),
      .presence_penalty = float(number(params, "presencePenalty")),
      .frequency_penalty = float(number(params, "frequencyPenalty")),
      .mask_reserved = params.Get("maskReserved").As<Napi::Boolean>().Value() ? 1 : 0,
  };
}

static std::vector<int32_t> tokens_from_js(const Napi::Value& value) {
  const std::span<const uint32_t> ids = elements_of<uint32_t>(value);
  std::vector<int32_t> tokens(ids.size());
  // Ids from 2^31 on would wrap to negative ones; submit() refuses both as outside the vocabulary.
  std::transform(ids.begin(), ids.end(), tokens.begin(), [](uint32_t id) { return int32_t(id); });
  return tokens;
}

std::vector<float> floats_from_js(const Napi::Value& value) {
  const std::span<const float> values = elements_of<float>(value);
  return {values.begin(), values.end()};
}

static std::shared_ptr<const Author> script_from_js(const Napi::Value& value) {
  if (!value.IsObject()) return nullptr;
  const Napi::Object from = value.As<Napi::Object>();
  const Napi::Array choices = from.Get("choices").As<Napi::Array>();
  std::vector<std::vector<int32_t>> written;
  for (uint32_t i = 0; i < choices.Length(); ++i) written.push_back(tokens_from_js(choices.Get(i)));
  auto script = std::make_shared<Script>(std::move(written));
  script->tokens_per_step = int(number(from, "tokensPerStep"));
  script->step_ms = number(from, "stepDelayMs");
  script->is_held = from.Get("isHeld").ToBoolean();
  return script;
}

Request request_from_js(const Napi::Object& request) {
  const Napi::Object bias = request.Get("bias").As<Napi::Object>();
  const std::vector<int32_t> biased = tokens_from_js(bias.Get("tokens"));
  const std::vector<float> values = floats_from_js(bias.Get("values"));
  const Napi::Array stop = request.Get("stop").As<Napi::Array>();
  std::vector<std::string> stop_strings;
  for (uint32_t i = 0; i < stop.Length(); ++i) stop_strings.push_back(stop.Get(i).As<Napi::String>().Utf8Value());
  Request out{
      .id = uint64_t(number(request, "id")),
      .prompt = tokens_from_js(request.Get("prompt")),
      .choices = int(number(request, "n")),
      .max_tokens = int64_t(number(request, "maxTokens")),
      .min_tokens = int64_t(number(request, "minTokens")),
      .stop_tokens = tokens_from_js(request.Get("stopTokens")),
      .stop_strings = stop_strings.empty() ? nullptr : make_stop_strings(stop_strings),
      .sampling = sampling_from_js(request.Get("sampling").As<Napi::Object>()),
      .bias = {},
      .top_logprobs = int(number(request, "topLogprobs")),
      .priority = int(number(request, "priority")),
      .tenant = request.Get("tenant").As<Napi::String>().Utf8Value(),
      .salt = request.Get("cacheSalt").As<Napi::String>().Utf8Value(),
      .processed = request.Get("processed").As<Napi::Boolean>().Value(),
      .constraint = nullptr,
      .logits_last = int64_t(number(request, "logitsLast")),
      .scored = request.Get("scored").ToBoolean(),
      .author = script_from_js(request.Get("script")),
      .adapter_name = request.Get("adapter").As<Napi::String>().Utf8Value(),
  };
  std::sort(out.stop_tokens.begin(), out.stop_tokens.end());
  if (const Napi::Value constraint = request.Get("constraint"); constraint.IsString()) {
    out.constraint_text = constraint.As<Napi::String>().Utf8Value();
  }
  for (size_t i = 0; i < std::min(biased.size(), values.size()); ++i) out.bias.push_back({biased[i], values[i]});
  return out;
}

// Calls Object.set for a list of numbers, in order.
static void set_numbers(Napi::Object& object, std::initializer_list<std::pair<const char*, double>> values) {
  for (const auto& [key, value] : values) object.Set(key, value);
}

Napi::Object config_to_js(Napi::Env env, const Config& c) {
  Napi::Object out = Napi::Object::New(env);
  set_numbers(out, {{"layers", c.num_layers},
                    {"hidden", c.hidden},
                    {"intermediate", c.intermediate},
                    {"heads", c.num_heads},
                    {"kvHeads", c.num_kv_heads},
                    {"headDim", c.head_dim},
                    {"experts", c.num_experts},
                    {"expertsPerToken", c.experts_per_token},
                    {"vocab", c.vocab},
                    {"slidingWindow", c.sliding_window},
                    {"rmsEps", c.rms_eps},
                    {"swigluLimit", c.swiglu_limit},
                    {"swigluAlpha", c.swiglu_alpha},
                    {"maxContext", double(c.max_context)},
                    {"parameters", double(parameters(c))}});
  Napi::Array types = Napi::Array::New(env, c.num_layers);
  for (int i = 0; i < c.num_layers; ++i) types[i] = Napi::String::New(env, c.layer_sliding[i] ? "sliding" : "full");
  out.Set("layerTypes", types);
  Napi::Object rope = Napi::Object::New(env);
  set_numbers(rope, {{"theta", c.rope.theta},
                     {"factor", c.rope.factor},
                     {"betaFast", c.rope.beta_fast},
                     {"betaSlow", c.rope.beta_slow},
                     {"originalContext", double(c.rope.original_context)}});
  rope.Set("truncate", c.rope.truncate);
  out.Set("rope", rope);
  Napi::Array eos = Napi::Array::New(env, c.eos_tokens.size());
  for (size_t i = 0; i < c.eos_tokens.size(); ++i) eos[i] = Napi::Number::New(env, c.eos_tokens[i]);
  out.Set("eosTokens", eos);
  return out;
}

static Napi::Object sum_to_js(Napi::Env env, const ConversionSum& sum) {
  Napi::Object out = Napi::Object::New(env);
  set_numbers(out, {{"values", double(sum.values)},
                    {"changed", double(sum.changed)},
                    {"relativeRms", sum.relative_rms()},
                    {"largestError", sum.largest_error}});
  out.Set("largestIn", sum.largest_in.empty() ? env.Null() : Napi::String::New(env, sum.largest_in));
  return out;
}

// What the conversion of the weights changed; null when the files hold them as they are used.
static Napi::Value conversions_to_js(Napi::Env env, const Conversions* conversions) {
  if (conversions == nullptr) return env.Null();
  Napi::Object out = Napi::Object::New(env);
  out.Set("dense", sum_to_js(env, conversions->sum(Conversions::kDense)));
  out.Set("experts", sum_to_js(env, conversions->sum(Conversions::kExperts)));
  return out;
}

Napi::Object adapter_to_js(Napi::Env env, const AdapterInfo& info) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("name", info.name);
  out.Set("path", info.path);
  out.Set("merged", info.merged);
  set_numbers(out,
              {{"scale", info.scale}, {"rank", info.rank}, {"matrices", info.matrices}, {"bytes", double(info.bytes)}});
  if (!info.merged) return out;
  Napi::Object error = Napi::Object::New(env);
  set_numbers(error, {{"ofWeights", info.error.of_weights}, {"ofChange", info.error.of_change}});
  out.Set("error", error);
  return out;
}

Napi::Array adapters_to_js(Napi::Env env, const std::vector<AdapterInfo>& adapters) {
  Napi::Array out = Napi::Array::New(env, adapters.size());
  for (uint32_t i = 0; i < adapters.size(); ++i) out[i] = adapter_to_js(env, adapters[i]);
  return out;
}

Napi::Object info_to_js(Napi::Env env, const EngineInfo& info) {
  Napi::Object out = Napi::Object::New(env);
  Napi::Object model = config_to_js(env, info.model);
  model.Set("layout", info.layout);
  out.Set("model", model);
  out.Set("conversion", conversions_to_js(env, info.conversions.get()));
  out.Set("backend", info.device.backend);
  out.Set("backendReason", info.backend_why);
  out.Set("device", info.device.device);
  out.Set("isa", info.device.isa);
  out.Set("threads", info.device.threads);
  out.Set("threadsReason", info.device.threads_why);
  Napi::Object memory = Napi::Object::New(env);
  set_numbers(memory, {{"weightsBytes", double(info.weights_bytes)},
                       {"packedBytes", double(info.packed_bytes)},
                       {"workspaceBytes", double(info.workspace_bytes)},
                       {"kvBytes", double(info.kv_bytes)},
                       {"kvTokens", double(info.kv_tokens)},
                       {"availableBytes", double(info.memory.free_bytes)}});
  memory.Set("availableReason", info.memory.why);
  out.Set("memory", memory);
  Napi::Object limits = Napi::Object::New(env);
  set_numbers(limits, {{"contextLength", double(info.context_length)},
                       {"maxSequences", info.max_sequences},
                       {"maxQueue", info.max_queue},
                       {"maxBatchTokens", info.max_batch_tokens}});
  out.Set("limits", limits);
  out.Set("kvCacheDtype", name_of(info.kv_type));
  out.Set("numerics", info.device.numerics);
  out.Set("denseWeights", info.dense_weights == DenseWeights::kQ8 ? "q8" : "bf16");
  out.Set("expertWeights", name_of(info.expert_weights));
  Napi::Object packed = Napi::Object::New(env);
  packed.Set("in", info.packed_weights.in);
  if (!info.packed_weights.path.empty()) packed.Set("path", info.packed_weights.path);
  if (!info.packed_weights.reason.empty()) packed.Set("reason", info.packed_weights.reason);
  out.Set("packedWeights", packed);
  out.Set("repeatable", info.repeatable);
  out.Set("prefixCache", info.prefix_cache);
  out.Set("mergedAdapters", adapters_to_js(env, info.merged_adapters));
  return out;
}

static Napi::Object histogram_to_js(Napi::Env env, const Histogram& histogram) {
  Napi::Object out = Napi::Object::New(env);
  set_numbers(out, {{"count", double(histogram.count())},
                    {"sum", histogram.sum()},
                    {"p50", histogram.percentile(0.5)},
                    {"p90", histogram.percentile(0.9)},
                    {"p99", histogram.percentile(0.99)},
                    {"max", histogram.max()}});
  const std::vector<Histogram::Bucket> filled = histogram.buckets();
  Napi::Array buckets = Napi::Array::New(env, filled.size());
  for (uint32_t i = 0; i < filled.size(); ++i) {
    Napi::Object bucket = Napi::Object::New(env);
    set_numbers(bucket, {{"from", filled[i].from}, {"count", double(filled[i].count)}});
    buckets.Set(i, bucket);
  }
  out.Set("buckets", buckets);
  return out;
}

static Napi::Object pages_to_js(Napi::Env env, const PageStats& pages) {
  Napi::Object out = Napi::Object::New(env);
  set_numbers(out, {{"total", pages.total}, {"free", pages.free}, {"cached", pages.cached}, {"shared", pages.shared}});
  return out;
}

Napi::Object stats_to_js(Napi::Env env, const EngineStats& stats) {
  Napi::Object out = Napi::Object::New(env);
  set_numbers(out, {{"running", stats.running},
                    {"waiting", stats.waiting},
                    {"blocked", stats.blocked},
                    {"aside", stats.aside},
                    {"steps", double(stats.steps)},
                    {"promptTokens", double(stats.prompt_tokens)},
                    {"cachedTokens", double(stats.cached_tokens)},
                    {"completionTokens", double(stats.completion_tokens)},
                    {"preemptions", double(stats.preemptions)},
                    {"grammars", stats.grammars},
                    {"grammarBytes", double(stats.grammar_bytes)}});
  out.Set("ended", stats.ended);
  Napi::Object pages = Napi::Object::New(env);
  pages.Set("full", pages_to_js(env, stats.pages[kKvFull]));
  pages.Set("window", pages_to_js(env, stats.pages[kKvWindow]));
  out.Set("pages", pages);
  out.Set("stepMilliseconds", histogram_to_js(env, stats.step_ms));
  out.Set("tokensPerStep", histogram_to_js(env, stats.step_tokens));
  out.Set("queueMilliseconds", histogram_to_js(env, stats.queue_ms));
  out.Set("firstTokenMilliseconds", histogram_to_js(env, stats.first_token_ms));
  out.Set("interTokenMilliseconds", histogram_to_js(env, stats.inter_token_ms));
  return out;
}

static Napi::Object tensor_to_js(Napi::Env env, const HostTensor& tensor, const std::string& name, const char* dtype) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("name", name);
  out.Set("file", tensor.file);
  out.Set("dtype", dtype);
  Napi::Array shape = Napi::Array::New(env, tensor.shape.size());
  for (size_t i = 0; i < tensor.shape.size(); ++i) shape[uint32_t(i)] = Napi::Number::New(env, double(tensor.shape[i]));
  out.Set("shape", shape);
  out.Set("bytes", double(tensor.bytes));
  return out;
}

Napi::Object checkpoint_to_js(Napi::Env env, const Checkpoint& checkpoint) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("path", checkpoint.path);
  out.Set("layout", checkpoint.layout);
  out.Set("fileBytes", double(checkpoint.file_bytes));
  out.Set("model", config_to_js(env, checkpoint.config));
  out.Set("conversion", conversions_to_js(env, checkpoint.conversions.get()));
  Napi::Array files = Napi::Array::New(env);
  for (const auto& file : checkpoint.files) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("path", file->path());
    entry.Set("bytes", double(file->size()));
    files.Set(files.Length(), entry);
  }
  out.Set("files", files);
  Napi::Array tensors = Napi::Array::New(env);
  for (const auto& [name, tensor] : checkpoint.tensors) {
    Napi::Object entry = tensor_to_js(env, tensor, name, dtype_name(tensor.dtype));
    entry.Set("storedName", tensor.name);
    tensors.Set(tensors.Length(), entry);
  }
  out.Set("tensors", tensors);
  Napi::Array stored = Napi::Array::New(env);
  for (const HostTensor& tensor : checkpoint.stored)
    stored.Set(stored.Length(), tensor_to_js(env, tensor, tensor.name, tensor.stored_type()));
  out.Set("stored", stored);
  return out;
}

static const char* reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "stop";
}

// Typed arrays, because a prompt has up to 131,072 tokens. Places without a likely token have the id 2^32 - 1.
static void set_scores(Napi::Env env, Napi::Object& out, const Event& event) {
  size_t width = 0;
  for (const Sampled& score : event.scores) width = std::max(width, score.top.size());
  std::vector<float> logprobs, top_logprobs(event.scores.size() * width);
  std::vector<int32_t> top_tokens(event.scores.size() * width, -1);
  for (size_t row = 0; row < event.scores.size(); ++row) {
    const Sampled& score = event.scores[row];
    logprobs.push_back(score.logprob);
    for (size_t i = 0; i < score.top.size(); ++i) {
      top_tokens[row * width + i] = score.top[i].token;
      top_logprobs[row * width + i] = score.top[i].logprob;
    }
  }
  out.Set("first", double(event.first));
  out.Set("width", double(width));
  out.Set("logprobs", array_to_js<Napi::Float32Array>(env, std::span<const float>(logprobs)));
  out.Set("topTokens", array_to_js<Napi::Uint32Array>(env, std::span<const int32_t>(top_tokens)));
  out.Set("topLogprobs", array_to_js<Napi::Float32Array>(env, std::span<const float>(top_logprobs)));
}

static Napi::Object event_to_js(Napi::Env env, const Event& event) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("id", double(event.id));
  out.Set("index", event.choice);
  switch (event.kind) {
    case Event::Kind::kAccepted: {
      out.Set("kind", "accepted");
      Napi::Array relaxed = Napi::Array::New(env, event.relaxed.size());
      for (size_t i = 0; i < event.relaxed.size(); ++i) {
        const auto& [tool, reason] = event.relaxed[i];
        Napi::Object entry = Napi::Object::New(env);
        entry.Set("tool", tool ? Napi::Value(Napi::String::New(env, *tool)) : env.Null());
        entry.Set("reason", reason);
        relaxed[uint32_t(i)] = entry;
      }
      out.Set("relaxed", relaxed);
      break;
    }
    case Event::Kind::kToken: {
      out.Set("kind", "token");
      out.Set("token", event.sampled.token);
      out.Set("text", event.text);
      out.Set("logprob", event.sampled.logprob);
      if (event.sampled.top.empty()) break;
      Napi::Array top = Napi::Array::New(env, event.sampled.top.size());
      for (size_t i = 0; i < event.sampled.top.size(); ++i) {
        Napi::Object entry = Napi::Object::New(env);
        entry.Set("token", event.sampled.top[i].token);
        entry.Set("logprob", event.sampled.top[i].logprob);
        top[uint32_t(i)] = entry;
      }
      out.Set("top", top);
      break;
    }
    case Event::Kind::kProcess: {
      out.Set("kind", "process");
      out.Set("tokens", array_to_js<Napi::Uint32Array>(env, std::span(event.tokens)));
      out.Set("logits", array_to_js<Napi::Float32Array>(env, std::span(event.logits)));
      break;
    }
    case Event::Kind::kLogits:
      out.Set("kind", "logits");
      out.Set("logits", array_to_js<Napi::Float32Array>(env, std::span(event.logits)));
      break;
    case Event::Kind::kScores:
      out.Set("kind", "scores");
      set_scores(env, out, event);
      break;
    case Event::Kind::kDone: {
      Napi::Object timings = Napi::Object::New(env);
      set_numbers(timings, {{"queueMilliseconds", event.timings.queue_ms},
                            {"prefillMilliseconds", event.timings.prefill_ms},
                            {"decodeMilliseconds", event.timings.decode_ms}});
      out.Set("kind", "done");
      out.Set("reason", reason_name(event.reason));
      out.Set("text", event.text);
      out.Set("cachedTokens", double(event.cached_tokens));
      out.Set("timings", timings);
      break;
    }
    case Event::Kind::kError:
      out.Set("kind", "error");
      out.Set("error", to_js_error(env, Error(event.code, event.message, event.field)).Value());
      break;
  }
  return out;
}

static Napi::Object failed_event_to_js(Napi::Env env, const Event& event, const Error& error) {
  return event_to_js(env, {.id = event.id,
                           .choice = event.choice,
                           .kind = Event::Kind::kError,
                           .code = error.code(),
                           .message = error.what()});
}

Napi::Array events_to_js(Napi::Env env, const std::vector<Event>& events) {
  Napi::Array out = Napi::Array::New(env, events.size());
  for (size_t i = 0; i < events.size(); ++i) {
    try {
      out[uint32_t(i)] = event_to_js(env, events[i]);
    } catch (const std::bad_alloc&) {
      out[uint32_t(i)] = failed_event_to_js(env, events[i], as_error(std::bad_alloc()));
    } catch (const Error& error) {  // no memory for the event's contents: its request gets this error instead
      out[uint32_t(i)] = failed_event_to_js(env, events[i], error);
    }
  }
  return out;
}

}  // namespace oss
