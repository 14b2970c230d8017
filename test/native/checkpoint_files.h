// Checkpoints as files that a test can damage: a golden model is read, changed, and written into a temporary folder.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "native/base/tensor.h"
#include "test/native/check.h"

namespace oss::test {

// A new folder in the system's temporary one; removed with its contents.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string read_bytes(const std::string& path);
void write_bytes(const std::string& path, const std::string& bytes);

struct StoredTensor {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

// A safetensors file: `header` unchanged, then `data`.
std::string safetensors_of(const std::string& header, const std::string& data);
// A safetensors file of tensors. The header is padded with spaces to a multiple of `alignment`, plus `misalignment`.
std::string safetensors_of(const std::vector<StoredTensor>& tensors, size_t misalignment = 0);

// A checkpoint in memory.
struct StoredModel {
  std::string config;
  std::vector<StoredTensor> tensors;

  StoredTensor& tensor(const std::string& name);
  void remove(const std::string& name);
  void write(const std::string& folder, size_t misalignment = 0) const;  // config.json and model.safetensors
};

std::string golden_model(const std::string& name);       // path of test/golden/models/NAME
StoredModel read_golden_model(const std::string& name);  // its shards as one list
StoredModel to_original_layout(const StoredModel& huggingface, const std::string& config);

// `text` with its one occurrence of `from` replaced; the case fails when there is not exactly one.
std::string replaced(std::string text, const std::string& from, const std::string& to);

// CHECK_THROWS for tables: `name` names the row.
void expect_error(const std::string& name, Code code, const std::string& part, const std::function<void()>& action);
void expect_success(const std::string& name, const std::function<void()>& action);

}  // namespace oss::test
