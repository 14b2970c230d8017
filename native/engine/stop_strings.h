// The stop strings of a request as one automaton (Aho-Corasick): each byte of the text is read once, however many
// strings there are and however they overlap.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace oss {

// A state is a prefix of some stop string: the longest one with which the text so far ends. The class is const, so all
// threads and all choices of a request share it.
class StopStrings {
 public:
  static constexpr int32_t kStart = 0;

  // Made by make_stop_strings(), which checks: at least one string, none empty.
  explicit StopStrings(std::vector<std::string> strings);

  // Returns the state after one more byte. Constant time on average: falling back by n bytes needs n earlier bytes.
  int32_t next(int32_t state, char byte) const;
  // Returns the length of the longest stop string with which the text now ends; 0 when it ends with none.
  size_t match(int32_t state) const { return nodes_[size_t(state)].match; }
  // Returns the end of the text that may still become a stop string.
  std::string_view held(int32_t state) const {
    const Node& node = nodes_[size_t(state)];
    return std::string_view(strings_[node.string]).substr(0, node.depth);
  }

 private:
  // A prefix of strings_[string], `depth` bytes long.
  struct Node {
    uint32_t string, depth;
    uint32_t first_child = 0, num_children = 0;
    int32_t fallback = kStart;  // the longest proper suffix of this prefix that is a prefix too
    uint32_t match = 0;
  };

  std::vector<std::string> strings_;  // sorted, each once
  std::vector<Node> nodes_;           // breadth first: the children of a node are adjacent
  std::string labels_;                // [nodes] the last byte of each prefix
};

// Null for an empty list. Throws kInvalidArgument on an empty string, one that is not UTF-8 (it could match within a
// character), more than 1,024 strings, or more than 65,536 bytes together.
std::shared_ptr<const StopStrings> make_stop_strings(const std::vector<std::string>& strings);

}  // namespace oss
