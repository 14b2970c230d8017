// The engine as JavaScript sees it. lib/binding.ts types what is registered here.
//
//   loadEngine(path, options, onEvents(events[]), onProgress | null) → { promise<NativeEngine>, cancel() }
//   loadEngineNow(path, options, onEvents(events[])) → NativeEngine
//   attachEngine(handle, onEvents) → NativeEngine
//   NativeEngine: info, submit(request), cancel(id, index?), pause(id, index, paused), supplyLogits(id, index, logits), stats(),
//     bytesPerToken(context), share() → handle, close() → promise
//   inspect(path) → promise<summary>     listBackends()     errorCodes()     memoryBandwidth(bytes, threads)
#pragma once
#include <napi.h>

namespace oss {

void init_engine(Napi::Env env, Napi::Object exports);

}  // namespace oss
