// The GGUF container: what is accepted, what is refused, and that no damage leads outside the file.
#include "native/loader/gguf.h"

#include <cstring>
#include <random>

#include "native/loader/gguf_metadata.h"
#include "native/loader/gguf_split.h"
#include "test/native/checkpoint_files.h"

using namespace oss;
using namespace oss::test;

namespace {

template <typename T>
std::string le(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
std::string u32(uint32_t value) { return le(value); }
std::string u64(uint64_t value) { return le(value); }
std::string text(const std::string& bytes) { return u64(bytes.size()) + bytes; }

std::string header(uint64_t tensors, uint64_t values) { return "GGUF" + u32(3) + u64(tensors) + u64(values); }
std::string value(const std::string& key, uint32_t type, const std::string& bytes) {
  return text(key) + u32(type) + bytes;
}
std::string list(uint32_t type, uint64_t count, const std::string& items) { return u32(type) + u64(count) + items; }
std::string tensor(const std::string& name, const std::vector<uint64_t>& extents, uint32_t type, uint64_t offset) {
  std::string out = text(name) + u32(uint32_t(extents.size()));
  for (const uint64_t extent : extents) out += u64(extent);
  return out + u32(type) + u64(offset);
}
std::string padded(std::string bytes, size_t alignment = 32) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
  return bytes;
}

// Two tensors, and a value of each kind.
std::string whole_header() {
  return header(2, 6) + value("text", 8, text("Ġé")) + value("list", 9, list(5, 3, le(-1) + le(2) + le(3))) +
         value("names", 9, list(8, 2, text("a") + text("bc"))) + value("yes", 7, "\1") + value("number", 6, le(1.5f)) +
         value("deep", 9, list(9, 1, list(0, 2, "xy"))) + tensor("m", {32, 3}, 8, 0) + tensor("v", {2}, 0, 128);
}
std::string whole_file() { return padded(whole_header()) + padded(std::string(3 * 34, 'q')) + std::string(8, 'x'); }

GgufFile read_bytes_as_gguf(const TempFolder& folder, const std::string& bytes) {
  write_bytes(folder / "x", bytes);
  return read_gguf(folder / "x");
}

}  // namespace

TEST("gguf: tensors and values") {
  const TempFolder folder;
  const GgufFile file = read_bytes_as_gguf(folder, whole_file());
  const GgufMetadata metadata(file);
  CHECK_EQ(metadata.string("text"), "Ġé");
  CHECK(metadata.integers("list", -5, 5) == (std::vector<int64_t>{-1, 2, 3}));
  CHECK(metadata.strings("names") == (std::vector<std::string_view>{"a", "bc"}));
  CHECK(metadata.boolean("yes"));
  CHECK_EQ(metadata.number("number"), 1.5);
  CHECK_EQ(metadata.length("deep"), 1u);
  CHECK_EQ(file.tensors.size(), 2u);
  const GgufTensor& m = file.tensors.at("m");
  CHECK_EQ(std::string(m.type->name), "Q8_0");
  CHECK(m.data.shape == (std::vector<int64_t>{3, 32}) && m.data.bytes == 102 && m.data.dtype == DType::kU8);
  CHECK_EQ(std::string(m.data.stored_type()), "Q8_0");
  CHECK(m.data.data[0] == std::byte('q') && file.tensors.at("v").data.data[7] == std::byte('x'));
  CHECK(is_gguf(folder / "x"));
  CHECK(!is_gguf(folder.path()) && !is_gguf(folder / "none"));
}

TEST("gguf: tensors lie at the alignment of the file") {
  const TempFolder folder;
  const std::string info = tensor("v", {2}, 0, 0);
  for (const uint32_t alignment : {8u, 64u, 4096u}) {
    const std::string head = header(1, 1) + value("general.alignment", 4, u32(alignment)) + info;
    const GgufFile file = read_bytes_as_gguf(folder, padded(head, alignment) + "abcdefgh");
    CHECK(std::memcmp(file.tensors.at("v").data.data, "abcdefgh", 8) == 0);
  }
}

