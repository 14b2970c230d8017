#include "native/engine/kv_cache.h"

#include <random>

#include "test/native/check.h"

namespace oss {
namespace {

constexpr int kWindow = 128;

std::vector<int32_t> tokens_of(int seed, int length) {
  std::vector<int32_t> tokens;
  std::mt19937 random{unsigned(seed)};
  for (int i = 0; i < length; ++i) tokens.push_back(int32_t(random() % 1000));
  return tokens;
}

// Computes tokens [from, to) in one go.
void compute(KvCache& cache, SequencePages& pages, const std::vector<int32_t>& tokens, int64_t from, int64_t to,
             const std::string& salt = "") {
  CHECK(cache.reserve(pages, from, to));
  cache.commit(pages, tokens, to, salt);
}

}  // namespace

TEST("kv cache: a beginning that was computed once is found, up to the last full page") {
  KvCache cache({16, 16}, kWindow);
  const auto tokens = tokens_of(1, 400);
  SequencePages first, second;
  CHECK_EQ(cache.reuse(first, tokens, 399, ""), int64_t(0));
  compute(cache, first, tokens, 0, 400);
  CHECK_EQ(cache.reuse(second, tokens, 399, ""), int64_t(384));
  CHECK_EQ(cache.stats(kKvFull).shared, 6);
  CHECK_EQ(cache.stats(kKvWindow).shared, 2);  // only the tokens that the next query sees
  CHECK_EQ(second.table[kKvWindow][3], -1);
  CHECK(second.table[kKvFull][5] == first.table[kKvFull][5]);
  cache.release(first);
  cache.release(second);
  CHECK_EQ(cache.stats(kKvFull).free, 16);
  CHECK_EQ(cache.stats(kKvFull).cached, 6);
  SequencePages third;
  CHECK_EQ(cache.reuse(third, tokens, 130, ""), int64_t(128));
  CHECK_EQ(cache.stats(kKvFull).cached, 4);
  cache.release(third);
}

TEST("kv cache: the salt and every earlier token are part of a page's key") {
  KvCache cache({16, 16}, kWindow);
  auto tokens = tokens_of(2, 300);
  SequencePages first, second;
  compute(cache, first, tokens, 0, 300, "tenant a");
  CHECK_EQ(cache.reuse(second, tokens, 299, "tenant b"), int64_t(0));
  CHECK_EQ(cache.reuse(second, tokens, 299, ""), int64_t(0));
  tokens[10] ^= 1;
  CHECK_EQ(cache.reuse(second, tokens, 299, "tenant a"), int64_t(0));
  tokens[10] ^= 1;
  tokens[200] ^= 1;
  CHECK_EQ(cache.reuse(second, tokens, 299, "tenant a"), int64_t(192));
  cache.release(second);
  cache.release(first);
}

TEST("kv cache: pages behind the window are freed, and a long sequence holds few of them") {
  KvCache cache({64, 8}, kWindow);
  const auto tokens = tokens_of(3, 64 * 60);
  SequencePages pages;
  for (int64_t at = 0; at < int64_t(tokens.size()); at += 64) compute(cache, pages, tokens, at, at + 64);
  int held = 0;
  for (const int32_t page : pages.table[kKvWindow]) held += page >= 0;
  CHECK_EQ(held, 3);  // the window before the last chunk, and the chunk
  CHECK_EQ(cache.stats(kKvFull).free, 4);
  cache.release(pages);
  // Its end is still cached: the next turn of a conversation computes only the new tokens.
  SequencePages next;
  CHECK_EQ(cache.reuse(next, tokens, int64_t(tokens.size()) - 1, ""), int64_t(59 * 64));
  cache.release(next);
}

TEST("kv cache: the least recently used page is evicted first, and its successors are not found any more") {
  KvCache cache({4, 4}, kWindow);
  const auto a = tokens_of(4, 128), b = tokens_of(5, 128), c = tokens_of(6, 128);
  SequencePages pages;
  compute(cache, pages, a, 0, 128);
  cache.release(pages);
  compute(cache, pages, b, 0, 128);
  cache.release(pages);
  CHECK_EQ(cache.reuse(pages, a, 128, ""), int64_t(128));  // a is now used more recently
  cache.release(pages);
  compute(cache, pages, c, 0, 128);
  cache.release(pages);
  CHECK_EQ(cache.reuse(pages, b, 128, ""), int64_t(0));
  CHECK_EQ(cache.reuse(pages, a, 128, ""), int64_t(128));
  cache.release(pages);
}

TEST("kv cache: pages that two sequences compute at once are kept once") {
  KvCache cache({16, 16}, kWindow);
  const auto tokens = tokens_of(7, 256);
  SequencePages first, second;
  CHECK(cache.reserve(first, 0, 256));
  CHECK(cache.reserve(second, 0, 256));
  CHECK_EQ(cache.stats(kKvFull).free, 8);
  cache.commit(first, tokens, 256, "");
  cache.commit(second, tokens, 256, "");
  CHECK(first.table[kKvFull] == second.table[kKvFull]);
  CHECK_EQ(cache.stats(kKvFull).free, 12);
  cache.release(first);
  cache.release(second);
  CHECK_EQ(cache.stats(kKvFull).free, 16);
}

TEST("kv cache: an allocation that does not fit takes no page") {
  KvCache cache({4, 4}, kWindow);
  SequencePages first, second;
  CHECK(cache.reserve(first, 0, 192));
  CHECK(!cache.reserve(second, 0, 128));
  CHECK(second.table[kKvFull].empty());
  CHECK_EQ(cache.stats(kKvFull).free, 1);
  cache.release(first);
}

// The test records the contents of each page, like the memory would hold them. Every sequence must find its tokens
// there.
TEST("kv cache: 20,000 random steps never lose a page or mix up contents") {
  std::mt19937 random(1);
  KvCache cache({24, 14}, kWindow);
  struct Live {
    std::vector<int32_t> tokens;
    SequencePages pages;
    int64_t computed = 0;
    std::string salt;
  };
  std::vector<Live> live;
  std::vector<std::vector<int32_t>> memory[kKvGroups];
  for (int g = 0; g < kKvGroups; ++g) memory[g].resize(24, std::vector<int32_t>(kPageTokens, -1));
  int64_t reused = 0;
  for (int step = 0; step < 20000; ++step) {
    const unsigned what = random() % 8;
    if (what == 0 && live.size() < 6) {
      Live next;
      next.tokens = tokens_of(int(random() % 3), 64 + int(random() % 500));
      if (random() % 2) next.tokens.resize(64);
      for (unsigned extra = random() % 300; extra > 0; --extra) next.tokens.push_back(int32_t(random() % 3));
      next.salt = random() % 4 == 0 ? "other" : "";
      next.computed = cache.reuse(next.pages, next.tokens, int64_t(next.tokens.size()) - 1, next.salt);
      reused += next.computed;
      live.push_back(std::move(next));
    } else if (what == 1 && !live.empty()) {
      const size_t which = random() % live.size();
      cache.release(live[which].pages);
      live.erase(live.begin() + std::ptrdiff_t(which));
    } else if (!live.empty()) {
      Live& it = live[random() % live.size()];
      const int64_t end = std::min<int64_t>(int64_t(it.tokens.size()), it.computed + 1 + int64_t(random() % 150));
      if (end == it.computed || !cache.reserve(it.pages, it.computed, end)) continue;
      for (int64_t i = it.computed; i < end; ++i) {
        for (int g = 0; g < kKvGroups; ++g)
          memory[g][size_t(it.pages.table[g][size_t(i / kPageTokens)])][size_t(i % kPageTokens)] = it.tokens[size_t(i)];
      }
      for (int64_t i = 0; i < end; ++i) {
        for (int g = 0; g < kKvGroups; ++g) {
          if (g == kKvWindow && i + kWindow <= it.computed) continue;  // outside the window of all later queries
          const int32_t page = it.pages.table[g][size_t(i / kPageTokens)];
          if (page < 0 || memory[g][size_t(page)][size_t(i % kPageTokens)] != it.tokens[size_t(i)]) {
            test::fail(__FILE__, __LINE__, str("step ", step, ": token ", i, " of group ", g, " is lost"));
            return;
          }
        }
      }
      it.computed = end;
      cache.commit(it.pages, it.tokens, end, it.salt);
    }
  }
  for (Live& it : live) cache.release(it.pages);
  CHECK_EQ(cache.stats(kKvFull).free, 24);
  CHECK_EQ(cache.stats(kKvWindow).free, 14);
  CHECK_EQ(cache.stats(kKvFull).shared, 0);
  CHECK(reused > 100000);
}

}  // namespace oss
