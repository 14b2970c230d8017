#include "native/tokenizer/vocabulary.h"

#include <algorithm>

#include "native/base/error.h"
#include "native/base/str.h"

extern "C" {
extern const uint8_t oss_vocabulary_begin[];
extern const uint8_t oss_vocabulary_end[];
}

namespace oss::tokenizer {

const Vocabulary& Vocabulary::get() {
  static const Vocabulary& vocabulary =
      *new Vocabulary;  // never destroyed: engine threads may outlive the exit of main()
  return vocabulary;
}

// pack-vocabulary.mjs describes the layout.
Vocabulary::Vocabulary() {
  constexpr char kMagic[] = "OSSRANK1";
  constexpr size_t kHeader = 16;
  const uint8_t* data = oss_vocabulary_begin;
  const size_t available = size_t(oss_vocabulary_end - oss_vocabulary_begin);
  const size_t tokens = load<uint32_t>(data + 8), bytes = load<uint32_t>(data + 12);
  if (std::memcmp(data, kMagic, 8) != 0 || available != kHeader + tokens + bytes) {
    throw Error(Code::kInternal,
                str("the embedded vocabulary is damaged: ", available, " bytes for ", tokens, " tokens"));
  }

  const uint8_t* lengths = data + kHeader;
  blob_ = lengths + tokens;
  offsets_.reserve(tokens + 1);
  offsets_.push_back(0);
  for (size_t id = 0; id < tokens; ++id) {
    offsets_.push_back(offsets_.back() + lengths[id]);
    longest_ = std::max<size_t>(longest_, lengths[id]);
    for (const uint8_t byte : this->bytes(uint32_t(id)))
      longest_with_[byte] = std::max(longest_with_[byte], lengths[id]);
  }

  size_t capacity = 1;
  while (capacity * 2 < tokens * 5) capacity *= 2;
  mask_ = capacity - 1;
  slots_.assign(capacity, kNone);
  for (uint32_t id = 0; id < tokens; ++id) {
    const uint64_t h = hash(blob_ + offsets_[id], lengths[id]);
    size_t at = h & mask_;
    while (slots_[at] != kNone) at = (at + 1) & mask_;
    slots_[at] = uint32_t(h >> kTagShift) << kIdBits | id;
  }

  pairs_.resize(256 * 256);
  for (uint32_t pair = 0; pair < pairs_.size(); ++pair) {
    const uint8_t two[] = {uint8_t(pair >> 8), uint8_t(pair)};
    pairs_[pair] = find(two, 2);
  }
}

size_t Vocabulary::least_tokens(Bytes bytes) const {
  std::array<size_t, 256> count{};
  for (const uint8_t byte : bytes) ++count[byte];
  double tokens = 0;
  for (size_t byte = 0; byte < count.size(); ++byte) {
    if (count[byte] > 0) tokens += double(count[byte]) / std::max<uint8_t>(longest_with_[byte], 1);
  }
  return size_t(tokens);  // rounded down, so that rounding errors cannot raise it above the true minimum
}

}  // namespace oss::tokenizer
