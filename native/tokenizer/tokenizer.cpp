#include "native/tokenizer/tokenizer.h"

#include <algorithm>
#include <cstdint>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/tokenizer/bpe.h"
#include "native/tokenizer/pretokenize.h"

namespace oss::tokenizer {
namespace {

// Shorter pieces encode so fast that a bound on their tokens is not needed.
constexpr size_t kLongPiece = 4096;

// Calls emit(id) for a piece of one token and emit(ids) for a piece of several. Before each piece it checks that there
// is room for the tokens that the piece must have. If not, it stops and returns false.
template <typename Emit>
bool encode_ordinary(std::string_view text, const std::atomic<bool>* cancelled, Emit& emit) {
  const Vocabulary& vocabulary = Vocabulary::get();
  PieceEncoder& encoder = PieceEncoder::of_this_thread();
  const uint8_t* p = reinterpret_cast<const uint8_t*>(text.data());
  const uint8_t* end = p + text.size();
  while (p < end) {
    check_cancelled(cancelled);
    const Bytes piece(p, piece_end(p, end));
    if (!emit.has_room(piece.size() < kLongPiece ? 1 : vocabulary.least_tokens(piece))) return false;
    const uint64_t hash = piece.size() <= vocabulary.longest() ? Vocabulary::hash(piece.data(), piece.size()) : 0;
    const uint32_t whole = vocabulary.find(piece.data(), piece.size(), hash);
    if (whole != Vocabulary::kNone) {
      emit(whole);
    } else {
      emit(encoder.encode(piece, hash, cancelled));
    }
    p += piece.size();
  }
  return true;
}

template <typename Emit>
bool encode_text(std::string_view text, const SpecialSet& allowed, const std::atomic<bool>* cancelled, Emit& emit) {
  if (allowed.none()) return encode_ordinary(text, cancelled, emit);
  for (size_t at = 0; at < text.size();) {
    const SpecialMatch special = find_special(text, at, allowed);
    if (!encode_ordinary(text.substr(at, special.begin - at), cancelled, emit)) return false;
    if (special.begin != special.end) emit(special.id);
    at = special.end;
  }
  return true;
}

struct Append {
  const size_t most;
  std::vector<uint32_t> ids;
  bool has_room(size_t tokens) const { return tokens <= most - std::min(most, ids.size()); }
  void operator()(uint32_t id) { ids.push_back(id); }
  void operator()(std::span<const uint32_t> some) { ids.insert(ids.end(), some.begin(), some.end()); }
};

}  // namespace

std::vector<uint32_t> encode(std::string_view text, const SpecialSet& allowed, const std::atomic<bool>* cancelled) {
  Append append{SIZE_MAX, {}};
  encode_text(text, allowed, cancelled, append);
  return std::move(append.ids);
}

std::optional<std::vector<uint32_t>> encode_within(std::string_view text, size_t most, const SpecialSet& allowed,
                                                   const std::atomic<bool>* cancelled) {
  Append append{most, {}};
  if (!encode_text(text, allowed, cancelled, append) || append.ids.size() > most) return std::nullopt;
  return std::move(append.ids);
}

size_t encode_into(std::span<uint32_t> target, std::string_view text, const SpecialSet& allowed) {
  struct {
    std::span<uint32_t> target;
    size_t tokens = 0;
    bool has_room(size_t) const { return true; }
    void operator()(uint32_t id) {
      if (tokens < target.size()) target[tokens] = id;
      ++tokens;
    }
    void operator()(std::span<const uint32_t> some) {
      for (const uint32_t id : some) operator()(id);
    }
  } fill{target};
  encode_text(text, allowed, nullptr, fill);
  return fill.tokens;
}

size_t count(std::string_view text) {
  struct {
    size_t tokens = 0;
    bool has_room(size_t) const { return true; }
    void operator()(uint32_t) { ++tokens; }
    void operator()(std::span<const uint32_t> some) { tokens += some.size(); }
  } sum;
  encode_text(text, {}, nullptr, sum);
  return sum.tokens;
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
      throw Error(
          Code::kInvalidArgument,
          str("token id ", id, " at index ", i, " is not one of o200k_harmony, whose ids end at ", kLastSpecial),
          str("ids[", i, "]"));
    }
  }
  return out;
}

}  // namespace oss::tokenizer
