// The one exception type. The code that understands a problem throws it, with a message that a user can act on.
// native/binding/errors.cpp alone turns it into a JavaScript GptOssError.
#pragma once
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

// lib/errors.ts holds the same list; a test compares the two.
#define OSS_ERROR_CODES(X)                \
  X(kModelNotFound, "MODEL_NOT_FOUND")    \
  X(kModelFormat, "MODEL_FORMAT")         \
  X(kModelShape, "MODEL_SHAPE")           \
  X(kUnsupported, "UNSUPPORTED")          \
  X(kInvalidArgument, "INVALID_ARGUMENT") \
  X(kContextOverflow, "CONTEXT_OVERFLOW") \
  X(kOutOfMemory, "OUT_OF_MEMORY")        \
  X(kResourceLimit, "RESOURCE_LIMIT")     \
  X(kQueueFull, "QUEUE_FULL")             \
  X(kDevice, "DEVICE")                    \
  X(kClosed, "CLOSED")                    \
  X(kCancelled, "CANCELLED")              \
  X(kAddonNotFound, "ADDON_NOT_FOUND")    \
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
  Error(Code code, const std::string& message, std::string field)
      : Error(code, message, std::make_shared<const std::string>(std::move(field))) {}
  Code code() const { return code_; }
  // The option that it is about, as callers of lib/ know it ("stop[3]"); empty: none.
  std::string field() const { return field_ == nullptr ? std::string() : *field_; }

 private:
  Error(Code code, const std::string& message, std::shared_ptr<const std::string> field)
      : std::runtime_error(message), code_(code), field_(std::move(field)) {}

  Code code_;
  std::shared_ptr<const std::string> field_;  // shared, because the copy of an exception must not throw
};

// Converts any exception. A standard exception other than bad_alloc is a bug of this library.
inline Error as_error(const std::exception& error) {
  if (const auto* ours = dynamic_cast<const Error*>(&error)) return *ours;
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    return Error(Code::kOutOfMemory, "the system refused more memory");
  }
  return Error(Code::kInternal, error.what());
}

// Whether an allocation was refused. The operation that needed the memory fails; everything else can go on.
inline bool is_out_of_memory(const std::exception& error) {
  const auto* ours = dynamic_cast<const Error*>(&error);
  return ours != nullptr ? ours->code() == Code::kOutOfMemory : dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
}

}  // namespace oss
