// Typed arrays of JavaScript whose memory may be refused: napi_create_arraybuffer ends the process then, the constructor
// that JavaScript itself uses throws a RangeError.
#pragma once
#include <napi.h>

#include <cstring>
#include <span>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

inline const char* class_name(const Napi::Float32Array*) { return "Float32Array"; }
inline const char* class_name(const Napi::Uint32Array*) { return "Uint32Array"; }
inline const char* class_name(const Napi::Uint8Array*) { return "Uint8Array"; }

// A copy. Throws kOutOfMemory.
template <typename Array, typename T>
Array array_to_js(Napi::Env env, std::span<const T> values) {
  constexpr size_t kSmall = 4096;  // nearly always there, and the other way costs a microsecond
  Array out;
  if (values.size_bytes() <= kSmall) {
    out = Array::New(env, values.size());
  } else {
    try {
      const char* name = class_name(static_cast<const Array*>(nullptr));
      const Napi::Function make = env.Global().Get(name).template As<Napi::Function>();
      out = make.New({Napi::Number::New(env, double(values.size()))}).template As<Array>();
    } catch (const Napi::Error&) {
      throw Error(Code::kOutOfMemory, str("the system refused ", values.size_bytes(), " bytes for an array"));
    }
  }
  if (!values.empty()) std::memcpy(out.Data(), values.data(), values.size_bytes());
  return out;
}

}  // namespace oss
