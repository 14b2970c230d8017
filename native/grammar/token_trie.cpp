#include "native/grammar/token_trie.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <span>
#include <string_view>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/base/thread.h"
#include "native/base/utf8.h"
#include "native/tokenizer/special_tokens.h"
#include "native/tokenizer/vocabulary.h"

namespace oss::grammar {
namespace {

std::string_view bytes_of(int32_t token) {
  const tokenizer::Bytes bytes = tokenizer::Vocabulary::get().bytes(uint32_t(token));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The number of characters, if none of them needs an escape in a JSON string; else 0.
uint32_t plain_characters(std::string_view text) {
  uint32_t count = 0;
  while (!text.empty()) {
    const Utf8 next = utf8_begin(text);
    if (next.kind != Utf8::kWhole || uint8_t(text[0]) < 0x20 || text[0] == '"' || text[0] == '\\') return 0;
    text.remove_prefix(next.length);
    ++count;
  }
  return count;
}

// Sorted by bytes. The first eight bytes are almost always enough.
std::vector<int32_t> sorted_tokens(int32_t count) {
  struct Entry {
    uint64_t prefix;
    int32_t token;
  };
  std::vector<Entry> entries;
  entries.reserve(size_t(count));
  for (int32_t token = 0; token < count; ++token) {
    const std::string_view bytes = bytes_of(token);
    uint64_t prefix = 0;
    for (size_t i = 0; i < 8; ++i) prefix = prefix << 8 | (i < bytes.size() ? uint8_t(bytes[i]) : 0);
    entries.push_back({prefix, token});
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.prefix != b.prefix ? a.prefix < b.prefix : bytes_of(a.token) < bytes_of(b.token);
  });
  std::vector<int32_t> out;
  out.reserve(entries.size());
  for (const Entry& entry : entries) out.push_back(entry.token);
  return out;
}

std::vector<TokenTrie::Node> build(std::span<const int32_t> sorted) {
  std::vector<TokenTrie::Node> nodes;
  std::vector<uint32_t> open;  // nodes on the way to the last token
  std::string_view last;
  const auto close_to = [&](size_t depth) {
    for (; open.size() > depth; open.pop_back()) nodes[open.back()].end = uint32_t(nodes.size());
  };
  for (const int32_t token : sorted) {
    const std::string_view bytes = bytes_of(token);
    const size_t common =
        size_t(std::mismatch(bytes.begin(), bytes.end(), last.begin(), last.end()).first - bytes.begin());
    close_to(common);
    for (size_t i = common; i < bytes.size(); ++i) {
      open.push_back(uint32_t(nodes.size()));
      nodes.push_back({0, -1, uint8_t(bytes[i]), uint8_t(i)});
    }
    nodes.back().token = token;
    last = bytes;
  }
  close_to(0);
  return nodes;
}

}  // namespace

TokenTrie::TokenTrie(int vocab) : vocab_(vocab), ordinary_(empty()) {
  const int32_t count = std::min(vocab, int32_t(tokenizer::kFirstSpecial));
  std::vector<uint32_t> characters;
  for (int32_t token = 0; token < count; ++token) {
    const std::string_view bytes = bytes_of(token);
    longest_ = std::max(longest_, int(bytes.size()));
    characters.push_back(plain_characters(bytes));
    allow(ordinary_, token);
  }
  const std::vector<int32_t> sorted = sorted_tokens(count);
  all_ = build(sorted);
  std::vector<int32_t> others;
  for (const int32_t token : sorted) {
    if (characters[size_t(token)] == 0) others.push_back(token);
  }
  not_plain_ = build(others);
  const uint32_t most = *std::max_element(characters.begin(), characters.end());
  plain_.assign(most, empty());
  for (int32_t token = 0; token < count; ++token) {
    if (const uint32_t n = characters[size_t(token)]; n > 0) allow(plain_[n - 1], token);
  }
  for (uint32_t n = 1; n < most; ++n) {
    for (size_t word = 0; word < plain_[n].size(); ++word) plain_[n][word] |= plain_[n - 1][word];
  }
}

const TokenMask& TokenTrie::plain(uint32_t characters) const {
  return plain_[std::min<size_t>(characters, plain_.size()) - 1];
}

SharedTrie::SharedTrie(int vocab) : vocab_(vocab) {
  int missing = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const uint8_t one = uint8_t(byte);
    missing += tokenizer::Vocabulary::get().find(&one, 1) >= uint32_t(vocab);
  }
  if (missing > 0) {
    throw Error(Code::kUnsupported,
                str("a vocabulary of ", vocab, " tokens lacks ", missing,
                    " of the 256 single bytes: a constrained text may need them"),
                "constraint");
  }
  const auto build = [this] {
    try {
      get();
    } catch (const std::exception&) {  // no memory: the next get() tries again and throws
    }
  };
  try {
    Thread("gpt-oss trie", build).detach();
  } catch (const std::exception&) {  // the system refused a thread: the first get() builds the trie
  }
}

const TokenTrie& SharedTrie::get() const {
  if (const TokenTrie* built = built_.load(std::memory_order_acquire)) return *built;
  const std::lock_guard lock(building_);
  if (trie_ == nullptr) trie_ = std::make_unique<const TokenTrie>(vocab_);
  built_.store(trie_.get(), std::memory_order_release);
  return *trie_;
}

const SharedTrie& SharedTrie::of_vocabulary(int vocab) {
  static std::mutex& mutex = *new std::mutex;  // never destroyed: engine threads may outlive the exit of main()
  static auto& known = *new std::map<int, std::unique_ptr<const SharedTrie>>;
  std::lock_guard lock(mutex);
  std::unique_ptr<const SharedTrie>& trie = known[vocab];
  if (trie == nullptr) trie.reset(new SharedTrie(vocab));
  return *trie;
}

}  // namespace oss::grammar
