#include "native/binding/sampling_wrap.h"

#include <algorithm>
#include <map>

#include "native/backend/cpu/sample_row.h"
#include "native/base/str.h"
#include "native/binding/arrays.h"
#include "native/binding/convert.h"
#include "native/binding/errors.h"

namespace oss {
namespace {

// Owns the data for the spans of a SamplingContext.
struct Context {
  std::vector<SamplingContext::Seen> seen;
  std::vector<SamplingContext::Bias> bias;
  int top_logprobs = 0;
};

int32_t token_within(uint32_t token, size_t vocab) {
  if (token < vocab) return int32_t(token);
  throw Error(Code::kInvalidArgument, str("token ", token, " is outside of the ", vocab, " logits"));
}

Context context_from_js(const Napi::Object& context, size_t vocab) {
  std::map<int32_t, int32_t> in_completion;
  const auto prompt = elements_of<uint32_t>(context.Get("prompt"));
  for (const uint32_t token : prompt) in_completion[token_within(token, vocab)] = 0;
  const auto completion = elements_of<uint32_t>(context.Get("completion"));
  for (const uint32_t token : completion) ++in_completion[token_within(token, vocab)];

  Context out;
  for (const auto& [token, count] : in_completion) out.seen.push_back({token, count});
  const auto bias = context.Get("bias").As<Napi::Object>();
  const auto tokens = elements_of<uint32_t>(bias.Get("tokens"));
  const auto values = elements_of<float>(bias.Get("values"));
  const size_t num_biased = std::min(tokens.size(), values.size());
  for (size_t i = 0; i < num_biased; ++i) out.bias.push_back({token_within(tokens[i], vocab), values[i]});
  out.top_logprobs = context.Get("topLogprobs").As<Napi::Number>().Int32Value();
  return out;
}

Napi::Value sample(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::span<float> logits = elements_of<float>(info[0]);
    const size_t vocab = logits.size();
    SamplingArgs args = sampling_from_js(info[1].As<Napi::Object>());
    args.position = info[2].As<Napi::Number>().Uint32Value();
    if (vocab == 0) throw Error(Code::kInvalidArgument, "there are no logits to sample from");
    Context context;
    if (!info[3].IsUndefined()) {
      const auto given = info[3].As<Napi::Object>();
      context = context_from_js(given, vocab);
      args.choice = given.Get("choice").As<Napi::Number>().Uint32Value();
    }
    const Sampled sampled =
        sample_row(args, {.seen = context.seen, .bias = context.bias, .top_logprobs = context.top_logprobs},
                   logits.data(), int(vocab));
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("token", sampled.token);
    out.Set("logprob", sampled.logprob);
    Napi::Array top = Napi::Array::New(info.Env(), sampled.top.size());
    for (size_t i = 0; i < sampled.top.size(); ++i) {
      Napi::Object entry = Napi::Object::New(info.Env());
      entry.Set("token", sampled.top[i].token);
      entry.Set("logprob", sampled.top[i].logprob);
      top[uint32_t(i)] = entry;
    }
    out.Set("top", top);
    return out;
  });
}

}  // namespace

void init_sampling(Napi::Env env, Napi::Object exports) {
  exports.Set("sample", Napi::Function::New(env, sample, "sample"));
}

}  // namespace oss
