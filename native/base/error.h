// The one exception type. It is thrown where a problem is understood, in words a user can act on, and becomes a
// JavaScript GptOssError in one place, native/binding/errors.cpp.
#pragma once
#include <stdexcept>
#include <string>

// lib/errors.ts holds the same list; a test compares the two.
#define OSS_ERROR_CODES(X)                  \
  X(kModelNotFound, "MODEL_NOT_FOUND")      \
  X(kModelFormat, "MODEL_FORMAT")           \
  X(kModelShape, "MODEL_SHAPE")             \
  X(kUnsupported, "UNSUPPORTED")            \
  X(kInvalidArgument, "INVALID_ARGUMENT")   \
  X(kContextOverflow, "CONTEXT_OVERFLOW")   \
  X(kOutOfMemory, "OUT_OF_MEMORY")          \
  X(kQueueFull, "QUEUE_FULL")               \
  X(kDevice, "DEVICE")                      \
  X(kClosed, "CLOSED")                      \
  X(kCancelled, "CANCELLED")                \
  X(kAddonNotFound, "ADDON_NOT_FOUND")      \
  X(kInternal, "INTERNAL")

namespace oss {

enum class Code {
#define OSS_DECLARE(name, text) name,
  OSS_ERROR_CODES(OSS_DECLARE)
#undef OSS_DECLARE
};

constexpr const char* code_name(Code code) {
  switch (code) {
#define OSS_NAME(name, text) \
  case Code::name:           \
    return text;
    OSS_ERROR_CODES(OSS_NAME)
#undef OSS_NAME
  }
  return "INTERNAL";
}

class Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Code code() const { return code_; }

 private:
  Code code_;
};

}  // namespace oss
