#include "native/loader/gguf.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"
#include "native/base/utf8.h"
#include "native/loader/gguf_metadata.h"

namespace oss {
namespace {

constexpr char kMagic[] = {'G', 'G', 'U', 'F'};
constexpr uint32_t kVersion = 3, kSwappedVersion = 3u << 24;
constexpr uint64_t kMaxHeaderBytes = 1ull << 30;  // the released files have 20 MB, nearly all of it vocabulary
constexpr uint64_t kMaxNameBytes = 1024;          // ggml allows 64 for tensors; longest key of the format: 65535
constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint32_t kMaxDimensions = 4, kMaxListDepth = 4;
constexpr uint64_t kMaxAlignment = 1 << 20;

class Reader {
 public:
  explicit Reader(GgufFile& file) : file_(file), text_(file.mapping->text()) {}

  void read() {
    check_magic_and_version();
    const uint64_t num_tensors = number<uint64_t>("the number of tensors");
    const uint64_t num_values = number<uint64_t>("the number of values");
    // Each takes at least so many bytes; a greater count is a lie, or the file is cut short.
    expect_room(num_values, sizeof(uint64_t) + sizeof(uint32_t) + 1, "values");
    for (uint64_t i = 0; i < num_values; ++i) read_value(i);
    expect_room(num_tensors, 3 * sizeof(uint64_t) + 2 * sizeof(uint32_t), "tensors");
    std::vector<GgufTensor> tensors;
    for (uint64_t i = 0; i < num_tensors; ++i) tensors.push_back(read_tensor(i));
    const uint64_t alignment = alignment_of_data();
    if (!tensors.empty()) place(tensors, (at_ + alignment - 1) / alignment * alignment, alignment);
  }

 private:
  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw Error(Code::kModelFormat, str(file_.path, ": ", parts...));
  }

  uint64_t left() const { return text_.size() - at_; }

  std::string_view take(uint64_t bytes, const char* what) {
    if (bytes > left())
      fail("byte ", at_, ": expected ", bytes, " bytes for ", what, ", found ", left(), "; the file is cut short");
    if (at_ + bytes > kMaxHeaderBytes) fail("expected a header of at most ", kMaxHeaderBytes, " bytes, found more");
    at_ += bytes;
    return text_.substr(at_ - bytes, bytes);
  }

