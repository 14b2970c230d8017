#include "native/binding/tokenizer_wrap.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "native/base/give_back.h"
#include "native/binding/arrays.h"
#include "native/binding/errors.h"
#include "native/tokenizer/tokenizer.h"

namespace oss {
namespace {

// The UTF-8 of a JavaScript string; lone surrogates become U+FFFD. V8 fills the buffer in one pass: a UTF-16 unit needs
// at most three bytes, and untouched pages cost nothing.
class Utf8 {
 public:
  explicit Utf8(const Napi::Value& value) {
    size_t units = 0;
    check(value, napi_get_value_string_utf16(value.Env(), value, nullptr, 0, &units));
    const size_t capacity = 3 * units + 1;
    bytes_.reset(new char[capacity]);
    check(value, napi_get_value_string_utf8(value.Env(), value, bytes_.get(), capacity, &size_));
  }
  std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  static void check(const Napi::Value& value, napi_status status) {
    if (status != napi_ok) throw Napi::Error::New(value.Env());
  }
  std::unique_ptr<char[]> bytes_;
  size_t size_ = 0;
};

// Reads the last argument of the encoders: the ids of the special tokens to recognise, or nothing.
tokenizer::SpecialSet specials_from_js(const Napi::Value& value) {
  tokenizer::SpecialSet allowed;
  if (value.IsUndefined()) return allowed;
  for (const uint32_t id : elements_of<uint32_t>(value))
    allowed.set(id - tokenizer::kFirstSpecial);  // checks its range
  return allowed;
}

Napi::Uint32Array ids_to_js(Napi::Env env, const std::vector<uint32_t>& ids) {
  return array_to_js<Napi::Uint32Array>(env, std::span(ids));
}

Napi::Uint8Array bytes_to_js(Napi::Env env, std::string_view bytes) {
  return array_to_js<Napi::Uint8Array>(env, std::span(bytes));
}

// Reads the next argument: the most tokens that a text may have; absent: any number.
size_t most_from_js(const Napi::Value& value) {
  const double most = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 1e15;
  return most < 1e15 ? size_t(std::max(0.0, most)) : SIZE_MAX;  // infinity is not an integer
}

// Null when there are too many.
Napi::Value encoded_to_js(Napi::Env env, const std::optional<std::vector<uint32_t>>& ids) {
  if (!ids) return env.Null();
  return ids_to_js(env, *ids);
}

Napi::Value encode(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return encoded_to_js(
        info.Env(), tokenizer::encode_within(Utf8(info[0]).view(), most_from_js(info[2]), specials_from_js(info[1])));
  });
}

Napi::Value encode_into(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const size_t tokens =
        tokenizer::encode_into(elements_of<uint32_t>(info[1]), Utf8(info[0]).view(), specials_from_js(info[2]));
    return Napi::Number::New(info.Env(), double(tokens));
  });
}

Napi::Value count(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::Number::New(info.Env(), double(tokenizer::count(Utf8(info[0]).view()))); });
}

Napi::Value decode(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return bytes_to_js(info.Env(), tokenizer::decode(elements_of<uint32_t>(info[0]))); });
}

Napi::Value table(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    std::string bytes;
    std::vector<uint32_t> ends;
    for (uint32_t id = 0; id <= tokenizer::kLastSpecial; ++id) {
      bytes += tokenizer::decode({&id, 1});
      ends.push_back(uint32_t(bytes.size()));
    }
    auto result = Napi::Object::New(info.Env());
    result.Set("bytes", bytes_to_js(info.Env(), bytes));
    result.Set("ends", ids_to_js(info.Env(), ends));
    return result;
  });
}

// Bytes. Encoding a text of this size takes 100 ms; returning memory to the system takes a few.
constexpr size_t kLargeText = 4 << 20;

class EncodeWorker : public Napi::AsyncWorker {
 public:
  EncodeWorker(Napi::Env env, std::vector<Utf8> texts, const tokenizer::SpecialSet& allowed, size_t most,
               std::shared_ptr<std::atomic<bool>> cancelled)
      : AsyncWorker(env, "gpt_oss.tokenizerEncode"),
        texts_(std::move(texts)),
        allowed_(allowed),
        most_(most),
        cancelled_(std::move(cancelled)),
        promise_(env) {}
  Napi::Promise promise() const { return promise_.Promise(); }

 private:
  void Execute() override {
    try {
      for (const Utf8& text : texts_) {
        ids_.push_back(tokenizer::encode_within(text.view(), most_, allowed_, cancelled_.get()));
      }
    } catch (const std::exception&) {
      error_ = std::current_exception();
    }
    size_t bytes = 0;
    for (const Utf8& text : texts_) bytes += text.view().size();
    std::vector<Utf8>().swap(texts_);
    if (bytes >= kLargeText) give_back_memory();
  }
  void OnOK() override {
    try {
      if (error_) std::rethrow_exception(error_);
      auto arrays = Napi::Array::New(Env(), ids_.size());
      for (size_t i = 0; i < ids_.size(); ++i) arrays.Set(uint32_t(i), encoded_to_js(Env(), ids_[i]));
      promise_.Resolve(arrays);
    } catch (const Napi::Error& error) {  // JavaScript has no memory for the arrays
      promise_.Reject(error.Value());
    } catch (const std::exception& error) {
      promise_.Reject(to_js_error(Env(), error).Value());
    }
  }

  std::vector<Utf8> texts_;
  tokenizer::SpecialSet allowed_;
  size_t most_;  // the most tokens of each text
  std::shared_ptr<std::atomic<bool>> cancelled_;
  Napi::Promise::Deferred promise_;
  std::vector<std::optional<std::vector<uint32_t>>> ids_;
  std::exception_ptr error_;
};

Napi::Value encode_async(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto array = info[0].As<Napi::Array>();
    std::vector<Utf8> texts;
    texts.reserve(array.Length());
    for (uint32_t i = 0; i < array.Length(); ++i) texts.emplace_back(array.Get(i));
    auto cancelled = std::make_shared<std::atomic<bool>>(false);
    auto worker = std::make_unique<EncodeWorker>(info.Env(), std::move(texts), specials_from_js(info[1]),
                                                 most_from_js(info[2]), cancelled);
    auto job = Napi::Object::New(info.Env());
    job.Set("promise", worker->promise());
    job.Set("cancel", Napi::Function::New(info.Env(), [cancelled](const Napi::CallbackInfo&) { *cancelled = true; }));
    worker.release()->Queue();  // deletes itself when it is done
    return job;
  });
}

}  // namespace

void init_tokenizer(Napi::Env env, Napi::Object exports) {
  exports.Set("tokenizerEncode", Napi::Function::New(env, encode, "tokenizerEncode"));
  exports.Set("tokenizerEncodeInto", Napi::Function::New(env, encode_into, "tokenizerEncodeInto"));
  exports.Set("tokenizerEncodeAsync", Napi::Function::New(env, encode_async, "tokenizerEncodeAsync"));
  exports.Set("tokenizerCount", Napi::Function::New(env, count, "tokenizerCount"));
  exports.Set("tokenizerDecode", Napi::Function::New(env, decode, "tokenizerDecode"));
  exports.Set("tokenizerTable", Napi::Function::New(env, table, "tokenizerTable"));
}

}  // namespace oss
