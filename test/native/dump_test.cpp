#include "native/base/dump.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "test/native/check.h"

namespace oss {
namespace {

// A separate folder for each test.
struct Folder {
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "gpt-oss-dump-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST("dump: a tensor is a file that numpy reads") {
  Folder folder;
  const auto out = folder.path / "not" / "there";
  const auto dump = Dump::open(out.c_str());
  dump->begin_step();
  dump->begin_step();
  const int64_t shape[] = {2, 3}, one[] = {1};
  const float values[] = {1, 2, 3, 4, 5, 6};
  dump->write("3.attn", shape, values);
  dump->write("tokens", one, std::vector<int32_t>{7});
  const std::string file = contents(out / "step-1" / "3.attn.npy");
  CHECK_EQ(file.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const size_t begin = 10 + size_t(uint8_t(file[8])) + 256 * size_t(uint8_t(file[9]));
  CHECK_EQ(begin % 64, size_t(0));
  CHECK_EQ(file[begin - 1], '\n');
  CHECK_EQ(file.substr(10, 59), "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, ),");
  CHECK_EQ(file.substr(begin), std::string(reinterpret_cast<const char*>(values), sizeof values));
  CHECK(contents(out / "step-1" / "tokens.npy").find("'<i4', 'fortran_order': False, 'shape': (1, )") !=
        std::string::npos);
  CHECK(std::filesystem::is_empty(out / "step-0"));
}

TEST("dump: an unusable folder is refused by name, before any work") {
  CHECK(Dump::open(nullptr) == nullptr);
  Folder folder;
  const auto file = folder.path / "file";
  std::ofstream(file) << "x";
  const auto refused = [](const std::filesystem::path& path, const std::string& reason) {
    CHECK_THROWS(
        Code::kInvalidArgument,
        "GPT_OSS_DUMP is \"" + path.string() + "\", expected an empty folder that can be written to: " + reason,
        Dump::open(path.c_str()));
  };
  refused(file, "it is not a folder");
  refused(folder.path, "it is not empty");
  refused(file / "below", "\"" + file.string() + "\" is not a folder");
}

TEST("dump: a failed write is an error that names the file") {
  Folder folder;
  const auto dump = Dump::open(folder.path.c_str());
  dump->begin_step();
  std::filesystem::remove_all(folder.path);
  const int64_t one[] = {1};
  CHECK_THROWS(Code::kResourceLimit, "cannot write " + (folder.path / "step-0" / "v.npy").string(),
               dump->write("v", one, std::vector<float>{1}));
  CHECK_THROWS(Code::kResourceLimit, "cannot make " + (folder.path / "step-1").string(), dump->begin_step());
}

}  // namespace oss
