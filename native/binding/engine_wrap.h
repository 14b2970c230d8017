// The engine's JavaScript class. lib/native/engine.ts has its types.
//
//   attachEngine(handle, onEvents(events[])) → NativeEngine
//   NativeEngine: info, submit(request), cancel(id, index?), pause(id, index, paused), supplyLogits(id, index, logits),
//     stats(), bytesPerToken(context), share() → handle, close() → promise
#pragma once
#include <napi.h>

#include <memory>

#include "native/binding/engine_host.h"

namespace oss {

void init_engine(Napi::Env env, Napi::Object exports);

// Returns the NativeEngine of a host; requires init_engine() in its environment.
Napi::Object wrap(Napi::Env env, std::shared_ptr<EngineHost> host);

}  // namespace oss