TEST("gguf: metadata of another type is refused by key") {
  const TempFolder folder;
  const GgufFile file = read_bytes_as_gguf(folder, whole_file());
  const GgufMetadata metadata(file);
  const std::string path = folder / "x";
  CHECK_THROWS(Code::kModelFormat, path + ": none: expected an integer in [1, 2], found nothing",
               metadata.integer("none", 1, 2));
  CHECK_THROWS(Code::kModelFormat, "text: expected an integer in [1, 2], found \"Ġé\" (string)",
               metadata.integer("text", 1, 2));
  CHECK_THROWS(Code::kModelFormat, "list: expected an integer in [0, 5], found -1", metadata.integers("list", 0, 5));
  CHECK_THROWS(Code::kModelFormat, "list: expected an integer, found a list of 3", metadata.integer("list", 0, 5));
  CHECK_THROWS(Code::kModelFormat, "number: expected a string, found 1.5 (f32)", metadata.string("number"));
  CHECK_THROWS(Code::kModelFormat, "yes: expected a number, found 1 (bool)", metadata.number("yes"));
  CHECK_THROWS(Code::kModelFormat, "list: expected a list of strings, found a list of 3", metadata.strings("list"));
  CHECK_THROWS(Code::kModelFormat, "text: expected a list, found", metadata.length("text"));
  CHECK_THROWS(Code::kModelFormat, "deep: expected an integer in [0, 9], found a list of 1",
               metadata.integers("deep", 0, 9));
}

TEST("gguf: invalid files are refused") {
  struct Row {
    const char* name;
    std::string file;
    const char* part;
    Code code = Code::kModelFormat;
  };
  const std::string data(128, 'x');
  const auto one = [&](const std::string& info) { return padded(header(1, 0) + info) + data; };
  const auto kv = [&](const std::string& bytes) { return header(0, 1) + bytes; };
  const uint64_t huge = ~uint64_t(0);
  const Row rows[] = {
      {"empty", "", "expected a file that begins with \"GGUF\", found \"\""},
      {"another magic", "GGML" + data, "expected a file that begins with \"GGUF\", found \"GGML\""},
      {"version 1", "GGUF" + u32(1) + data, "expected GGUF version 3, found 1", Code::kUnsupported},
      {"version 2", "GGUF" + u32(2) + data, "expected GGUF version 3, found 2", Code::kUnsupported},
      {"big-endian", "GGUF" + u32(3u << 24) + data, "this GGUF file is big-endian", Code::kUnsupported},
      {"2^64 - 1 values", header(0, huge), "expected 18446744073709551615 values of 13 bytes or more, found 0"},
      {"2^64 - 1 tensors", header(huge, 0) + data, "expected 18446744073709551615 tensors of 32 bytes or more"},
      {"a long key", kv(u64(70000) + std::string(70000, 'k')), "expected at most 65535 bytes for the key of value 0"},
      {"a key past the end", kv(u64(500) + data), "bytes for the key of value 0, found 128; the file is cut short"},
      {"a key that is not UTF-8", kv(value("\xFF", 0, "x")), "expected UTF-8 for the key of value 0"},
      {"a text that is not UTF-8", kv(value("k", 8, text("\xC3"))), "expected UTF-8 for k, found"},
      {"a text past the end", kv(value("k", 8, u64(huge))), "expected at most 1073741824 bytes for k"},
      {"an unknown type", kv(value("k", 13, "x")), "k: expected a value type in [0, 12], found 13"},
      {"a bool of 2", kv(value("k", 7, "\2")), "k: expected 0 or 1 for true or false"},
      {"a list past the end", kv(value("k", 9, list(4, huge, ""))), "items of 4 bytes, found 0 bytes"},
      {"a list of texts past the end", kv(value("k", 9, list(8, huge, text("a")))), "the file is cut short"},
      {"lists in lists in lists", kv(value("k", 9, list(9, 1, list(9, 1, list(9, 1, list(9, 1, list(0, 1, "x"))))))),
       "k: expected lists nested at most 4 deep"},
      {"a key twice", header(0, 2) + value("k", 0, "x") + value("k", 0, "x"), "the key \"k\" appears twice"},
      {"alignment 0", kv(value("general.alignment", 4, u32(0))), "expected an integer in [8, 1048576], found 0"},
      {"alignment 24", kv(value("general.alignment", 4, u32(24))), "expected a power of two, found 24"},
      {"alignment as text", kv(value("general.alignment", 8, text("32"))), "found \"32\" (string)"},
      {"no dimensions", one(tensor("t", {}, 0, 0)), "tensor \"t\": expected 1 to 4 dimensions, found 0"},
      {"5 dimensions", one(tensor("t", {1, 1, 1, 1, 1}, 0, 0)), "expected 1 to 4 dimensions, found 5"},
      {"an extent of 0", one(tensor("t", {0}, 0, 0)), "expected an extent in [1, 2^40], found 0"},
      {"an extent of 2^63", one(tensor("t", {uint64_t(1) << 63}, 0, 0)), "expected an extent in [1, 2^40]"},
      {"elements that wrap", one(tensor("t", {1ull << 40, 1ull << 40}, 0, 0)), "its elements overflow 64 bits"},
      {"bytes that wrap", one(tensor("t", {1ull << 40, 1ull << 22}, 0, 0)), "its bytes overflow 64 bits"},
      {"an unknown tensor type", one(tensor("t", {2}, 5, 0)), "tensor \"t\": its type 5 is not known",
       Code::kUnsupported},
      {"a part of a block", one(tensor("t", {33}, 8, 0)), "expected rows of whole blocks of 32 for Q8_0, found 33"},
      {"an offset between", one(tensor("t", {2}, 0, 8)), "expected an offset that is a multiple of 32, found 8"},
      {"past the end", one(tensor("t", {33}, 0, 0)),
       "its 132 bytes at 0 reach past the end of the data, which has 128"},
      {"far past the end", one(tensor("t", {2}, 0, huge - 31)), "reach past the end of the data"},
      {"overlap", padded(header(2, 0) + tensor("a", {16}, 0, 0) + tensor("b", {2}, 0, 32)) + data,
       "tensor \"b\": its offset 32 overlaps tensor \"a\", which ends at 64"},
      {"the same range twice", padded(header(2, 0) + tensor("a", {2}, 0, 0) + tensor("b", {2}, 0, 0)) + data,
       "overlaps tensor"},
      {"a tensor twice", padded(header(2, 0) + tensor("a", {2}, 0, 0) + tensor("a", {2}, 0, 32)) + data,
       "the tensor \"a\" appears twice"},
      {"a tensor's name that is not UTF-8", one(tensor("\xC0", {2}, 0, 0)), "expected UTF-8 for the name of tensor 0"},
      {"a long name of a tensor", one(tensor(std::string(1025, 'n'), {2}, 0, 0)), "expected at most 1024 bytes"},
  };
  const TempFolder folder;
  for (const Row& row : rows) {
    write_bytes(folder / "bad.gguf", row.file);
    expect_error(row.name, row.code, row.part, [&] { read_gguf(folder / "bad.gguf"); });
    expect_error(str(row.name, ", its path"), row.code, folder / "bad.gguf", [&] { read_gguf(folder / "bad.gguf"); });
  }
}

