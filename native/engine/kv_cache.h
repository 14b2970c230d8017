// Which page of the KV cache holds which tokens. This class handles page numbers only; the memory belongs to KvStorage.
//
// There are two groups of pages: one for the layers with full attention, one for those with a sliding window. A
// sequence gives up a window page once no query can see it. A full page is known by its content: its tokens, and
// everything before them. Other sequences with the same beginning share it. After its last user has gone, it stays
// until its place is needed, least recently used first. A sequence can start from any page boundary, if it finds all
// full pages up to there and the window pages that the next query sees.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/common/args.h"

namespace oss {

// The pages of one sequence.
struct SequencePages {
  std::vector<int32_t> table[kKvGroups];  // page of each 64 tokens; -1: none, or given up
  int64_t registered = 0;                 // pages from the start whose content the cache knows
  uint64_t chain = 0;                     // id of the last of them; 0: none
};

struct PageStats {
  int total = 0, free = 0, cached = 0, shared = 0;  // cached: kept for reuse; also counted as free
};

class KvCache {
 public:
  // pages: the number in each group; 0 = no layer belongs to it. window: keys that a query sees on sliding layers.
  KvCache(std::array<int, kKvGroups> pages, int window);

  // Gives an empty sequence the pages of its longest known beginning of at most `limit` tokens. Returns the number of
  // these tokens, a multiple of kPageTokens. Only sequences with the same salt share beginnings.
  int64_t reuse(SequencePages& pages, std::span<const int32_t> tokens, int64_t limit, const std::string& salt);

  // Makes room to compute tokens [begin, end) of a sequence, and gives up window pages that no query from `begin` on
  // sees. Returns false and takes nothing when there are not enough pages.
  bool reserve(SequencePages& pages, int64_t begin, int64_t end);

  // Records that tokens [0, computed) are in the cache: pages that became full become known. If another sequence
  // computed the same page meanwhile, that page is used and this one is given back.
  void commit(SequencePages& pages, std::span<const int32_t> tokens, int64_t computed, const std::string& salt);

  void release(SequencePages& pages);

  PageStats stats(KvGroup group) const;
  // The most pages of each group that tokens [0, end) of a sequence take when computed in chunks of `chunk` tokens.
  std::array<int64_t, kKvGroups> pages_needed(int64_t end, int64_t chunk) const;

 private:
  // A known page and its content. Two nodes are equal when tokens, salt and everything before are equal.
  struct Node {
    uint64_t id, parent;  // never used twice; parent 0: the first page
    std::string salt;     // set in the first page only; later pages inherit it from their parent
    std::array<int32_t, kPageTokens> tokens;
    std::array<int32_t, kKvGroups> page;  // -1: that group's page has been evicted
    bool reused = false;
  };
  struct Page {
    int users = 0;
    Node* node = nullptr;
    int32_t newer = -1, older = -1;  // among the cached pages without a user
  };
  struct Group {
    std::vector<Page> pages;
    std::vector<int32_t> free;         // neither used nor known; the last one is taken next
    int32_t oldest = -1, newest = -1;  // cached pages without a user
    int cached = 0, shared = 0;
  };

  int64_t first_visible(int64_t position) const;  // page of the first key that a query there sees in its window
  Node* find(uint64_t parent, const std::string& salt, std::span<const int32_t> tokens) const;
  int available(const Group& group) const { return int(group.free.size()) + group.cached; }
  int32_t take(int group);
  void use(int group, int32_t page);
  void drop(int group, int32_t page, bool soon);  // soon: evict it before others
  void unlink(Group& group, int32_t page);
  void forget(Node* node);

  int window_;
  Group groups_[kKvGroups];
  uint64_t next_id_ = 1;
  std::unordered_multimap<uint64_t, std::unique_ptr<Node>> nodes_;  // by hash of parent, salt and tokens
};

}  // namespace oss
