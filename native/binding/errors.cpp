#include "native/binding/errors.h"

namespace oss {

Napi::Error to_js_error(Napi::Env env, const std::exception& thrown) {
  const Error known = as_error(thrown);
  Napi::Error error = Napi::Error::New(env, known.what());
  error.Set("code", Napi::String::New(env, code_name(known.code())));
  if (const std::string field = known.field(); !field.empty()) error.Set("field", Napi::String::New(env, field));
  return error;
}

}  // namespace oss
