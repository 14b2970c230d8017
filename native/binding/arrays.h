// Reads and makes typed arrays of JavaScript.
#pragma once
#include <napi.h>

#include <cstring>
#include <span>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {

// For arrays of one element type: their names in JavaScript and N-API.
template <typename T>
struct ArrayType;
template <>
struct ArrayType<float> {
  static constexpr const char* kName = "Float32Array";
  static constexpr napi_typedarray_type kType = napi_float32_array;
};
template <>
struct ArrayType<uint32_t> {
  static constexpr const char* kName = "Uint32Array";
  static constexpr napi_typedarray_type kType = napi_uint32_array;
};
template <>
struct ArrayType<uint8_t> {
  static constexpr const char* kName = "Uint8Array";
  static constexpr napi_typedarray_type kType = napi_uint8_array;
};

// Returns the elements of such an array, whatever own properties it has; valid until JavaScript runs again.
// Throws kInvalidArgument for other values, and for an array with a detached buffer.
template <typename T>
std::span<T> elements_of(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != ArrayType<T>::kType) {
    throw Error(Code::kInvalidArgument, str("expected a ", ArrayType<T>::kName));
  }
  auto array = value.As<Napi::TypedArrayOf<T>>();
  if (array.ElementLength() == 0 && array.ArrayBuffer().IsDetached()) {
    throw Error(Code::kInvalidArgument,
                str("the memory of a ", ArrayType<T>::kName, " is detached: it was transferred"));
  }
  return {array.Data(), array.ElementLength()};
}

// Makes an array with a copy of the values. Throws kOutOfMemory. Where an allocation may fail, it calls the constructor
// of JavaScript, which throws a RangeError; napi_create_arraybuffer would end the process.
template <typename Array, typename T>
Array array_to_js(Napi::Env env, std::span<const T> values) {
  using Element = std::remove_pointer_t<decltype(std::declval<Array>().Data())>;
  constexpr size_t kSmall = 4096;  // these allocations nearly always succeed, and the other way costs a microsecond
  Array out;
  if (values.size_bytes() <= kSmall) {
    out = Array::New(env, values.size());
  } else {
    try {
      const Napi::Function make = env.Global().Get(ArrayType<Element>::kName).template As<Napi::Function>();
      out = make.New({Napi::Number::New(env, double(values.size()))}).template As<Array>();
    } catch (const Napi::Error&) {
      throw Error(Code::kOutOfMemory, str("the system refused ", values.size_bytes(), " bytes for an array"));
    }
  }
  if (!values.empty()) std::memcpy(out.Data(), values.data(), values.size_bytes());
  return out;
}

}  // namespace oss
