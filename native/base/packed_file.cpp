#include "native/base/packed_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "native/base/error.h"
#include "native/base/str.h"

namespace oss {
namespace {

constexpr char kMagic[8] = {'O', 'S', 'S', 'P', 'A', 'C', 'K', 1};
constexpr uint64_t kPage = 4096, kChunk = 1 << 20;
constexpr size_t kMostSections = 1 << 16;

struct Head {
  char magic[8];
  uint64_t sections, key, bytes;
};

// Takes space on the disk for the whole file, and makes it that long. Returns an errno, or 0.
int reserve(int file, off_t bytes) {
#if defined(__APPLE__)
  fstore_t space = {F_ALLOCATEALL, F_PEOFPOSMODE, 0, bytes, 0};
  // A file system that reserves nothing refuses with ENOTSUP.
  if (::fcntl(file, F_PREALLOCATE, &space) == -1 && errno != ENOTSUP) return errno;
  return ::ftruncate(file, bytes) == 0 ? 0 : errno;
#else
  return ::posix_fallocate(file, 0, bytes);
#endif
}

std::string why(const char* what, const std::string& path) {
  return str("cannot ", what, " ", path, ": ", std::strerror(errno));
}

// Four lanes of multiply and rotate over 64-bit words. It is as fast as memory, and any flipped bit changes the result.
uint64_t hash(const std::byte* data, size_t bytes, uint64_t seed) {
  constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u;
  uint64_t lanes[4] = {seed, seed ^ kOdd, ~seed, bytes};
  const auto add = [&](uint64_t& lane, uint64_t word) { lane = std::rotl((lane ^ word) * kOdd, 29); };
  size_t at = 0;
  for (; at + 32 <= bytes; at += 32) {
    uint64_t words[4];
    std::memcpy(words, data + at, 32);
    for (int i = 0; i < 4; ++i) add(lanes[i], words[i]);
  }
  for (; at < bytes; ++at) add(lanes[at % 4], uint64_t(data[at]));
  uint64_t all = 0;
  for (const uint64_t lane : lanes) all = (all ^ lane ^ (lane >> 32)) * kOdd;
  return all ^ (all >> 29);
}

uint64_t hash(const std::vector<std::byte>& data) { return hash(data.data(), data.size(), 1); }

bool write_all(int file, const void* data, size_t bytes, uint64_t offset) {
  const auto* from = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    const ssize_t written = ::pwrite(file, from, bytes, off_t(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    from += written;
    offset += uint64_t(written);
    bytes -= size_t(written);
  }
  return true;
}

bool read_all(int file, void* data, size_t bytes, uint64_t offset) {
  auto* to = static_cast<std::byte*>(data);
  while (bytes > 0) {
    const ssize_t got = ::pread(file, to, bytes, off_t(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    offset += uint64_t(got);
    bytes -= size_t(got);
  }
  return true;
}

}  // namespace

uint64_t PackedFile::lay_out(std::span<const uint64_t> section_bytes, std::vector<Section>& sections) {
  const auto padded = [](uint64_t at) { return (at + kPage - 1) / kPage * kPage; };
  uint64_t at = padded(sizeof(Head) + section_bytes.size() * sizeof(Section) + sizeof(uint64_t));
  for (const uint64_t bytes : section_bytes) {
    sections.push_back({at, bytes, 0});
    at = padded(at + bytes);
  }
  return at;
}

uint64_t PackedFile::checksum(const std::byte* data, uint64_t bytes, const ForEach& for_each) {
  std::vector<uint64_t> chunks(size_t((bytes + kChunk - 1) / kChunk));
  for_each(int64_t(chunks.size()), [&](int64_t i) {
    const uint64_t begin = uint64_t(i) * kChunk;
    chunks[size_t(i)] = hash(data + begin, size_t(std::min(kChunk, bytes - begin)), uint64_t(i));
  });
  return hash(reinterpret_cast<const std::byte*>(chunks.data()), chunks.size() * sizeof(uint64_t), bytes);
}

std::vector<std::byte> PackedFile::header(uint64_t key, uint64_t bytes, std::span<const Section> sections) {
  Head head = {.magic = {}, .sections = sections.size(), .key = key, .bytes = bytes};
  std::memcpy(head.magic, kMagic, sizeof kMagic);
  std::vector<std::byte> out(sizeof head + sections.size_bytes());
  std::memcpy(out.data(), &head, sizeof head);
  std::memcpy(out.data() + sizeof head, sections.data(), sections.size_bytes());
  const uint64_t sum = hash(out);
  out.resize(out.size() + sizeof sum);
  std::memcpy(out.data() + out.size() - sizeof sum, &sum, sizeof sum);
  return out;
}

void PackedFile::map_pages() { mapping_ = std::make_unique<Mapping>(path_, file_, bytes_); }

std::unique_ptr<PackedFile> PackedFile::map(const std::string& path, uint64_t key,
                                            std::span<const uint64_t> section_bytes, std::string& reason,
                                            const ForEach& for_each) {
  std::unique_ptr<PackedFile> file(new PackedFile);
  file->path_ = path;
  file->file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file->file_ < 0) return reason = why("open", path), nullptr;
  struct stat status{};
  if (::fstat(file->file_, &status) != 0 || !S_ISREG(status.st_mode))
    return reason = path + " is not a regular file", nullptr;
  file->key_ = key;
  file->bytes_ = lay_out(section_bytes, file->sections_);
  // The whole expected header is known, except for the checksums of the sections.
  std::vector<std::byte> expected = header(key, file->bytes_, file->sections_), found(expected.size());
  if (uint64_t(status.st_size) != file->bytes_ || !read_all(file->file_, found.data(), found.size(), 0)) {
    return reason = str(path, " has ", status.st_size, " bytes, expected ", file->bytes_), nullptr;
  }
  std::memcpy(file->sections_.data(), found.data() + sizeof(Head), section_bytes.size() * sizeof(Section));
  std::vector<Section> laid_out;
  lay_out(section_bytes, laid_out);
  const bool same = std::ranges::equal(file->sections_, laid_out, [](const Section& a, const Section& b) {
    return a.offset == b.offset && a.bytes == b.bytes;
  });
  if (!same || header(key, file->bytes_, file->sections_) != found) {
    return reason = str(path, " is of other weights, of another version, or damaged"), nullptr;
  }
  file->map_pages();
  file->version_.emplace(file->file_, path);
  // Each start checks other sections first, so that repeated starts find any damage.
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  std::vector<Section> sections = file->sections_;
  if (!sections.empty()) std::ranges::rotate(sections, sections.begin() + ptrdiff_t(uint64_t(now) % sections.size()));
  uint64_t bytes = 0;
  const auto enough =
      std::ranges::find_if(sections, [&](const Section& s) { return (bytes += s.bytes) > kCheckedAtStart; });
  sections.erase(enough, sections.end());
  if (std::string damage = file->damage_of(sections, for_each); !damage.empty())
    return reason = std::move(damage), nullptr;
  return file;
}

void PackedFile::in_turn(int64_t count, const std::function<void(int64_t)>& body) {
  for (int64_t i = 0; i < count; ++i) body(i);
}

void PackedFile::check() const {
  mapping_->check();
  if (version_) version_->check(file_, path_);
}

void PackedFile::remove_abandoned(const std::string& path) {
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(path).parent_path(), failed)) {
    if (!entry.path().filename().string().ends_with(".packed.partial")) continue;
    const int file = ::open(entry.path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) continue;
    // A process that has opened the file and waits for its lock will find that the file is gone.
    if (::flock(file, LOCK_EX | LOCK_NB) == 0) ::unlink(entry.path().c_str());
    ::close(file);
  }
}

std::unique_ptr<PackedFile> PackedFile::map_or_make(const std::string& path, uint64_t key,
                                                    std::span<const uint64_t> section_bytes, std::string& reason,
                                                    const std::function<bool()>& cancelled, const ForEach& for_each) {
  if (auto file = map(path, key, section_bytes, reason, for_each)) return file;
  std::error_code failed;
  // The finished file could not replace a folder.
  if (std::filesystem::is_directory(path, failed))
    return reason = str("cannot make ", path, ": it is a folder"), nullptr;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), failed);
  std::unique_ptr<PackedFile> file(new PackedFile);
  file->path_ = path;
  file->key_ = key;
  const std::string partial = path + ".partial";
  for (;;) {
    file->file_ = ::open(partial.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
    if (file->file_ < 0) return reason = why("make", partial), nullptr;
    while (::flock(file->file_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) return reason = why("lock", partial), nullptr;
      if (cancelled && cancelled()) throw Error(Code::kCancelled, "loading was cancelled");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    // The previous holder of the lock may have finished the file, or removed the one opened here.
    if (auto made = map(path, key, section_bytes, reason, for_each)) return made;
    struct stat opened{}, named{};
    if (::fstat(file->file_, &opened) == 0 && ::stat(partial.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
        opened.st_dev == named.st_dev) {
      break;
    }
    ::close(file->file_);
  }
  file->partial_ = partial;
  file->bytes_ = lay_out(section_bytes, file->sections_);
  const auto refused = [&](const char* what, int error) {
    errno = error;
    reason = why(what, partial);
    return nullptr;
  };
  if (::ftruncate(file->file_, 0) != 0) return refused("empty", errno);
  struct statvfs disk{};
  const uint64_t needed = file->bytes_ + file->bytes_ / 10;  // leaves free space for other programs
  if (::fstatvfs(file->file_, &disk) == 0 && uint64_t(disk.f_bavail) * disk.f_frsize < needed) {
    return reason = str("cannot make ", partial, ": ", needed, " bytes are needed, the disk has ",
                        uint64_t(disk.f_bavail) * disk.f_frsize, " free"),
           nullptr;
  }
  // Reserve all the space now, so that the disk does not fill up in the middle.
  if (const int error = reserve(file->file_, off_t(file->bytes_)); error != 0) {
    return refused(str("reserve ", file->bytes_, " bytes for").c_str(), error);
  }
  file->map_pages();
  return file;
}

std::string PackedFile::damage(const std::string& path) {
  PackedFile file;
  file.path_ = path;
  file.file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status{};
  if (file.file_ < 0 || ::fstat(file.file_, &status) != 0) return why("open", path);
  Head head{};
  if (!S_ISREG(status.st_mode) || !read_all(file.file_, &head, sizeof head, 0) ||
      std::memcmp(head.magic, kMagic, sizeof kMagic) != 0 || head.sections > kMostSections ||
      head.bytes != uint64_t(status.st_size)) {
    return path + ": no file of packed weights, of another version, or cut off";
  }
  file.sections_.resize(size_t(head.sections));
  std::vector<std::byte> found(sizeof head + head.sections * sizeof(Section) + sizeof(uint64_t));
  if (!read_all(file.file_, found.data(), found.size(), 0)) return why("read", path);
  std::memcpy(file.sections_.data(), found.data() + sizeof head, size_t(head.sections) * sizeof(Section));
  if (header(head.key, head.bytes, file.sections_) != found) return path + ": its header is damaged";
  file.bytes_ = head.bytes;
  file.map_pages();
  return file.damage_of(file.sections_, in_turn);
}

std::string PackedFile::damage_of(std::span<const Section> sections, const ForEach& for_each) const {
  for (const Section& section : sections) {
    const bool inside = section.offset <= bytes_ && section.bytes <= bytes_ - section.offset;
    if (!inside || checksum(mapping_->data() + section.offset, section.bytes, for_each) != section.checksum) {
      return str(path_, ": the ", section.bytes, " bytes from ", section.offset, " on are damaged");
    }
  }
  return "";
}

PackedFile::~PackedFile() {
  if (!partial_.empty()) ::unlink(partial_.c_str());
  if (file_ >= 0) ::close(file_);
}

const std::byte* PackedFile::section(size_t index) const { return mapping_->data() + sections_.at(index).offset; }

void PackedFile::write(size_t index, uint64_t offset, const void* data, size_t bytes) {
  if (!write_all(file_, data, bytes, sections_.at(index).offset + offset)) {
    throw Error(Code::kOutOfMemory, why("write", partial_) + "; packedWeights: \"memory\" needs no file");
  }
}

void PackedFile::seal(size_t index, const ForEach& for_each) {
  Section& section = sections_.at(index);
  section.checksum = checksum(mapping_->data() + section.offset, section.bytes, for_each);
#if defined(__linux__)
  // The disk starts to write now, while the next section is packed.
  ::sync_file_range(file_, off64_t(section.offset), off64_t(section.bytes), SYNC_FILE_RANGE_WRITE);
#endif
}

void PackedFile::finish() {
  const std::vector<std::byte> head = header(key_, bytes_, sections_);
  if (!write_all(file_, head.data(), head.size(), 0) || ::fsync(file_) != 0 ||
      ::rename(partial_.c_str(), path_.c_str()) != 0) {
    throw Error(Code::kOutOfMemory, why("finish", partial_) + "; packedWeights: \"memory\" needs no file");
  }
  partial_.clear();
  ::flock(file_, LOCK_UN);
  version_.emplace(file_, path_);
}

}  // namespace oss