TEST("gguf: a file that is cut at any byte is refused") {
  const TempFolder folder;
  const std::string whole = whole_file();
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    write_bytes(folder / "x", whole.substr(0, bytes));
    expect_error(str("cut at ", bytes), Code::kModelFormat, folder / "x", [&] { read_gguf(folder / "x"); });
  }
}

TEST("gguf: 20,000 damaged headers never crash, and accepted tensors are inside the file") {
  const TempFolder folder;
  const std::string valid = whole_file();
  std::mt19937 random(3);
  size_t accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = valid;
    for (uint32_t edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = 4 + random() % (whole_header().size() - 4);
      bytes[at] = random() % 3 == 0 ? char(random()) : char(bytes[at] ^ (1 << (random() % 8)));
    }
    write_bytes(folder / "x", bytes);
    try {
      const GgufFile file = read_gguf(folder / "x");
      size_t sum = 0;
      for (const auto& [name, tensor] : file.tensors)
        for (size_t i = 0; i < tensor.data.bytes; ++i) sum += size_t(tensor.data.data[i]);
      const GgufMetadata metadata(file);
      for (const auto& [key, value] : file.values) {
        try {  // every getter on every value
          if (value.is_list && value.type == kGgufString) {
            for (const std::string_view item : metadata.strings(key)) sum += item.size();
          } else if (value.type == kGgufString) {
            sum += metadata.string(key).size();
          } else {
            sum += metadata.integers(key, -1000, 1000).size();
          }
        } catch (const Error& error) {
          if (error.code() != Code::kModelFormat) fail(__FILE__, __LINE__, error.what());
        }
      }
      accepted += sum > 0;
    } catch (const Error& error) {
      if (error.code() != Code::kModelFormat && error.code() != Code::kUnsupported)
        fail(__FILE__, __LINE__, error.what());
    }
  }
  CHECK(accepted > 0 && accepted < 20'000);
}

TEST("gguf: names of parts") {
  CHECK_EQ(first_gguf_part("/m/a-00002-of-00003.gguf"), "/m/a-00001-of-00003.gguf");
  for (const char* path : {"/m/a.gguf", "/m/a-2-of-3.gguf", "/m/a-00000-of-00003.gguf", "-00001-of-00001.gguf",
                           "/m/a-00001-of-00003.safetensors", "/m/a-+0001-of-00003.gguf"})
    CHECK_EQ(first_gguf_part(path), path);
}
