#include "native/binding/sampling_wrap.h"

#include "kernels/cpu/sample.h"
#include "native/binding/convert.h"
#include "native/binding/errors.h"

namespace oss {

static Napi::Value sample(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto logits = info[0].As<Napi::Float32Array>();
    SamplingArgs args = sampling_from_js(info[1].As<Napi::Object>());
    args.position = info[2].As<Napi::Number>().Uint32Value();
    if (logits.ElementLength() == 0) throw Error(Code::kInvalidArgument, "there are no logits to sample from");
    const cpu::SampledToken sampled = cpu::sample_row(args, logits.Data(), int(logits.ElementLength()));
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("token", sampled.token);
    out.Set("logprob", sampled.logprob);
    return out;
  });
}

void init_sampling(Napi::Env env, Napi::Object exports) {
  exports.Set("sample", Napi::Function::New(env, sample, "sample"));
}

}  // namespace oss
