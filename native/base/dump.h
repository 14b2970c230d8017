// GPT_OSS_DUMP=FOLDER: the tensors of every step as files that numpy reads, FOLDER/step-0/3.router_logits.npy.
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
  // Null without a path. Makes the folder where there is none. Throws kInvalidArgument for a folder that holds something
  // already, or that cannot be written to.
  static std::unique_ptr<Dump> open(const char* path);
  static std::unique_ptr<Dump> of_environment();
  // What is wrong with GPT_OSS_DUMP, if anything is. Makes nothing.
  static std::optional<Error> problem();

  void begin_step();  // what is written next belongs to it
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
