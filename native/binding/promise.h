// Promises of work that was done on another thread.
#pragma once
#include <napi.h>

#include <exception>

#include "native/binding/errors.h"

namespace oss {

// What a worker thread threw, with its code.
inline void reject(const Napi::Promise::Deferred& deferred, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Napi::Error& error) {
    deferred.Reject(error.Value());
  } catch (const std::exception& error) {
    deferred.Reject(to_js_error(deferred.Env(), error).Value());
  }
}

// At the end of a worker: nothing but an error of JavaScript may leave it, and then nobody would settle the promise.
template <typename Body>
void settle(const Napi::Promise::Deferred& deferred, const Body& body) {
  try {
    deferred.Resolve(body());
  } catch (...) {
    reject(deferred, std::current_exception());
  }
}

}  // namespace oss
