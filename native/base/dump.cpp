#include "native/base/dump.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "native/base/json.h"
#include "native/base/str.h"

namespace oss {
namespace {

namespace fs = std::filesystem;

Error unusable(const fs::path& folder, const std::string& reason) {
  return Error(Code::kInvalidArgument, str("GPT_OSS_DUMP is ", quote(folder.string()),
                                           ", expected an empty folder that can be written to: ", reason));
}

// A folder that does not exist is made in its nearest existing parent.
std::optional<Error> problem_of(const fs::path& folder) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (fs::exists(status)) {
    if (!fs::is_directory(status)) return unusable(folder, "it is not a folder");
    const bool empty = fs::is_empty(folder, error);
    if (error) return unusable(folder, error.message());
    if (!empty) return unusable(folder, "it is not empty");
    if (access(folder.c_str(), W_OK) != 0) return unusable(folder, std::strerror(errno));
    return std::nullopt;
  }
  fs::path above = fs::absolute(folder, error);
  while (!error && !fs::exists(above, error) && above.has_relative_path()) above = above.parent_path();
  if (!fs::is_directory(above, error)) return unusable(folder, str(quote(above.string()), " is not a folder"));
  if (access(above.c_str(), W_OK) != 0) return unusable(folder, std::strerror(errno));
  return std::nullopt;
}

const char* environment() {
  const char* path = std::getenv("GPT_OSS_DUMP");
  return path != nullptr && *path != '\0' ? path : nullptr;
}

// Version 1.0 of numpy's format: the data begins at a multiple of 64 bytes.
std::string npy_header(const char* dtype, std::span<const int64_t> shape) {
  std::string text = str("{'descr': '", dtype, "', 'fortran_order': False, 'shape': (");
  for (const int64_t extent : shape) text += str(extent, ", ");
  text += "), }";
  constexpr size_t kBegin = 10;
  text.append(63 - (kBegin + text.size()) % 64, ' ');
  text += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += char(text.size() & 0xFF);
  out += char(text.size() >> 8);
  return out + text;
}

}  // namespace

std::optional<Error> Dump::problem() {
  const char* path = environment();
  return path == nullptr ? std::nullopt : problem_of(path);
}

std::unique_ptr<Dump> Dump::of_environment() { return open(environment()); }

std::unique_ptr<Dump> Dump::open(const char* path) {
  if (path == nullptr) return nullptr;
  if (const auto problem = problem_of(path)) throw *problem;
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw unusable(path, error.message());
  return std::unique_ptr<Dump>(new Dump(path));
}

void Dump::begin_step() {
  step_ = folder_ / str("step-", steps_++);
  std::error_code error;
  fs::create_directory(step_, error);
  if (error) {
    throw Error(Code::kResourceLimit, str("GPT_OSS_DUMP: cannot make ", step_.string(), ": ", error.message()));
  }
}

void Dump::write(const std::string& name, std::span<const int64_t> shape, std::span<const float> values) {
  write(name, "<f4", shape, values.data(), values.size_bytes());
}

void Dump::write(const std::string& name, std::span<const int64_t> shape, std::span<const int32_t> values) {
  write(name, "<i4", shape, values.data(), values.size_bytes());
}

void Dump::write(const std::string& name, const char* dtype, std::span<const int64_t> shape, const void* data,
                 size_t bytes) {
  const fs::path path = step_ / (name + ".npy");
  const std::string header = npy_header(dtype, shape);
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  bool written = file != nullptr && std::fwrite(header.data(), 1, header.size(), file) == header.size() &&
                 std::fwrite(data, 1, bytes, file) == bytes;
  int reason = errno;
  if (file != nullptr && std::fclose(file) != 0) {  // fclose() writes the buffered bytes
    if (written) reason = errno;
    written = false;
  }
  if (!written) {
    throw Error(Code::kResourceLimit, str("GPT_OSS_DUMP: cannot write ", path.string(), ": ", std::strerror(reason)));
  }
}

}  // namespace oss
