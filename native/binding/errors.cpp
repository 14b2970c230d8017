#include "native/binding/errors.h"

#include <new>

namespace oss {

Napi::Error to_js_error(Napi::Env env, Code code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code_name(code)));
  return error;
}

Napi::Error to_js_error(Napi::Env env, const std::exception& error) {
  if (const auto* ours = dynamic_cast<const Error*>(&error)) return to_js_error(env, ours->code(), ours->what());
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    return to_js_error(env, Code::kOutOfMemory, "the system refused more memory");
  }
  return to_js_error(env, Code::kInternal, error.what());
}

}  // namespace oss
