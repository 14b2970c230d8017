// Settles promises with the results of work on another thread.
#pragma once
#include <napi.h>

#include <exception>

#include "native/binding/errors.h"

namespace oss {

// Rejects with the exception of a worker thread and its code.
inline void reject(const Napi::Promise::Deferred& deferred, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Napi::Error& error) {
    deferred.Reject(error.Value());
  } catch (const std::exception& error) {
    deferred.Reject(to_js_error(deferred.Env(), error).Value());
  }
}

// Runs at the end of a worker: only a JavaScript error may leave it; anything else would leave the promise unsettled.
template <typename Body>
void settle(const Napi::Promise::Deferred& deferred, const Body& body) {
  try {
    deferred.Resolve(body());
  } catch (...) {
    reject(deferred, std::current_exception());
  }
}

}  // namespace oss
