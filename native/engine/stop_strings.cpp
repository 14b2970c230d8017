#include "native/engine/stop_strings.h"

#include <algorithm>
#include <cstring>

#include "native/base/error.h"
#include "native/base/str.h"
#include "native/base/utf8.h"

namespace oss {

StopStrings::StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {
  std::sort(strings_.begin(), strings_.end());
  strings_.erase(std::unique(strings_.begin(), strings_.end()), strings_.end());

  // The strings that begin with node n are strings_[nodes_[n].string .. ends[n]). Nodes are settled in order of depth,
  // so a fallback, which is shorter, is always settled before its use.
  std::vector<uint32_t> ends = {uint32_t(strings_.size())};
  nodes_.push_back({.string = 0, .depth = 0});
  labels_.push_back('\0');
  for (size_t n = 0; n < nodes_.size(); ++n) {
    Node node = nodes_[n];
    uint32_t string = node.string;
    node.match = nodes_[size_t(node.fallback)].match;
    if (strings_[string].size() == node.depth) {  // the string that equals this prefix is sorted before its extensions
      node.match = node.depth;
      ++string;
    }
    node.first_child = uint32_t(nodes_.size());
    while (string < ends[n]) {
      const char byte = strings_[string][node.depth];
      const int32_t fallback = n == kStart ? kStart : next(node.fallback, byte);
      nodes_.push_back({.string = string, .depth = node.depth + 1, .fallback = fallback});
      labels_.push_back(byte);
      while (string < ends[n] && strings_[string][node.depth] == byte) ++string;
      ends.push_back(string);
    }
    node.num_children = uint32_t(nodes_.size()) - node.first_child;
    nodes_[n] = node;
  }
}

int32_t StopStrings::next(int32_t state, char byte) const {
  for (;; state = nodes_[size_t(state)].fallback) {
    const Node& node = nodes_[size_t(state)];
    const char* labels = labels_.data() + node.first_child;
    if (const void* label = std::memchr(labels, byte, node.num_children)) {
      return int32_t(node.first_child + (static_cast<const char*>(label) - labels));
    }
    if (state == kStart) return kStart;
  }
}

std::shared_ptr<const StopStrings> make_stop_strings(const std::vector<std::string>& strings) {
  constexpr size_t kMaxStrings = 1024, kMaxBytes = 65536;
  if (strings.empty()) return nullptr;
  if (strings.size() > kMaxStrings) {
    throw Error(Code::kInvalidArgument,
                str("Expected at most ", kMaxStrings, " stop strings but received ", strings.size()), "stop");
  }
  size_t bytes = 0;
  for (size_t i = 0; i < strings.size(); ++i) {
    if (strings[i].empty())
      throw Error(Code::kInvalidArgument, str("The stop string at index ", i, " is empty"), str("stop[", i, "]"));
    bytes += strings[i].size();
    Utf8 character{};
    for (size_t at = 0; at < strings[i].size(); at += character.length) {
      character = utf8_begin(std::string_view(strings[i]).substr(at));
      if (character.kind != Utf8::kWhole) {
        throw Error(Code::kInvalidArgument, str("The stop string at index ", i, " is not UTF-8 at byte ", at),
                    str("stop[", i, "]"));
      }
    }
  }
  if (bytes > kMaxBytes) {
    throw Error(Code::kInvalidArgument,
                str("Expected stop strings of at most ", kMaxBytes, " bytes together but received ", bytes), "stop");
  }
  return std::make_shared<const StopStrings>(strings);
}

}  // namespace oss
