// Files that become shorter while they are mapped.
#include "native/base/mapping.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "native/base/mapped_file.h"
#include "test/native/checkpoint_files.h"
#include "test/native/engine_harness.h"

namespace oss::test {
namespace {

size_t page_bytes() { return size_t(sysconf(_SC_PAGESIZE)); }

uint64_t sum_of(const MappedFile& file, size_t begin, size_t end) {
  uint64_t sum = 0;
  for (size_t i = begin; i < end; ++i) sum += uint64_t(file.data()[i]);
  return sum;
}

// The only file of weights in a folder, made writable.
std::string weights_of(const std::string& folder) {
  std::string weights;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") weights = entry.path().string();
  }
  std::filesystem::permissions(weights, std::filesystem::perms::owner_all);
  return weights;
}

}  // namespace

TEST("mapping: a cut part reads as zeros and is reported; other files are unchanged") {
  const TempFolder folder;
  const size_t page = page_bytes(), size = 9 * page + 100;
  write_bytes(folder / "file", std::string(size, 'a'));
  write_bytes(folder / "other", std::string(size, 'b'));
  const auto file = MappedFile::open(folder / "file"), again = MappedFile::open(folder / "file"),
             other = MappedFile::open(folder / "other");
  std::filesystem::resize_file(folder / "file", 3 * page);
  file->check();  // not detected yet
  CHECK_EQ(sum_of(*file, 0, 3 * page), 3 * page * 'a');
  file->check();
  CHECK_EQ(sum_of(*file, 5 * page, 6 * page), 0u);
  CHECK_THROWS(Code::kModelFormat, str("pages of ", folder / "file", " have gone"), file->check());
  CHECK_EQ(sum_of(*file, 0, size), 3 * page * 'a');  // the pages before and after the touched one
  again->check();
  CHECK_EQ(sum_of(*again, 0, size), 3 * page * 'a');
  CHECK_THROWS(Code::kModelFormat, str("; it had ", size, " bytes when it was opened"), again->check());
  CHECK_EQ(sum_of(*other, 0, size), size * 'b');
  other->check();
}

TEST("mapping: many threads read a cut part; a reused address starts without the failure") {
  const TempFolder folder;
  const size_t page = page_bytes(), pages = 256;
  for (int round = 0; round < 3; ++round) {
    write_bytes(folder / "file", std::string(pages * page, 'a'));
    const auto file = MappedFile::open(folder / "file");
    file->check();
    std::filesystem::resize_file(folder / "file", page);
    std::vector<std::thread> threads;
    std::atomic<uint64_t> sum = 0;
    for (size_t t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (size_t i = t; i < pages; i += 8) sum += sum_of(*file, (pages - 1 - i) * page, (pages - i) * page);
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK_EQ(sum.load(), page * 'a');
    CHECK_THROWS(Code::kModelFormat, "have gone", file->check());
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they report it themselves
TEST("mapping: a bus error outside of our mappings ends the process, as without our handler") {
  const TempFolder folder;
  write_bytes(folder / "file", "abc");
  write_bytes(folder / "theirs", "abc");
  const auto ours = MappedFile::open(folder / "file");
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_core{};
    setrlimit(RLIMIT_CORE, &no_core);
    const int file = ::open((folder / "theirs").c_str(), O_RDONLY);
    const auto* data = static_cast<const volatile char*>(::mmap(nullptr, 3, PROT_READ, MAP_SHARED, file, 0));
    std::filesystem::resize_file(folder / "theirs", 0);
    _exit(data[0] == 'a' ? 1 : 2);
  }
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}
#endif

TEST("mapping: a file that is written while it is loaded is an error, whatever its new size") {
  const TempFolder folder;
  const std::string model = folder / "model";
  std::filesystem::copy(path_of("a"), model);
  const std::string weights = weights_of(model);
  const auto load_and = [&](const std::function<void()>& meanwhile) {
    Engine(
        model, small_options(),
        [&](const LoadProgress& progress) {
          if (std::string(progress.phase) == "pack") meanwhile();
        },
        [] { return false; });
  };
  load_and([] {});
  const auto later = std::filesystem::last_write_time(weights) + std::chrono::seconds(1);
  CHECK_THROWS(Code::kModelFormat, weights + " has been written to while it was in use",
               load_and([&] { std::filesystem::last_write_time(weights, later); }));
  load_and([] {});
  CHECK_THROWS(Code::kModelFormat, weights + " has been written to while it was in use",
               load_and([&] { std::ofstream(weights, std::ios::app) << "more"; }));
}

TEST("mapping: an engine whose checkpoint is shortened ends with an error, and the process continues") {
  const TempFolder folder;
  const std::string model = folder / "model";
  std::filesystem::copy(path_of("a"), model);
  const std::string weights = weights_of(model);
  Harness harness(small_options(), model.c_str());
  harness.submit(request(1, {1, 2, 3}, 4));
  harness.wait_for_ends(1);
  CHECK(!harness.outcomes[1].failed);
  std::filesystem::resize_file(weights, 8192);
  harness.submit(request(2, {4, 5, 6}, 4));
  harness.wait_for_ends(2);
  CHECK(harness.outcomes[2].failed && harness.outcomes[2].code == Code::kModelFormat);
  CHECK(harness.outcomes[2].message.find(str("pages of ", weights, " have gone")) != std::string::npos);
  CHECK_EQ(harness.outcomes[2].tokens.size(), 0u);  // no result of zeros is reported
}

TEST("mapping: an engine whose checkpoint is overwritten ends with an error before it reports a wrong token") {
  const TempFolder folder;
  const std::string model = folder / "model";
  std::filesystem::copy(path_of("a"), model);
  const std::string weights = weights_of(model), bytes = read_bytes(weights);
  const auto say = [](Harness& harness, uint64_t id) {
    harness.submit(request(id, {1, 2, 3}, 4));
    harness.wait_for_ends(int(id));
    return harness.outcomes[id];
  };
  {
    // Another file of the same name is not mapped by us.
    Harness harness(small_options(), model.c_str());
    const std::vector<int32_t> tokens = say(harness, 1).tokens;
    write_bytes(weights + ".new", std::string(bytes.size(), 'x'));
    std::filesystem::rename(weights + ".new", weights);
    CHECK(say(harness, 2).tokens == tokens);
  }
  write_bytes(weights, bytes);
  Harness harness(small_options(), model.c_str());
  CHECK(!say(harness, 1).failed);
  std::fstream(weights, std::ios::in | std::ios::out | std::ios::binary)
      .seekp(int64_t(bytes.size()) - 5000)
      .write("wrong", 5);
  const Outcome outcome = say(harness, 2);
  CHECK(outcome.failed && outcome.code == Code::kModelFormat && outcome.tokens.empty());
  CHECK(outcome.message.find(weights + " has been written to while it was in use") != std::string::npos);
  CHECK_THROWS(Code::kClosed, "has been written to", harness.submit(request(3, {1}, 1)));
}

}  // namespace oss::test
