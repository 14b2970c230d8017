#include "native/tokenizer/tokenizer.h"

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/tokenizer/bpe.h"
#include "native/tokenizer/pretokenize.h"

namespace oss::tokenizer {
namespace {

template <typename Emit>
void encode_ordinary(std::string_view text, const Emit& emit) {
  const Vocabulary& vocabulary = Vocabulary::get();
  const uint8_t* p = reinterpret_cast<const uint8_t*>(text.data());
  const uint8_t* end = p + text.size();
  while (p < end) {
    const uint8_t* next = piece_end(p, end);
    encode_piece(vocabulary, {p, next}, emit);
    p = next;
  }
}

}  // namespace

std::vector<uint32_t> encode(std::string_view text, const SpecialSet& allowed) {
  std::vector<uint32_t> ids;
  const auto append = [&](uint32_t id) { ids.push_back(id); };
  if (allowed.none()) {
    encode_ordinary(text, append);
    return ids;
  }
  for (size_t at = 0; at < text.size();) {
    const SpecialMatch special = find_special(text, at, allowed);
    encode_ordinary(text.substr(at, special.begin - at), append);
    if (special.begin != special.end) ids.push_back(special.id);
    at = special.end;
  }
  return ids;
}

size_t count(std::string_view text) {
  size_t tokens = 0;
  encode_ordinary(text, [&](uint32_t) { ++tokens; });
  return tokens;
}

std::string decode(std::span<const uint32_t> ids) {
  const Vocabulary& vocabulary = Vocabulary::get();
  std::string out;
  for (size_t i = 0; i < ids.size(); ++i) {
    const uint32_t id = ids[i];  // read once: JavaScript may share the array with another thread
    if (id < vocabulary.size()) {
      const Bytes bytes = vocabulary.bytes(id);
      out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    } else if (id <= kLastSpecial) {
      out += special_text(id);
    } else {
      throw Error(Code::kInvalidArgument, str("token id ", id, " at index ", i,
                                              " is not one of o200k_harmony, whose ids end at ", kLastSpecial));
    }
  }
  return out;
}

}  // namespace oss::tokenizer
