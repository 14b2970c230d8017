#include "native/loader/safetensors.h"

#include <unistd.h>

#include <cstring>
#include <random>

#include "test/native/checkpoint_files.h"

using namespace oss;
using namespace oss::test;

static const std::string kTwo =
    R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"U8","shape":[4],"data_offsets":[24,28]}})";

static std::string entry(const std::string& fields) { return str("{\"a\":{", fields, "}}"); }

TEST("safetensors: tensors, metadata, scalars, empty tensors") {
  const TempFolder folder;
  const std::string header =
      R"({"__metadata__":{"format":"pt","é":""},"m":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("none":{"dtype":"I64","shape":[3,0],"data_offsets":[8,8]},"one":{"shape":[],"data_offsets":[8,10],"dtype":"BF16"}}   )";
  write_bytes(folder / "x.safetensors", safetensors_of(header, std::string("\0\0\x80\x3F\0\0\0\x40\x80\x3F", 10)));
  const SafetensorsFile file = read_safetensors(folder / "x.safetensors");
  CHECK_EQ(file.tensors.size(), 3u);
  CHECK_EQ(file.metadata.at("format"), "pt");
  CHECK_EQ(file.metadata.at("é"), "");
  const HostTensor& m = file.tensors.at("m");
  CHECK_EQ(m.name, "m");
  CHECK_EQ(m.file, folder / "x.safetensors");
  CHECK(m.dtype == DType::kF32 && m.shape == (std::vector<int64_t>{2, 1}) && m.bytes == 8);
  float values[2];
  std::memcpy(values, m.data, 8);
  CHECK(values[0] == 1 && values[1] == 2);
  CHECK_EQ(file.tensors.at("none").bytes, 0u);
  CHECK_EQ(file.tensors.at("one").elements(), 1);
}

TEST("safetensors: a file without tensors") {
  const TempFolder folder;
  write_bytes(folder / "x.safetensors", safetensors_of("{}", ""));
  CHECK(read_safetensors(folder / "x.safetensors").tensors.empty());
}

TEST("safetensors: every tensor is aligned to its element, wherever it lies") {
  const TempFolder folder;
  std::string data(37, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = char(i);
  const std::string header =
      R"({"u8":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"f64":{"dtype":"F64","shape":[2],"data_offsets":[1,17]},)"
      R"("bf16":{"dtype":"BF16","shape":[2],"data_offsets":[17,21]},"f32":{"dtype":"F32","shape":[4],"data_offsets":[21,37]}})";
  size_t without_copies = 0;
  for (size_t padding = 0; padding < 8; ++padding) {
    write_bytes(folder / "x.safetensors", safetensors_of(header + std::string(padding, ' '), data));
    const SafetensorsFile file = read_safetensors(folder / "x.safetensors");
    without_copies += file.copies.empty();
    const std::pair<const char*, size_t> offsets[] = {{"u8", 0}, {"f64", 1}, {"bf16", 17}, {"f32", 21}};
    for (const auto& [name, offset] : offsets) {
      const HostTensor& tensor = file.tensors.at(name);
      CHECK_EQ(reinterpret_cast<uintptr_t>(tensor.data) % dtype_bytes(tensor.dtype), 0u);
      CHECK(std::memcmp(tensor.data, data.data() + offset, tensor.bytes) == 0);
    }
  }
  CHECK_EQ(without_copies, 1u);  // when the data begins 7 bytes past a multiple of 8
}

TEST("safetensors: copying misaligned tensors can be cancelled") {
  const TempFolder folder;
  const std::string header =
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}})";
  write_bytes(folder / "x.safetensors", safetensors_of(header, std::string(9, 'x')));
  CHECK_THROWS(Code::kCancelled, "x.safetensors was cancelled",
               read_safetensors(folder / "x.safetensors", [] { return true; }));
}

