// Which pages of the KV cache are free. Numbers only: the memory is KvStorage's.
#pragma once
#include <cstdint>
#include <vector>

namespace oss {

class PagePool {
 public:
  // Pages are handed out from 0 upwards, so that memory is touched only as far as it was ever needed.
  explicit PagePool(int num_pages) : num_pages_(num_pages) {
    for (int page = num_pages - 1; page >= 0; --page) free_.push_back(page);
  }

  int num_pages() const { return num_pages_; }
  int num_free() const { return int(free_.size()); }

  // Grows `pages` to `count` pages; false, and nothing taken, when there are not enough.
  bool grow(std::vector<int32_t>& pages, size_t count) {
    if (count > pages.size() && count - pages.size() > free_.size()) return false;
    while (pages.size() < count) {
      pages.push_back(free_.back());
      free_.pop_back();
    }
    return true;
  }

  void release(std::vector<int32_t>& pages) {
    while (!pages.empty()) {
      free_.push_back(pages.back());
      pages.pop_back();
    }
  }

 private:
  int num_pages_;
  std::vector<int32_t> free_;  // the last is handed out next
};

}  // namespace oss
