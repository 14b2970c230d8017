// The engine as JavaScript sees it. lib/binding.ts types what is registered here.
//
//   loadEngine(path, options, onEvents(events[]), onProgress | null) → { promise<NativeEngine>, cancel() }
//   NativeEngine: info, submit(request), cancel(id), stats(), bytesPerToken(context), close() → promise
//   inspect(path) → promise<summary>     listBackends()     errorCodes()     memoryBandwidth(bytes, threads)
#pragma once
#include <napi.h>

namespace oss {

void init_engine(Napi::Env env, Napi::Object exports);

}  // namespace oss
