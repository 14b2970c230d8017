// Loads a checkpoint into an engine. lib/native/engine.ts has its types.
//
//   loadEngine(path, options, onEvents(events[]), onProgress | null) → { promise<NativeEngine>, cancel() }
//   loadEngineNow(path, options, onEvents(events[])) → NativeEngine
#pragma once
#include <napi.h>

namespace oss {

void init_load(Napi::Env env, Napi::Object exports);  // after init_engine()

}  // namespace oss
