// GPT_OSS_DUMP=FOLDER writes the tensors of every step as numpy files, such as FOLDER/step-0/3.router_logits.npy.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "native/base/error.h"

namespace oss {

class Dump {
 public:
  // Null without a path. Makes the folder if it does not exist. Throws kInvalidArgument for a folder that is not empty
  // or that cannot be written to.
  static std::unique_ptr<Dump> open(const char* path);
  static std::unique_ptr<Dump> of_environment();
  // The problem with GPT_OSS_DUMP, if there is one. Makes no folder.
  static std::optional<Error> problem();

  void begin_step();  // the following writes belong to it
  // Throw kResourceLimit when the file cannot be written.
  void write(const std::string& name, std::span<const int64_t> shape, std::span<const float> values);
  void write(const std::string& name, std::span<const int64_t> shape, std::span<const int32_t> values);

 private:
  explicit Dump(std::filesystem::path folder) : folder_(std::move(folder)) {}
  void write(const std::string& name, const char* dtype, std::span<const int64_t> shape, const void* data,
             size_t bytes);

  const std::filesystem::path folder_;
  std::filesystem::path step_;
  uint64_t steps_ = 0;
};

}  // namespace oss
