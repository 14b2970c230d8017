#include "native/engine/kv_cache.h"

#include <algorithm>
#include <utility>

namespace oss {

// FNV-1a over 32-bit words. Equality is checked in full, so a collision costs time, never a wrong page.
static uint64_t hash_of(uint64_t parent, const std::string& salt, std::span<const int32_t> tokens) {
  uint64_t hash = 0xcbf29ce484222325u ^ parent * 0x9E3779B97F4A7C15u;
  const auto mix = [&](uint32_t word) { hash = (hash ^ word) * 0x100000001b3u; };
  for (const char c : salt) mix(uint8_t(c));
  for (const int32_t token : tokens) mix(uint32_t(token));
  return hash ^ hash >> 29;
}

static int64_t pages_of(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

KvCache::KvCache(std::array<int, kKvGroups> pages, int window) : window_(window) {
  for (int g = 0; g < kKvGroups; ++g) {
    groups_[g].pages.resize(size_t(pages[g]));
    // Handed out from 0 upwards, so that only memory that was needed is ever touched.
    for (int page = pages[g] - 1; page >= 0; --page) groups_[g].free.push_back(page);
  }
}

int64_t KvCache::first_visible(int64_t position) const {
  return std::max<int64_t>(0, position - window_ + 1) / kPageTokens;
}

int64_t KvCache::reuse(SequencePages& pages, std::span<const int32_t> tokens, int64_t limit, const std::string& salt) {
  if (groups_[kKvFull].pages.empty()) return 0;  // without layers with full attention no page holds a beginning
  std::vector<Node*> known;
  for (uint64_t parent = 0; int64_t(known.size() + 1) * kPageTokens <= limit; parent = known.back()->id) {
    Node* node =
        find(parent, known.empty() ? salt : std::string(), tokens.subspan(known.size() * kPageTokens, kPageTokens));
    if (node == nullptr) break;
    known.push_back(node);
  }
  const bool windowed = !groups_[kKvWindow].pages.empty();
  size_t count = known.size();
  const auto window_is_there = [&](size_t n) {
    for (size_t i = size_t(first_visible(int64_t(n) * kPageTokens)); i < n; ++i) {
      if (known[i]->page[kKvWindow] < 0) return false;
    }
    return true;
  };
  while (windowed && count > 0 && !window_is_there(count)) --count;
  if (count == 0) return 0;

  // Reserve before any page is taken: a page that stands in no table would be lost.
  for (auto& table : pages.table) table.reserve(count);
  const size_t visible = size_t(first_visible(int64_t(count) * kPageTokens));
  for (size_t i = 0; i < count; ++i) {
    known[i]->reused = true;
    pages.table[kKvFull].push_back(known[i]->page[kKvFull]);
    use(kKvFull, known[i]->page[kKvFull]);
    if (!windowed) continue;
    pages.table[kKvWindow].push_back(i < visible ? -1 : known[i]->page[kKvWindow]);
    if (i >= visible) use(kKvWindow, known[i]->page[kKvWindow]);
  }
  pages.registered = int64_t(count);
  pages.chain = known[count - 1]->id;
  return int64_t(count) * kPageTokens;
}

bool KvCache::reserve(SequencePages& pages, int64_t begin, int64_t end) {
  std::vector<int32_t>& window = pages.table[kKvWindow];
  const int64_t gone = std::min<int64_t>(first_visible(begin), int64_t(window.size()));
  for (int64_t i = gone - 1; i >= 0 && window[size_t(i)] >= 0; --i) {
    const Node* node = groups_[kKvWindow].pages[size_t(window[size_t(i)])].node;
    // Sequences rarely start in the middle of another one, so these pages go first unless they were reused already.
    drop(kKvWindow, window[size_t(i)], node == nullptr || !node->reused);
    window[size_t(i)] = -1;
  }
  int64_t missing[kKvGroups];
  for (int g = 0; g < kKvGroups; ++g) {
    missing[g] = groups_[g].pages.empty() ? 0 : std::max<int64_t>(0, pages_of(end) - int64_t(pages.table[g].size()));
    if (missing[g] > available(groups_[g])) return false;
  }
  for (int g = 0; g < kKvGroups; ++g) {
    std::vector<int32_t>& table = pages.table[g];
    const size_t size = table.size() + size_t(missing[g]);
    if (table.capacity() < size) table.reserve(std::max(size, 2 * table.capacity()));
  }
  for (int g = 0; g < kKvGroups; ++g) {
    for (int64_t i = 0; i < missing[g]; ++i) pages.table[g].push_back(take(g));
  }
  return true;
}

void KvCache::commit(SequencePages& pages, std::span<const int32_t> tokens, int64_t computed, const std::string& salt) {
  if (groups_[kKvFull].pages.empty()) return;
  const bool windowed = !groups_[kKvWindow].pages.empty();
  for (; (pages.registered + 1) * kPageTokens <= computed; ++pages.registered) {
    const size_t at = size_t(pages.registered);
    const std::span<const int32_t> held = tokens.subspan(at * kPageTokens, kPageTokens);
    const std::string root = at == 0 ? salt : std::string();
    Node* node = find(pages.chain, root, held);
    if (node == nullptr) {
      auto fresh = std::make_unique<Node>();
      node = fresh.get();
      node->id = next_id_++;
      node->parent = pages.chain;
      node->salt = root;
      std::copy(held.begin(), held.end(), node->tokens.begin());
      node->page = {-1, -1};
      nodes_.emplace(hash_of(pages.chain, root, held), std::move(fresh));
    }
    for (int g = 0; g < kKvGroups; ++g) {
      if (g == kKvWindow && !windowed) continue;
      int32_t& own = pages.table[g][at];
      if (own < 0 || own == node->page[g]) continue;
      if (node->page[g] < 0) {
        node->page[g] = own;
        groups_[g].pages[size_t(own)].node = node;
      } else {
        use(g, node->page[g]);
        drop(g, std::exchange(own, node->page[g]), true);
      }
    }
    pages.chain = node->id;
  }
}

void KvCache::release(SequencePages& pages) {
  // Deepest first: a beginning must outlive the pages that continue it.
  for (int g = 0; g < kKvGroups; ++g) {
    for (size_t i = pages.table[g].size(); i-- > 0;) {
      if (pages.table[g][i] >= 0) drop(g, pages.table[g][i], false);
    }
  }
  pages = {};
}

PageStats KvCache::stats(KvGroup group) const {
  const Group& g = groups_[group];
  return {.total = int(g.pages.size()), .free = available(g), .cached = g.cached, .shared = g.shared};
}

std::array<int64_t, kKvGroups> KvCache::pages_needed(int64_t end, int64_t chunk) const {
  // The window before a chunk and the chunk itself; neither needs to begin at a page boundary.
  const int64_t window = pages_of(window_ + std::min(chunk, end)) + 1;
  std::array<int64_t, kKvGroups> needed = {pages_of(end), std::min(pages_of(end), window)};
  for (int g = 0; g < kKvGroups; ++g) {
    if (groups_[g].pages.empty()) needed[size_t(g)] = 0;
  }
  return needed;
}

KvCache::Node* KvCache::find(uint64_t parent, const std::string& salt, std::span<const int32_t> tokens) const {
  const auto [begin, end] = nodes_.equal_range(hash_of(parent, salt, tokens));
  for (auto it = begin; it != end; ++it) {
    Node& node = *it->second;
    if (node.parent == parent && node.salt == salt && std::ranges::equal(node.tokens, tokens)) return &node;
  }
  return nullptr;
}

int32_t KvCache::take(int group) {
  Group& g = groups_[group];
  if (g.free.empty()) {
    const int32_t page = g.oldest;
    Node* node = g.pages[size_t(page)].node;
    if (group == kKvFull) {
      forget(node);
    } else {
      unlink(g, page);
      node->page[size_t(group)] = -1;
      g.pages[size_t(page)].node = nullptr;
      g.free.push_back(page);
    }
  }
  const int32_t page = g.free.back();
  g.free.pop_back();
  g.pages[size_t(page)].users = 1;
  return page;
}

void KvCache::use(int group, int32_t page) {
  Group& g = groups_[group];
  Page& p = g.pages[size_t(page)];
  if (p.users == 0) unlink(g, page);
  if (++p.users == 2) ++g.shared;
}

void KvCache::drop(int group, int32_t page, bool soon) {
  Group& g = groups_[group];
  Page& p = g.pages[size_t(page)];
  --p.users;
  if (p.users == 1) --g.shared;
  if (p.users > 0) return;
  if (p.node == nullptr) {
    g.free.push_back(page);
    return;
  }
  int32_t& end = soon ? g.oldest : g.newest;
  (soon ? p.newer : p.older) = end;
  if (end >= 0) (soon ? g.pages[size_t(end)].older : g.pages[size_t(end)].newer) = page;
  end = page;
  int32_t& other = soon ? g.newest : g.oldest;
  if (other < 0) other = page;
  ++g.cached;
}

void KvCache::unlink(Group& g, int32_t page) {
  Page& p = g.pages[size_t(page)];
  (p.older >= 0 ? g.pages[size_t(p.older)].newer : g.oldest) = p.newer;
  (p.newer >= 0 ? g.pages[size_t(p.newer)].older : g.newest) = p.older;
  p.newer = p.older = -1;
  --g.cached;
}

// A page without its full layers is no longer a beginning: the pages of its window layers go too.
void KvCache::forget(Node* node) {
  for (int g = 0; g < kKvGroups; ++g) {
    const int32_t page = node->page[size_t(g)];
    if (page < 0) continue;
    Page& p = groups_[g].pages[size_t(page)];
    p.node = nullptr;
    if (p.users > 0) continue;
    unlink(groups_[g], page);
    groups_[g].free.push_back(page);
  }
  const auto [begin, end] = nodes_.equal_range(hash_of(node->parent, node->salt, node->tokens));
  nodes_.erase(std::find_if(begin, end, [&](const auto& entry) { return entry.second.get() == node; }));
}

}  // namespace oss
