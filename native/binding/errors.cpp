#include "native/binding/errors.h"

namespace oss {

Napi::Error to_js_error(Napi::Env env, Code code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code_name(code)));
  return error;
}

Napi::Error to_js_error(Napi::Env env, const std::exception& error) {
  const Error known = as_error(error);
  return to_js_error(env, known.code(), known.what());
}

}  // namespace oss
