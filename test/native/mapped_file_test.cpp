// Files that change or fail while they are read. This executable replaces pread: it can be short, interrupted or
// broken, as the system's pread rarely is.
#include "native/base/mapped_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>

#include "native/base/tensor.h"
#include "native/base/thread_pool.h"
#include "test/native/checkpoint_files.h"
#include "test/native/faulty_reads.h"

using namespace oss;
using namespace oss::test;

static std::string pattern(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = char(i * 2654435761u >> 13);
  return text;
}

static std::string read(const MappedFile& file, size_t offset, size_t bytes) {
  std::string text(bytes + 1, '?');
  file.read(offset, bytes, text.data());
  CHECK_EQ(text.back(), '?');  // nothing is written past the end
  text.pop_back();
  return text;
}

TEST("mapped file: paths that are not a readable file") {
  const TempFolder folder;
  CHECK_THROWS(Code::kModelNotFound, "/none: No such file or directory", MappedFile::open(folder / "none"));
  CHECK_THROWS(Code::kModelNotFound, "cannot open ", MappedFile::open(folder / "none"));
  CHECK_THROWS(Code::kModelFormat, " is a folder, expected a file", MappedFile::open(folder.path()));
  CHECK_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  CHECK_THROWS(Code::kModelFormat, "/pipe is not a regular file", MappedFile::open(folder / "pipe"));
  write_bytes(folder / "file", "abc");
  CHECK_THROWS(Code::kModelNotFound, "Not a directory", MappedFile::open(folder / "file/below"));
  const auto file = MappedFile::open(folder / "file");
  CHECK(file->size() == 3 && file->text() == "abc" && file->path() == folder / "file");
  write_bytes(folder / "empty", "");
  const auto empty = MappedFile::open(folder / "empty");
  CHECK_EQ(empty->size(), 0u);
  CHECK_EQ(read(*empty, 0, 0), "");
}

TEST("mapped file: any range can be read, across pages and up to the last byte") {
  const TempFolder folder;
  const size_t page = size_t(sysconf(_SC_PAGESIZE)), size = 5 * page + 77;
  const std::string all = pattern(size);
  write_bytes(folder / "file", all);
  const auto file = MappedFile::open(folder / "file");
  for (const size_t begin : {size_t(0), size_t(1), page - 1, page, page + 1, 3 * page + 5, size - 1, size}) {
    for (const size_t bytes : {size_t(0), size_t(1), page - 1, page, page + 1, 2 * page, size}) {
      const size_t most = std::min(bytes, size - begin);
      CHECK(read(*file, begin, most) == all.substr(begin, most));
    }
  }
}

TEST("mapped file: short and interrupted reads continue") {
  const TempFolder folder;
  const std::string all = pattern(10'000);
  write_bytes(folder / "file", all);
  const auto file = MappedFile::open(folder / "file");
  for (const size_t most : {size_t(1), size_t(7), size_t(4096), size_t(9'999)}) {
    const FaultyReads faults({.most_bytes = most, .interrupted = true});
    CHECK(read(*file, 3, 9'990) == all.substr(3, 9'990));
    CHECK(faults.calls() + 1 >= 2 * (9'990 / most));
  }
}

TEST("mapped file: a read that fails says which file and why") {
  const TempFolder folder;
  write_bytes(folder / "file", pattern(100));
  const auto file = MappedFile::open(folder / "file");
  const FaultyReads faults({.most_bytes = 40, .fails_at = 80, .error = EIO});
  CHECK_EQ(read(*file, 0, 80).size(), 80u);
  CHECK_THROWS(Code::kModelNotFound, str("cannot read ", folder / "file", ": Input/output error"), read(*file, 0, 100));
}

TEST("mapped file: a file that is shortened while it is read is an error; a replaced or removed one is still read") {
  const TempFolder folder;
  const std::string all = pattern(20'000);
  write_bytes(folder / "file", all);
  const auto file = MappedFile::open(folder / "file");
  write_bytes(folder / "other", std::string(20'000, 'x'));
  std::filesystem::rename(folder / "other", folder / "file");
  CHECK(read(*file, 0, all.size()) == all);
  std::filesystem::remove(folder / "file");
  CHECK(read(*file, 0, all.size()) == all);

  write_bytes(folder / "short", all);
  const auto shortened = MappedFile::open(folder / "short");
  std::filesystem::resize_file(folder / "short", 12'345);
  CHECK(read(*shortened, 0, 12'345) == all.substr(0, 12'345));
  for (const size_t begin : {size_t(0), size_t(12'000), size_t(12'345), size_t(19'000)}) {
    CHECK_THROWS(Code::kModelFormat,
                 str(folder / "short", " ends at byte ", std::max<size_t>(begin, 12'345),
                     "; it had 20000 bytes when it was opened"),
                 read(*shortened, begin, 20'000 - begin));
  }
}

TEST("thread pool: parallel_for throws a body's exception, and the pool keeps working") {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    CHECK_THROWS(Code::kModelFormat, "at 500", pool.parallel_for(1000, 10, [](int64_t begin, int64_t end, int) {
      if (begin <= 500 && 500 < end) throw Error(Code::kModelFormat, "at 500");
    }));
    std::atomic<int64_t> sum = 0;
    pool.parallel_for(1000, 10, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) sum += i;
    });
    CHECK_EQ(sum.load(), 499'500);
  }
}

TEST("tensor: bytes are read from the file, copied, or made") {
  const TempFolder folder;
  write_bytes(folder / "file", pattern(64));
  const auto file = MappedFile::open(folder / "file");
  const std::string own = pattern(16);
  HostTensor mapped, copied;
  mapped.data = file->data() + 8;
  mapped.mapping = file.get();
  copied.data = reinterpret_cast<const std::byte*>(own.data());
  char bytes[4];
  {
    const FaultyReads faults({});
    mapped.read(5, 4, bytes);
    CHECK_EQ(faults.calls(), 1u);
    CHECK_EQ(std::string(bytes, 4), pattern(64).substr(13, 4));
    copied.read(5, 4, bytes);
    CHECK_EQ(faults.calls(), 1u);
    CHECK_EQ(std::string(bytes, 4), own.substr(5, 4));
  }
}
