// The file of packed weights: the mapped contents are the written ones, and other files in its place are recognised.
#include "native/base/packed_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "native/checkpoint/packed_places.h"
#include "test/native/check.h"
#include "test/native/checkpoint_files.h"

namespace oss::test {
namespace {

constexpr uint64_t kKey = 42;
const std::vector<uint64_t> kSections = {3'000'001, 5, 4096, 0, 70'000};

const PackedFile::ForEach kInTurn = [](int64_t count, const std::function<void(int64_t)>& body) {
  for (int64_t i = 0; i < count; ++i) body(i);
};

std::vector<uint8_t> contents(size_t section) {
  std::vector<uint8_t> bytes(kSections[section]);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = uint8_t(i * 31 + (i >> 8) + section * 7);
  return bytes;
}

std::unique_ptr<PackedFile> map_or_make(const std::string& path, uint64_t key = kKey) {
  std::string reason;
  return PackedFile::map_or_make(path, key, kSections, reason, {});
}

void fill(PackedFile& file) {
  for (size_t s = 0; s < kSections.size(); ++s) {
    const std::vector<uint8_t> bytes = contents(s);
    for (size_t at = 0; at < bytes.size(); at += 100'000) {
      file.write(s, at, bytes.data() + at, std::min<size_t>(100'000, bytes.size() - at));
    }
    file.seal(s, kInTurn);
  }
}

std::string make(const TempFolder& folder) {
  const std::string path = folder / "sub/weights.packed";
  const auto file = map_or_make(path);
  fill(*file);
  file->finish();
  return path;
}

bool has_contents(const PackedFile& file) {
  for (size_t s = 0; s < kSections.size(); ++s) {
    const std::vector<uint8_t> bytes = contents(s);
    if (!bytes.empty() && std::memcmp(file.section(s), bytes.data(), bytes.size()) != 0) return false;
  }
  return true;
}

bool exists(const std::string& path) { return std::filesystem::exists(path); }

}  // namespace

TEST("packed file: the written weights are mapped, while the file is made and afterwards") {
  const TempFolder folder;
  const std::string path = folder / "sub/weights.packed";
  std::string reason;
  CHECK(PackedFile::map(path, kKey, kSections, reason) == nullptr);
  CHECK(reason.find("cannot open") != std::string::npos);
  {
    const auto file = map_or_make(path);
    CHECK(file != nullptr && !file->complete() && !exists(path));
    fill(*file);
    CHECK(has_contents(*file));
    file->finish();
    CHECK(file->complete() && exists(path) && !exists(path + ".partial"));
    CHECK(has_contents(*file));
  }
  const auto again = map_or_make(path);
  CHECK(again != nullptr && again->complete() && has_contents(*again));
  CHECK_EQ(reinterpret_cast<uintptr_t>(again->section(4)) % 4096, uintptr_t(0));
  CHECK_EQ(PackedFile::damage(path), std::string());
}

TEST("packed file: an unfinished file leaves nothing behind, and the leftover of a crash is replaced") {
  const TempFolder folder;
  const std::string path = folder / "weights.packed";
  fill(*map_or_make(path));
  CHECK(!exists(path) && !exists(path + ".partial"));
  write_bytes(path + ".partial", std::string(50'000'000, 'x'));
  const auto file = map_or_make(path);
  fill(*file);
  file->finish();
  CHECK_EQ(PackedFile::damage(path), std::string());
}

TEST("packed file: with other weights, another version, a damaged header or a cut it is made again") {
  const TempFolder folder;
  const std::string path = make(folder), whole = read_bytes(path);
  const auto refused = [&](uint64_t key, const std::vector<uint64_t>& sections) {
    std::string reason;
    const bool none = PackedFile::map(path, key, sections, reason) == nullptr;
    return none && !reason.empty();
  };
  CHECK(!refused(kKey, kSections));
  CHECK(refused(kKey + 1, kSections));
  CHECK(refused(kKey, {3'000'001, 5, 4097, 0, 70'000}));
  CHECK(refused(kKey, {3'000'001, 5, 4096, 0}));
  const size_t header = 8 + 3 * 8 + kSections.size() * 24 + 8;
  for (size_t at = 0; at < header; ++at) {
    std::string bytes = whole;
    bytes[at] = char(bytes[at] ^ 0x10);
    write_bytes(path, bytes);
    CHECK(refused(kKey, kSections));
    CHECK(!PackedFile::damage(path).empty());
  }
  for (const size_t length : {size_t(0), size_t(7), header - 1, size_t(4096), whole.size() - 1}) {
    write_bytes(path, whole.substr(0, length));
    CHECK(refused(kKey, kSections));
    CHECK(!PackedFile::damage(path).empty());
  }
  const auto made = map_or_make(path);
  CHECK(made != nullptr && !made->complete());
  fill(*made);
  made->finish();
  CHECK(read_bytes(path) == whole);
}

TEST("packed file: a flipped bit anywhere in the weights is found when the whole file is read") {
  const TempFolder folder;
  const std::string path = make(folder), whole = read_bytes(path);
  for (const size_t at : {size_t(4096), size_t(4096 + 1'048'576), size_t(4096 + 3'000'000), whole.size() - 4096}) {
    std::string bytes = whole;
    bytes[at] = char(bytes[at] ^ 1);
    write_bytes(path, bytes);
    CHECK(PackedFile::damage(path).find("are damaged") != std::string::npos);
    std::string reason;
    CHECK(PackedFile::map(path, kKey, kSections, reason) == nullptr);
    CHECK(reason.find("are damaged") != std::string::npos);
  }
  make(folder);  // it is a cache
  CHECK(read_bytes(path) == whole);
}

TEST("packed file: a write after it was mapped is detected") {
  const TempFolder folder;
  const std::string path = make(folder);
  const auto file = map_or_make(path);
  file->check();
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(5000).write("wrong", 5);
  CHECK_THROWS(Code::kModelFormat, path + " has been written to", file->check());
}

TEST("packed file: leftovers of killed writers are removed, files of running writers stay") {
  const TempFolder folder;
  const std::string path = make(folder), left = folder / "sub/others.packed.partial";
  write_bytes(left, "half");
  const auto another = map_or_make(folder / "sub/another.packed");
  PackedFile::remove_abandoned(path);
  CHECK(!exists(left) && exists(path) && exists(folder / "sub/another.packed.partial"));
  fill(*another);
  another->finish();
  PackedFile::remove_abandoned(folder / "nowhere/weights.packed");
}

TEST("packed file: a place that cannot hold it is reported without an exception") {
  const TempFolder folder;
  write_bytes(folder / "file", "x");
  std::string reason;
  CHECK(PackedFile::map_or_make(folder / "file/weights.packed", kKey, kSections, reason, {}) == nullptr);
  CHECK(reason.find("cannot make") != std::string::npos);
  const std::vector<uint64_t> huge = {uint64_t(1) << 60};
  CHECK(PackedFile::map_or_make(folder / "huge.packed", kKey, huge, reason, {}) == nullptr);
  CHECK(reason.find("bytes are needed, the disk has") != std::string::npos);
  std::filesystem::create_directories(folder / "folder.packed");
  CHECK(PackedFile::map_or_make(folder / "folder.packed", kKey, kSections, reason, {}) == nullptr);
  CHECK(reason.find("it is a folder") != std::string::npos);
  std::filesystem::create_directories(folder / "taken.packed.partial");
  CHECK(PackedFile::map_or_make(folder / "taken.packed", kKey, kSections, reason, {}) == nullptr);
  CHECK(reason.find("cannot make") != std::string::npos);
  CHECK(!exists(folder / "huge.packed.partial"));
}

TEST("packed file: of two writers the second waits and maps the first one's file, or gives up when it is cancelled") {
  const TempFolder folder;
  const std::string path = folder / "weights.packed";
  auto first = map_or_make(path);
  std::string reason;
  int asked = 0;
  CHECK_THROWS(Code::kCancelled, "cancelled",
               PackedFile::map_or_make(path, kKey, kSections, reason, [&] { return ++asked > 2; }));
  std::atomic<bool> mapped = false;
  std::thread second([&] {
    const auto file = map_or_make(path);
    mapped = file != nullptr && file->complete() && has_contents(*file);
  });
  fill(*first);
  first->finish();
  second.join();
  CHECK(mapped.load());
}

TEST("packed file: when the first writer gives up, the waiting one writes it") {
  const TempFolder folder;
  const std::string path = folder / "weights.packed";
  auto first = map_or_make(path);
  std::atomic<bool> made = false;
  std::thread second([&] {
    const auto file = map_or_make(path);
    if (file == nullptr || file->complete()) return;
    fill(*file);
    file->finish();
    made = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  first.reset();
  second.join();
  CHECK(made.load() && PackedFile::damage(path).empty());
}

TEST("packed places: beside the checkpoint, then the user's cache; a name for these weights alone") {
  const TempFolder folder;
  StoredModel model = read_golden_model("a");
  const std::string here = folder / "here", there = folder / "there";
  std::filesystem::create_directories(here);
  std::filesystem::create_directories(there);
  model.write(here);
  const auto opened = open_checkpoint(here);
  const std::vector<std::string> places = packed_places(*opened, "auto");
  CHECK(!places.empty() && places.front().starts_with(here + "/.gpt-oss-node/experts-"));
  CHECK(packed_places(*opened, "memory").empty());
  const std::vector<std::string> wanted = packed_places(*opened, folder / "mine");
  CHECK(wanted.size() == 1 && wanted.front().starts_with(folder / "mine/experts-"));
  CHECK(packed_places(*open_checkpoint("synthetic:tiny"), "auto").empty());

  const uint64_t before_moving = fingerprint(*opened);
  std::filesystem::rename(here + "/model.safetensors", there + "/model.safetensors");
  std::filesystem::copy_file(here + "/config.json", there + "/config.json");
  CHECK_EQ(fingerprint(*open_checkpoint(there)), before_moving);

  // Other weights of the same shapes, size and time.
  const auto written = std::filesystem::last_write_time(there + "/model.safetensors");
  std::string& bytes = model.tensors.back().bytes;
  bytes[bytes.size() / 2] = char(bytes[bytes.size() / 2] ^ 1);
  model.write(there);
  std::filesystem::last_write_time(there + "/model.safetensors", written);
  CHECK(fingerprint(*open_checkpoint(there)) != before_moving);
}

}  // namespace oss::test
