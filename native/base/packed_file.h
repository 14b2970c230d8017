// A file that holds a backend's packed weights, which later starts map. It is a cache: a file with any fault is made
// again.
//
//   bytes 0 ..   "OSSPACK", the version of this format, the number of sections, the key of the packed weights and the size
//                of the file; for each section its offset, size and checksum; last a checksum of all this
//   sections     each at a multiple of 4096
//
// It is written under a lock, as NAME.partial, and renamed when it is complete and on the disk. So a reader never sees
// an incomplete file, and two processes never write the same one. After a crash, the next writer takes over the
// .partial file, or a later start removes it. A start checks only as many sections as take little time
// (kCheckedAtStart), and different ones each time. `gpt-oss inspect` checks all.
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

  // Bytes whose checksums a start compares: the whole file for the 20b and smaller models, a part of larger files.
  static constexpr uint64_t kCheckedAtStart = uint64_t(12) << 30;
  static void in_turn(int64_t count, const std::function<void(int64_t)>& body);

  // The complete file for `key` with sections of these sizes. Null when it is absent, belongs to another key, or a
  // checked part is damaged; `reason` then holds the cause.
  static std::unique_ptr<PackedFile> map(const std::string& path, uint64_t key, std::span<const uint64_t> section_bytes,
                                         std::string& reason, const ForEach& for_each = in_turn);
  // The same file, or a new one to fill, whose disk space is reserved. Makes the folder. Waits while another process
  // fills the file. Null when the file cannot be made. Throws kCancelled.
  static std::unique_ptr<PackedFile> map_or_make(const std::string& path, uint64_t key,
                                                 std::span<const uint64_t> section_bytes, std::string& reason,
                                                 const std::function<bool()>& cancelled,
                                                 const ForEach& for_each = in_turn);
  // Removes the .partial files that killed processes left beside it.
  static void remove_abandoned(const std::string& path);
  // Reads the whole file. Returns an empty text when it is undamaged, else the fault.
  static std::string damage(const std::string& path);

  ~PackedFile();  // removes an unfinished file
  PackedFile(const PackedFile&) = delete;
  PackedFile& operator=(const PackedFile&) = delete;

  const std::string& path() const { return path_; }
  bool complete() const { return partial_.empty(); }
  uint64_t bytes() const { return bytes_; }
  const std::byte* section(size_t index) const;  // valid as long as this object
  void check() const;  // throws kModelFormat when the file was written to or shortened since it was mapped

  // For files that are not complete. write: any thread; throws kOutOfMemory when the disk refuses.
  void write(size_t index, uint64_t offset, const void* data, size_t bytes);
  void seal(size_t index, const ForEach& for_each);  // after all its bytes are written
  void finish();                                     // after all sections are sealed

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

  std::string path_, partial_;  // partial_: its path until finish()
  uint64_t key_ = 0, bytes_ = 0;
  std::vector<Section> sections_;
  int file_ = -1;                       // locked until finish()
  std::optional<FileVersion> version_;  // once it is complete
  std::unique_ptr<const Mapping> mapping_;
};

}  // namespace oss
