#include "native/binding/inspect_wrap.h"

#include <exception>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "native/base/packed_file.h"
#include "native/binding/convert.h"
#include "native/binding/errors.h"
#include "native/binding/promise.h"
#include "native/checkpoint/packed_places.h"

namespace oss {
namespace {

class InspectWorker : public Napi::AsyncWorker {
 public:
  InspectWorker(Napi::Env env, std::string path)
      : AsyncWorker(env, "gpt-oss inspect"), deferred(env), path_(std::move(path)) {}
  void Execute() override {
    try {
      checkpoint_ = open_checkpoint(path_);
      convert_all(*checkpoint_);
      for (const std::string& path : packed_places(*checkpoint_, "auto")) {
        std::error_code absent;
        const uintmax_t bytes = std::filesystem::file_size(path, absent);
        if (!absent) packed_.push_back({path, bytes, PackedFile::damage(path)});
      }
    } catch (...) {
      failure_ = std::current_exception();
      SetError("inspect failed");
    }
  }
  void OnOK() override {
    settle(deferred, [&] {
      Napi::Object summary = checkpoint_to_js(Env(), *checkpoint_);
      Napi::Array packed = Napi::Array::New(Env());
      for (const Packed& file : packed_) {
        Napi::Object entry = Napi::Object::New(Env());
        entry.Set("path", file.path);
        entry.Set("bytes", double(file.bytes));
        entry.Set("damage", file.damage.empty() ? Env().Null() : Napi::String::New(Env(), file.damage));
        packed.Set(packed.Length(), entry);
      }
      summary.Set("packed", packed);
      return summary;
    });
  }
  void OnError(const Napi::Error&) override { reject(deferred, failure_); }
  Napi::Promise::Deferred deferred;

 private:
  std::string path_;
  struct Packed {
    std::string path;
    uintmax_t bytes;
    std::string damage;
  };
  std::unique_ptr<Checkpoint> checkpoint_;
  std::vector<Packed> packed_;
  std::exception_ptr failure_;
};

Napi::Value inspect(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&] {
    auto* worker = new InspectWorker(call.Env(), call[0].As<Napi::String>());
    worker->Queue();
    return worker->deferred.Promise();
  });
}

}  // namespace

void init_inspect(Napi::Env env, Napi::Object exports) { exports.Set("inspect", Napi::Function::New<inspect>(env)); }

}  // namespace oss