  template <typename T>
  T number(const char* what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

  std::string_view string(const char* what, uint64_t most) {
    const uint64_t bytes = number<uint64_t>(what);
    if (bytes > most)
      fail("byte ", at_ - sizeof bytes, ": expected at most ", most, " bytes for ", what, ", found ", bytes);
    const std::string_view text = take(bytes, what);
    if (!is_utf8(text))
      fail("byte ", at_ - bytes, ": expected UTF-8 for ", what, ", found ", quote(text.substr(0, 40)));
    return text;
  }

  static bool is_utf8(std::string_view text) {
    while (!text.empty()) {
      const Utf8 first = utf8_begin(text);
      if (first.kind != Utf8::kWhole) return false;
      text.remove_prefix(first.length);
    }
    return true;
  }

  void expect_room(uint64_t count, uint64_t least_bytes, const char* what) const {
    if (count > left() / least_bytes)
      fail("expected ", count, " ", what, " of ", least_bytes, " bytes or more, found ", left(),
           " bytes; the file is cut short, or its header is wrong");
  }

  void check_magic_and_version() {
    if (!text_.starts_with(std::string_view(kMagic, sizeof kMagic)))
      fail("expected a file that begins with \"GGUF\", found ", quote(text_.substr(0, sizeof kMagic)));
    at_ = sizeof kMagic;
    const uint32_t version = number<uint32_t>("the version");
    if (version == kSwappedVersion)
      throw Error(Code::kUnsupported, str(file_.path, ": this GGUF file is big-endian; convert it to little-endian"));
    if (version != kVersion)
      throw Error(Code::kUnsupported, str(file_.path, ": expected GGUF version 3, found ", version,
                                          "; convert the model again with a current llama.cpp"));
  }

  void read_value(uint64_t index) {
    const std::string key(string(str("the key of value ", index).c_str(), kMaxKeyBytes));
    key_ = &key;
    GgufValue value;
    value.type = number<uint32_t>("the type of a value");
    const size_t begin = at_;
    if (value.type == kGgufList) {
      value.is_list = true;
      value.type = number<uint32_t>("the type of a list");
      value.count = number<uint64_t>("the length of a list");
    }
    const size_t items = value.is_list ? begin + sizeof(uint32_t) + sizeof(uint64_t) : begin;
    skip_items(value.type, value.count, 1);
    value.bytes = text_.substr(items, at_ - items);
    if (!file_.values.emplace(key, value).second) fail("the key ", quote(key), " appears twice");
  }

  void skip_items(uint32_t type, uint64_t count, uint32_t depth) {
    const uint32_t bytes = gguf_value_bytes(type);
    if (bytes > 0) {
      if (count > left() / bytes)
        fail(*key_, ": expected ", count, " items of ", bytes, " bytes, found ", left(),
             " bytes; the file is cut short");
      const std::string_view items = take(count * bytes, "a list");
      if (type == kGgufBool && items.find_first_not_of(std::string_view("\0\1", 2)) != items.npos)
        fail(*key_, ": expected 0 or 1 for true or false, found another byte");
    } else if (type == kGgufString) {
      for (uint64_t i = 0; i < count; ++i) string(key_->c_str(), kMaxHeaderBytes);
    } else if (type == kGgufList) {
      if (depth >= kMaxListDepth) fail(*key_, ": expected lists nested at most ", kMaxListDepth, " deep, found more");
      for (uint64_t i = 0; i < count; ++i) {
        const uint32_t inner = number<uint32_t>("the type of a list");
        const uint64_t inner_count = number<uint64_t>("the length of a list");
        skip_items(inner, inner_count, depth + 1);
      }
    } else {
      fail(*key_, ": expected a value type in [0, 12], found ", type);
    }
  }

  GgufTensor read_tensor(uint64_t index) {
    GgufTensor out;
    HostTensor& data = out.data;
    data.name = string(str("the name of tensor ", index).c_str(), kMaxNameBytes);
    data.file = file_.path;
    const auto fail_here = [&](const auto&... parts) { fail("tensor ", quote(data.name), ": ", parts...); };
    const uint32_t dimensions = number<uint32_t>("the number of dimensions");
    if (dimensions < 1 || dimensions > kMaxDimensions)
      fail_here("expected 1 to ", kMaxDimensions, " dimensions, found ", dimensions);
    uint64_t elements = 1;
    for (uint32_t i = 0; i < dimensions; ++i) {
      const uint64_t extent = number<uint64_t>("an extent");
      if (extent < 1 || extent > (1ull << 40)) fail_here("expected an extent in [1, 2^40], found ", extent);
      if (__builtin_mul_overflow(elements, extent, &elements)) fail_here("its elements overflow 64 bits");
      data.shape.insert(data.shape.begin(), int64_t(extent));
    }
    const uint32_t type = number<uint32_t>("a tensor's type");
    out.type = gguf_type(type);
    if (out.type == nullptr)
      throw Error(Code::kUnsupported, str(file_.path, ": tensor ", quote(data.name), ": its type ", type,
                                          " is not known; use the MXFP4 file or the safetensors files"));
    if (uint64_t(data.shape.back()) % out.type->block != 0)
      fail_here("expected rows of whole blocks of ", out.type->block, " for ", out.type->name, ", found ",
                data.shape.back(), " elements in a row");
    uint64_t bytes;
    if (__builtin_mul_overflow(elements / out.type->block, uint64_t(out.type->bytes), &bytes))
      fail_here("its bytes overflow 64 bits");
    data.bytes = bytes;
    data.dtype = dtype_of(*out.type);
    data.stored = out.type->name;
    offsets_.push_back(number<uint64_t>("an offset"));
    return out;
  }

  static DType dtype_of(const GgufType& type) {
    const std::string_view name = type.name;
    if (name == "F32") return DType::kF32;
    if (name == "F16") return DType::kF16;
    if (name == "BF16") return DType::kBF16;
    return DType::kU8;
  }

  uint64_t alignment_of_data() const {
    constexpr char kKey[] = "general.alignment";
    const GgufMetadata metadata(file_);
    if (!metadata.has(kKey)) return 32;
    const int64_t alignment = metadata.integer(kKey, 8, kMaxAlignment);
    if ((alignment & (alignment - 1)) != 0) fail(kKey, ": expected a power of two, found ", alignment);
    return uint64_t(alignment);
  }

  // Gives every tensor its bytes, and checks that they are in the file and belong to nobody else.
  void place(std::vector<GgufTensor>& tensors, uint64_t data_begin, uint64_t alignment) {
    const uint64_t data_bytes = text_.size() > data_begin ? text_.size() - data_begin : 0;
    std::vector<size_t> order;
    for (size_t i = 0; i < tensors.size(); ++i) order.push_back(i);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return offsets_[a] < offsets_[b]; });
    const GgufTensor* previous = nullptr;
    uint64_t covered = 0;
    for (const size_t i : order) {
      HostTensor& data = tensors[i].data;
      const auto fail_here = [&](const auto&... parts) { fail("tensor ", quote(data.name), ": ", parts...); };
      if (offsets_[i] % alignment != 0)
        fail_here("expected an offset that is a multiple of ", alignment, ", found ", offsets_[i]);
      if (offsets_[i] > data_bytes || data.bytes > data_bytes - offsets_[i])
        fail_here("its ", data.bytes, " bytes at ", offsets_[i], " reach past the end of the data, which has ",
                  data_bytes, " bytes; the file is cut short, or its header is wrong");
      if (offsets_[i] < covered)
        fail_here("its offset ", offsets_[i], " overlaps tensor ", quote(previous->data.name), ", which ends at ",
                  covered);
      covered = offsets_[i] + data.bytes;
      previous = &tensors[i];
      data.data = file_.mapping->data() + data_begin + offsets_[i];
      data.mapping = file_.mapping.get();
    }
    for (GgufTensor& tensor : tensors) {
      const std::string name = tensor.data.name;
      if (!file_.tensors.emplace(name, std::move(tensor)).second) fail("the tensor ", quote(name), " appears twice");
    }
  }

  GgufFile& file_;
  const std::string_view text_;
  size_t at_ = 0;
  const std::string* key_ = nullptr;  // whose value is being read
  std::vector<uint64_t> offsets_;     // of the tensors, in the data
};

}  // namespace

GgufFile read_gguf(const std::string& path) {
  GgufFile file;
  file.path = path;
  file.mapping = MappedFile::open(path);
  Reader(file).read();
  return file;
}

bool is_gguf(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  char magic[sizeof kMagic] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::equal(std::begin(magic), std::end(magic), std::begin(kMagic));
}

}  // namespace oss
