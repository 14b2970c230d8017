// The kernel lab's JavaScript class. lib/native/lab.ts has its types.
//
// A lab has a thread of its own, on which its backend is opened at the first call. Every call is a promise; calls run in
// their order.
#pragma once
#include <napi.h>

namespace oss {

void init_lab(Napi::Env env, Napi::Object exports);

}  // namespace oss
