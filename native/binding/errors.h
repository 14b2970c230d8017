// oss::Error → JavaScript Error with a `code` and perhaps a `field`; lib/errors.ts converts it to a GptOssError.
#pragma once
#include <napi.h>

#include "native/base/error.h"

namespace oss {

Napi::Error to_js_error(Napi::Env env, const std::exception& error);

// Runs the body of a native function; C++ exceptions arrive in JavaScript as errors with a code.
template <typename Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw to_js_error(env, error);
  }
}

}  // namespace oss
