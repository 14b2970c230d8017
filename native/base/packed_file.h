// A file of a backend's own: weights once packed, mapped from then on. It is a cache, so whatever is wrong with it, it is
// made again.
//
//   bytes 0 ..   "OSSPACK" and the version of this format, then the number of sections, the key of what was packed and the
//                size of the whole; for each section its offset, size and checksum; last a checksum of all this
//   sections     each at a multiple of 4096
//
// It is written beside its name, with ".partial", under a lock, and gets its name when it is complete and on the disk: a
// reader never sees half of one, and two processes never write one. Who crashes leaves a .partial that the next one takes
// over, or that a later start removes. A start checks as many sections as take little time
// (kCheckedAtStart), each time others; `gpt-oss inspect` checks all.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "native/base/file_version.h"
#include "native/base/mapping.h"

namespace oss {

class PackedFile {
 public:
  // Calls body(0 .. count - 1), on any threads.
  using ForEach = std::function<void(int64_t count, const std::function<void(int64_t)>& body)>;

  // Bytes of which a start compares the checksums: all of the 20b's and less, a part of larger files.
  static constexpr uint64_t kCheckedAtStart = uint64_t(12) << 30;
  static void in_turn(int64_t count, const std::function<void(int64_t)>& body);

  // The complete file for `key` with sections of these sizes. Null when it is not there, not that one, or damaged where it
  // was looked at: `reason` says why.
  static std::unique_ptr<PackedFile> map(const std::string& path, uint64_t key, std::span<const uint64_t> section_bytes,
                                         std::string& reason, const ForEach& for_each = in_turn);
  // The same, or a new one to be filled, with its room on the disk. Makes the folder; waits while another process fills it.
  // Null when it cannot be. Throws kCancelled.
  static std::unique_ptr<PackedFile> map_or_make(const std::string& path, uint64_t key,
                                                 std::span<const uint64_t> section_bytes, std::string& reason,
                                                 const std::function<bool()>& cancelled,
                                                 const ForEach& for_each = in_turn);
  // Removes what processes that were killed left beside it: files that nobody makes any more.
  static void remove_abandoned(const std::string& path);
  // Reads all of it. Empty when it is whole, else what is wrong.
  static std::string damage(const std::string& path);

  ~PackedFile();  // what is not finished is removed
  PackedFile(const PackedFile&) = delete;
  PackedFile& operator=(const PackedFile&) = delete;

  const std::string& path() const { return path_; }
  bool complete() const { return partial_.empty(); }
  uint64_t bytes() const { return bytes_; }
  const std::byte* section(size_t index) const;  // valid as long as this
  void check() const;  // throws kModelFormat when it was written to, or shortened, since it was mapped

  // Until it is complete. write: any thread; throws kOutOfMemory when the disk refuses.
  void write(size_t index, uint64_t offset, const void* data, size_t bytes);
  void seal(size_t index, const ForEach& for_each);  // all of it has been written
  void finish();                                     // all are sealed

 private:
  struct Section {
    uint64_t offset, bytes, checksum;
  };

  PackedFile() = default;
  static uint64_t lay_out(std::span<const uint64_t> section_bytes, std::vector<Section>& sections);
  std::string damage_of(std::span<const Section> sections, const ForEach& for_each) const;
  static uint64_t checksum(const std::byte* data, uint64_t bytes, const ForEach& for_each);
  static std::vector<std::byte> header(uint64_t key, uint64_t bytes, std::span<const Section> sections);
  void map_pages();

  std::string path_, partial_;  // partial_: where it is until finish()
  uint64_t key_ = 0, bytes_ = 0;
  std::vector<Section> sections_;
  int file_ = -1;                       // locked until finish()
  std::optional<FileVersion> version_;  // once it is complete
  std::unique_ptr<const Mapping> mapping_;
};

}  // namespace oss
