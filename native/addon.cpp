// The Node addon. Context-aware: all its state belongs to the environment, so each worker thread has its own state.
#include <napi.h>

#include "native/binding/bandwidth.h"
#include "native/binding/engine_wrap.h"
#include "native/binding/inspect_wrap.h"
#include "native/binding/instance.h"
#include "native/binding/lab_wrap.h"
#include "native/binding/load_wrap.h"
#include "native/binding/machine_wrap.h"
#include "native/binding/plan_wrap.h"
#include "native/binding/sampling_wrap.h"
#include "native/binding/tokenizer_wrap.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new oss::Instance);  // deleted with the environment
  oss::init_engine(env, exports);
  oss::init_load(env, exports);
  oss::init_inspect(env, exports);
  oss::init_lab(env, exports);
  oss::init_machine(env, exports);
  oss::init_plan(env, exports);
  oss::init_sampling(env, exports);
  oss::init_tokenizer(env, exports);
  oss::init_bandwidth(env, exports);
  return exports;
}

NODE_API_MODULE(gpt_oss, init)