TEST("safetensors: invalid files are refused") {
  struct Row {
    const char* name;
    std::string file;
    const char* part;
  };
  const std::string data(28, 'x'), four(4, 'x');
  const auto one = [&](const std::string& fields) { return safetensors_of(entry(fields), four); };
  const Row rows[] = {
      {"empty", "", "expected a header length of 8 bytes, found a file of 0"},
      {"short", "1234567", "expected a header length of 8 bytes, found a file of 7"},
      {"header past the end", std::string("\x09\0\0\0\0\0\0\0{}", 10),
       "expected a header of 9 bytes, found 2 bytes in all; the file is cut short"},
      {"header far past the end", std::string(8, '\xFF') + "{}",
       "expected a header of 18446744073709551615 bytes, found 2"},
      {"a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"},
      {"a web page", "<!DOCTYPE html><html></html>", "this is a web page"},
      {"GGUF", "GGUF\x03\0\0\0 and more", "this is a GGUF file"},
      {"header of no bytes", safetensors_of("", "{}"), "expected a header that begins with '{', found \"\""},
      {"no object", safetensors_of("[]", ""), "expected a header that begins with '{', found \"[]\""},
      {"space first", safetensors_of(" {}", ""), "expected a header that begins with '{', found \" {}\""},
      {"not JSON", safetensors_of("{\"a\":", ""), "(header): byte 5: expected a value, found the end"},
      {"not UTF-8", safetensors_of("{\"\xFF\":1}", ""), "(header): byte 2: a string with bytes that are not UTF-8"},
      {"a name twice",
       safetensors_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                      R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                      "x"),
       "the key \"a\" appears twice"},
      {"no entry", safetensors_of("{\"a\":5}", four), "tensor \"a\": expected an object, found 5 (integer)"},
      {"null entry", safetensors_of("{\"a\":null}", four), "tensor \"a\": expected an object, found null"},
      {"no dtype", one(R"("shape":[4],"data_offsets":[0,4])"),
       "tensor \"a\": expected the field \"dtype\", found none"},
      {"no shape", one(R"("dtype":"U8","data_offsets":[0,4])"), "expected the field \"shape\", found none"},
      {"no offsets", one(R"("dtype":"U8","shape":[4])"), "expected the field \"data_offsets\", found none"},
      {"one field more", one(R"("dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1)"), "unknown field \"x\""},
      {"a field twice", one(R"("dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4])"),
       "\"dtype\" appears twice"},
      {"dtype number", one(R"("dtype":7,"shape":[4],"data_offsets":[0,4])"), "expected a string for dtype, found 7"},
      {"dtype unknown", one(R"("dtype":"F4","shape":[4],"data_offsets":[0,4])"),
       "tensor \"a\": expected a dtype among BOOL, U8, I8, I16, U16, I32, U32, I64, U64, F16, BF16, F32, F64, found "
       "\"F4\""},
      {"dtype in lower case", one(R"("dtype":"u8","shape":[4],"data_offsets":[0,4])"), "found \"u8\""},
      {"shape no list", one(R"("dtype":"U8","shape":4,"data_offsets":[0,4])"), "expected a list for shape, found 4"},
      {"shape of a string", one(R"("dtype":"U8","shape":["4"],"data_offsets":[0,4])"),
       "expected integers of 0 or more in shape, found \"4\" (string)"},
      {"shape negative", one(R"("dtype":"U8","shape":[-4],"data_offsets":[0,4])"), "in shape, found -4 (integer)"},
      {"shape fraction", one(R"("dtype":"U8","shape":[4.0],"data_offsets":[0,4])"), "in shape, found 4 (number)"},
      {"shape past 64 bits", one(R"("dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,4])"),
       "in shape, found 1e+20"},
      {"shape whose product wraps", one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])"),
       "shape [4294967296, 4294967296] overflows 64 bits"},
      {"shape whose bytes wrap", one(R"("dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4])"),
       "overflows 64 bits"},
      {"33 dimensions",
       one(R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,4],)"
           R"("data_offsets":[0,4])"),
       "at most 32 dimensions, found 33"},
      {"offsets no list", one(R"("dtype":"U8","shape":[4],"data_offsets":{})"), "expected a list for data_offsets"},
      {"three offsets", one(R"("dtype":"U8","shape":[4],"data_offsets":[0,4,4])"),
       "expected two data_offsets, found 3"},
      {"offset negative", one(R"("dtype":"U8","shape":[4],"data_offsets":[-1,3])"), "in data_offsets, found -1"},
      {"offset null", one(R"("dtype":"U8","shape":[4],"data_offsets":[null,4])"), "in data_offsets, found null"},
      {"offset 2^64", one(R"("dtype":"U8","shape":[4],"data_offsets":[18446744073709551616,4])"),
       "in data_offsets, found 1.8"},
      {"reversed", one(R"("dtype":"U8","shape":[4],"data_offsets":[4,0])"), "data_offsets [4, 0] are reversed"},
      {"past the end", one(R"("dtype":"U8","shape":[5],"data_offsets":[0,5])"),
       "data_offsets [0, 5] reach past the end of the data, which has 4 bytes"},
      {"size", one(R"("dtype":"BF16","shape":[4],"data_offsets":[0,4])"), "expected 8 bytes for BF16 [4], found 4"},
      {"scalar size", one(R"("dtype":"U8","shape":[],"data_offsets":[0,4])"), "expected 1 bytes for U8 [], found 4"},
      {"cut short", safetensors_of(kTwo, data.substr(0, 27)),
       "tensor \"b\": data_offsets [24, 28] reach past the end of the data, which has 27 bytes; the file is cut short"},
      {"bytes after the last", safetensors_of(kTwo, data + "x"),
       "expected the end of the file after the last tensor, found 1 more"},
      {"data of nobody", safetensors_of("{}", four),
       "expected the end of the file after the last tensor, found 4 more"},
      {"overlap",
       safetensors_of(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                      R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                      four),
       "tensor \"b\": data_offsets [2, 4] overlap tensor \"a\", which ends at 3"},
      {"the same range twice",
       safetensors_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                      R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                      four),
       "tensor \"b\": data_offsets [0, 4] overlap tensor \"a\""},
      {"hole",
       safetensors_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                      R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                      four),
       "tensor \"b\": data_offsets [2, 4] leave a hole of 1 bytes before it"},
      {"hole at the start", one(R"("dtype":"U8","shape":[2],"data_offsets":[2,4])"),
       "leave a hole of 2 bytes before it"},
      {"metadata no object", safetensors_of(R"({"__metadata__":[]})", ""),
       "expected an object for __metadata__, found a list of 0"},
      {"metadata number", safetensors_of(R"({"__metadata__":{"a":1}})", ""),
       "expected a string for __metadata__ \"a\", found 1 (integer)"},
  };
  const TempFolder folder;
  for (const Row& row : rows) {
    write_bytes(folder / "bad.safetensors", row.file);
    expect_error(row.name, Code::kModelFormat, row.part, [&] { read_safetensors(folder / "bad.safetensors"); });
    expect_error(str(row.name, ", its path"), Code::kModelFormat, folder / "bad.safetensors",
                 [&] { read_safetensors(folder / "bad.safetensors"); });
  }
}

