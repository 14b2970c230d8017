// The 199,998 byte strings of o200k_base, found by id or by content. The data is embedded in the library
// (vocabulary_data.S). The hash table over it is built on first use.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace oss::tokenizer {

using Bytes = std::span<const uint8_t>;

class Vocabulary {
 public:
  static constexpr uint32_t kNone = ~0u;

  // The vocabulary of this process, shared by all threads; the first call builds it.
  static const Vocabulary& get();

  uint32_t size() const { return uint32_t(offsets_.size()) - 1; }
  size_t longest() const { return longest_; }
  // A lower bound on the number of tokens of these bytes. A token with some byte is at most as long as the longest such
  // token, so each byte counts as 1 / that length. Rounding loses less than one token. The order of bytes is irrelevant.
  size_t least_tokens(Bytes bytes) const;
  Bytes bytes(uint32_t id) const { return {blob_ + offsets_[id], offsets_[id + 1] - offsets_[id]}; }

  // The id of these bytes, which is also their rank as a merge; kNone when they are not a token.
  uint32_t find(const uint8_t* bytes, size_t size) const {
    return size > longest_ ? kNone : find(bytes, size, hash(bytes, size));
  }
  // The same, with their hash.
  uint32_t find(const uint8_t* bytes, size_t size, uint64_t h) const {
    for (size_t at = h & mask_;; at = (at + 1) & mask_) {
      const uint32_t slot = slots_[at];
      if (slot == kNone) return kNone;
      if (slot >> kIdBits == h >> kTagShift && equals(slot & kIdMask, bytes, size)) return slot & kIdMask;
    }
  }

  uint32_t find_pair(uint8_t first, uint8_t second) const { return pairs_[first << 8 | second]; }

  // hash and `equal` need at least one byte. They read whole words; the last word overlaps the one before, which is
  // faster than single bytes.
  static uint64_t hash(const uint8_t* bytes, size_t size) {
    if (size < 4) return mix(size << 24 | uint64_t(bytes[0]) << 16 | uint64_t(bytes[size / 2]) << 8 | bytes[size - 1]);
    if (size < 8) return mix(size ^ load<uint32_t>(bytes) << 32 ^ load<uint32_t>(bytes + size - 4));
    uint64_t h = size;
    for (size_t at = 0; at + 8 < size; at += 8) h = mix(h ^ load<uint64_t>(bytes + at));
    return mix(h ^ load<uint64_t>(bytes + size - 8));
  }

  static bool equal(const uint8_t* a, const uint8_t* b, size_t size) {
    if (size >= 8) {
      for (size_t at = 0; at + 8 < size; at += 8) {
        if (load<uint64_t>(a + at) != load<uint64_t>(b + at)) return false;
      }
      return load<uint64_t>(a + size - 8) == load<uint64_t>(b + size - 8);
    }
    if (size >= 4) {
      return load<uint32_t>(a) == load<uint32_t>(b) && load<uint32_t>(a + size - 4) == load<uint32_t>(b + size - 4);
    }
    return a[0] == b[0] && a[size / 2] == b[size / 2] && a[size - 1] == b[size - 1];
  }

 private:
  // A slot is an id with the upper bits of the hash above it. These bits reject nearly every other string without a
  // comparison of its bytes. With four bytes per slot the table is 2 MB and fits the second-level cache.
  static constexpr int kIdBits = 18, kTagShift = 64 - (32 - kIdBits);
  static constexpr uint32_t kIdMask = (1u << kIdBits) - 1;

  Vocabulary();

  template <typename Word>
  static uint64_t load(const uint8_t* bytes) {
    Word word;
    std::memcpy(&word, bytes, sizeof word);
    return word;
  }

  bool equals(uint32_t id, const uint8_t* bytes, size_t size) const {
    const Bytes token = this->bytes(id);
    return token.size() == size && equal(token.data(), bytes, size);
  }

  static uint64_t mix(uint64_t h) {
    h *= 0x9E3779B97F4A7C15u;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return h ^ h >> 32;
  }

  const uint8_t* blob_;            // the concatenated tokens
  std::vector<uint32_t> offsets_;  // [tokens + 1] into blob_
  size_t longest_ = 0;
  std::array<uint8_t, 256> longest_with_{};  // the length of the longest token with a byte; 0: there is none
  std::vector<uint32_t> slots_;              // open addressing; a power of two, at most 40 % full
  size_t mask_;
  std::vector<uint32_t> pairs_;  // [256 * 256] find() of every two bytes: the first step of every merge
};

}  // namespace oss::tokenizer
