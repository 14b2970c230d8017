// The engine as JavaScript sees it. lib/binding.ts types what is registered here.
//
//   attachEngine(handle, onEvents(events[])) → NativeEngine
//   NativeEngine: info, submit(request), cancel(id, index?), pause(id, index, paused), supplyLogits(id, index, logits), stats(),
//     bytesPerToken(context), share() → handle, close() → promise
#pragma once
#include <napi.h>

#include <memory>

#include "native/binding/engine_host.h"

namespace oss {

void init_engine(Napi::Env env, Napi::Object exports);

// The NativeEngine of a host, after init_engine() in its environment.
Napi::Object wrap(Napi::Env env, std::shared_ptr<EngineHost> host);

}  // namespace oss