TEST("safetensors: a header above 100 MB is refused without reading it") {
  const TempFolder folder;
  write_bytes(folder / "x.safetensors", safetensors_of("{}", ""));
  // Sparse: the length field says 100,000,001 and the file is as long, but holds two blocks.
  std::string length(8, '\0');
  for (int i = 0; i < 4; ++i) length[size_t(i)] = char(100'000'001u >> (8 * i));
  write_bytes(folder / "x.safetensors", length + "{");
  CHECK_EQ(::truncate((folder / "x.safetensors").c_str(), 100'000'009), 0);
  CHECK_THROWS(Code::kModelFormat, "expected a header of at most 100000000 bytes, found 100000001",
               read_safetensors(folder / "x.safetensors"));
}

TEST("safetensors: 20,000 damaged headers never crash, and accepted tensors are inside the file") {
  const TempFolder folder;
  const std::string valid = safetensors_of(kTwo + "     ", std::string(28, 'x'));
  const size_t header_end = valid.size() - 28;
  std::mt19937 random(2);
  size_t accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = valid;
    for (uint32_t edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % header_end;
      bytes[at] = random() % 2 ? char(random()) : "0123456789[]{},:\"-"[random() % 18];
    }
    write_bytes(folder / "x.safetensors", bytes);
    try {
      const SafetensorsFile file = read_safetensors(folder / "x.safetensors");
      size_t sum = 0;
      for (const auto& [name, tensor] : file.tensors)
        for (size_t i = 0; i < tensor.bytes; ++i) sum += size_t(tensor.data[i] == std::byte('x'));
      CHECK_EQ(sum, 28u);
      ++accepted;
    } catch (const Error& error) {
      if (error.code() != Code::kModelFormat) fail(__FILE__, __LINE__, error.what());
    }
  }
  CHECK(accepted > 0 && accepted < 20'000);
}
