#include "native/loader/safetensors.h"

#include <algorithm>
#include <optional>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr size_t kMaxDimensions = 32;              // more than real tensors have; keeps messages readable

constexpr DType kDTypes[] = {DType::kBool, DType::kU8,  DType::kI8,  DType::kI16, DType::kU16,
                             DType::kI32,  DType::kU32, DType::kI64, DType::kU64, DType::kF16,
                             DType::kBF16, DType::kF32, DType::kF64};

template <typename... Parts>
[[noreturn]] void fail(const std::string& path, const Parts&... parts) {
  throw Error(Code::kModelFormat, str(path, ": ", parts...));
}

// Recognizes files that are often downloaded by mistake in place of weights.
std::string likely_cause(std::string_view file) {
  if (file.starts_with("version https://git-lfs"))
    return "; this is a Git LFS pointer, fetch the file with: git lfs pull";
  if (file.starts_with("GGUF")) return "; this is a GGUF file";
  if (file.starts_with("<")) return "; this is a web page, not the file behind it";
  return "; the file is cut short, or no safetensors file";
}

std::string_view header_text(const MappedFile& file) {
  if (file.size() < kLengthBytes)
    fail(file.path(), "expected a header length of 8 bytes, found a file of ", file.size(), likely_cause(file.text()));
  uint64_t length = 0;
  for (int i = 0; i < int(kLengthBytes); ++i) length |= uint64_t(file.data()[i]) << (8 * i);
  const uint64_t available = file.size() - kLengthBytes;
  if (length > available)
    fail(file.path(), "expected a header of ", length, " bytes, found ", available, " bytes in all",
         likely_cause(file.text()));
  if (length > kMaxHeaderBytes)
    fail(file.path(), "expected a header of at most ", kMaxHeaderBytes, " bytes, found ", length);
  const std::string_view text = file.text().substr(kLengthBytes, length);
  if (!text.starts_with('{'))
    fail(file.path(), "expected a header that begins with '{', found ", quote(text.substr(0, 8)));
  return text;
}

struct Entry {
  HostTensor tensor;
  uint64_t begin = 0, end = 0;  // in the data
};

class EntryReader {
 public:
  EntryReader(const std::string& path, const std::string& name, const Json& entry, uint64_t data_bytes)
      : path_(path), name_(name), entry_(entry), data_bytes_(data_bytes) {}

  Entry read() const {
    if (!entry_.object()) fail_here("expected an object, found ", entry_.describe());
    for (const auto& [key, value] : *entry_.object())
      if (key != "dtype" && key != "shape" && key != "data_offsets") fail_here("unknown field ", quote(key));
    Entry out;
    out.tensor.name = name_;
    out.tensor.file = path_;
    out.tensor.dtype = dtype();
    const Json::Array& shape = field_list("shape");
    if (shape.size() > kMaxDimensions)
      fail_here("expected at most ", kMaxDimensions, " dimensions, found ", shape.size());
    for (const Json& extent : shape) out.tensor.shape.push_back(int64_t(natural("shape", extent)));
    const Json::Array& offsets = field_list("data_offsets");
    if (offsets.size() != 2) fail_here("expected two data_offsets, found ", offsets.size());
    out.begin = natural("data_offsets", offsets[0]);
    out.end = natural("data_offsets", offsets[1]);
    if (out.begin > out.end) fail_here("data_offsets [", out.begin, ", ", out.end, "] are reversed");
    if (out.end > data_bytes_)
      fail_here("data_offsets [", out.begin, ", ", out.end, "] reach past the end of the data, which has ", data_bytes_,
                " bytes; the file is cut short, or the header is wrong");
    const uint64_t expected = byte_size(out.tensor);
    if (expected != out.end - out.begin)
      fail_here("expected ", expected, " bytes for ", dtype_name(out.tensor.dtype), " ", str_shape(out.tensor.shape),
                ", found ", out.end - out.begin, " in data_offsets");
    out.tensor.bytes = expected;
    return out;
  }

 private:
  template <typename... Parts>
  [[noreturn]] void fail_here(const Parts&... parts) const {
    fail(path_, "tensor ", quote(name_), ": ", parts...);
  }

  const Json& field(const char* key) const {
    const Json* value = entry_.find(key);
    if (!value) fail_here("expected the field ", quote(key), ", found none");
    return *value;
  }

  const Json::Array& field_list(const char* key) const {
    const Json& value = field(key);
    if (!value.array()) fail_here("expected a list for ", key, ", found ", value.describe());
    return *value.array();
  }

  uint64_t natural(const char* key, const Json& value) const {
    if (!value.integer() || *value.integer() < 0)
      fail_here("expected integers of 0 or more in ", key, ", found ", value.describe());
    return uint64_t(*value.integer());
  }

  DType dtype() const {
    const Json& value = field("dtype");
    if (!value.string()) fail_here("expected a string for dtype, found ", value.describe());
    for (DType dtype : kDTypes)
      if (*value.string() == dtype_name(dtype)) return dtype;
    std::string known;
    for (DType dtype : kDTypes) known += str(known.empty() ? "" : ", ", dtype_name(dtype));
    fail_here("expected a dtype among ", known, ", found ", quote(*value.string()));
  }

  uint64_t byte_size(const HostTensor& tensor) const {
    uint64_t bytes = dtype_bytes(tensor.dtype);
    for (int64_t extent : tensor.shape)
      if (__builtin_mul_overflow(bytes, uint64_t(extent), &bytes))
        fail_here("shape ", str_shape(tensor.shape), " overflows 64 bits");
    return bytes;
  }

  const std::string& path_;
  const std::string& name_;
  const Json& entry_;
  const uint64_t data_bytes_;
};

std::map<std::string, std::string> read_metadata(const std::string& path, const Json& json) {
  if (!json.object()) fail(path, "expected an object for __metadata__, found ", json.describe());
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : *json.object()) {
    if (!value.string()) fail(path, "expected a string for __metadata__ ", quote(key), ", found ", value.describe());
    metadata.emplace(key, *value.string());
  }
  return metadata;
}

// Checks that the ranges, in order, cover [0, data_bytes) exactly.
void check_tiling(const std::string& path, std::vector<Entry>& entries, uint64_t data_bytes) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t covered = 0;
  const Entry* previous = nullptr;
  for (const Entry& entry : entries) {
    if (entry.begin < covered)
      fail(path, "tensor ", quote(entry.tensor.name), ": data_offsets [", entry.begin, ", ", entry.end,
           "] overlap tensor ", quote(previous->tensor.name), ", which ends at ", covered);
    if (entry.begin > covered)
      fail(path, "tensor ", quote(entry.tensor.name), ": data_offsets [", entry.begin, ", ", entry.end,
           "] leave a hole of ", entry.begin - covered, " bytes before it");
    covered = entry.end;
    previous = &entry;
  }
  if (covered < data_bytes)
    fail(path, "expected the end of the file after the last tensor, found ", data_bytes - covered, " more bytes");
}

}  // namespace

SafetensorsFile read_safetensors(const std::string& path, const std::function<bool()>& cancelled) {
  SafetensorsFile file;
  file.path = path;
  file.mapping = MappedFile::open(path);
  const std::string_view text = header_text(*file.mapping);
  const Json header = parse_json(text, path + " (header)");
  const uint64_t data_bytes = file.mapping->size() - kLengthBytes - text.size();

  std::vector<Entry> entries;
  for (const auto& [name, value] : *header.object()) {
    if (name == "__metadata__") {
      file.metadata = read_metadata(path, value);
    } else {
      entries.push_back(EntryReader(path, name, value, data_bytes).read());
    }
  }
  check_tiling(path, entries, data_bytes);

  const std::byte* data = file.mapping->data() + kLengthBytes + text.size();
  for (Entry& entry : entries) {
    HostTensor& tensor = entry.tensor;
    tensor.data = data + entry.begin;
    tensor.mapping = file.mapping.get();
    if (reinterpret_cast<uintptr_t>(tensor.data) % dtype_bytes(tensor.dtype) != 0) {
      if (cancelled && cancelled()) throw Error(Code::kCancelled, str("loading ", path, " was cancelled"));
      file.copies.push_back(std::make_unique_for_overwrite<std::byte[]>(tensor.bytes));
      tensor.read(0, tensor.bytes, file.copies.back().get());
      tensor.data = file.copies.back().get();
      tensor.mapping = nullptr;
    }
    std::string name = tensor.name;
    file.tensors.emplace(std::move(name), std::move(tensor));
  }
  return file;
}

}  // namespace oss
