// A scene in a GPU's memory, and the step that the kernels run on it.
#pragma once
#include <algorithm>
#include <vector>

#include "kernels/common/dtype.h"
#include "test/kernels/gpu/attention_scene.h"
#include "test/native/check.h"

namespace oss::test::attention {

// There is room for more tokens than the scene has; that room must stay unchanged. Gpu has the types of a GPU: Device,
// Array and Tile; kTile, the most tokens of a tile; and write(), which fills the beginning of an array.
template <class Gpu>
class RunOn {
 public:
  using Device = typename Gpu::Device;
  template <typename T>
  using Array = typename Gpu::template Array<T>;
  using Tile = typename Gpu::Tile;

  RunOn(Device& device, const Scene& scene)
      : device_(device),
        scene_(scene),
        capacity_(scene.tokens.size() + kSpare),
        row_(size_t(scene.args.heads) * kHeadDim),
        table_(device, scene.block_table()),
        other_table_(device, std::vector<int32_t>(table_.size(), -1)),
        cache_(device, scene.cache()),
        sinks_(device, std::vector<float>(scene.sinks.begin(), scene.sinks.end())),
        positions_(device, capacity_),
        sequence_(device, capacity_),
        singles_(device, capacity_),
        tiles_(device, capacity_),
        q_(device, capacity_ * row_) {
    choose(scene.all());
  }

  // The step consists of these tokens of the scene. All are singles, the last first, and all are in tiles. With
  // `apart`, tokens with neighbours are in tiles, and the others are singles.
  void choose(const std::vector<int>& tokens, bool apart = false) {
    std::vector<int32_t> positions, sequence, singles;
    std::vector<uint16_t> q;
    std::vector<Tile> tiles;
    for (const int t : tokens) {
      const Token token = scene_.tokens[t];
      const bool continues = !tiles.empty() && tiles.back().tokens < Gpu::kTile && sequence.back() == token.sequence &&
                             positions.back() + 1 == token.position;
      if (continues) {
        ++tiles.back().tokens;
      } else {
        tiles.push_back({int32_t(positions.size()), 1});
      }
      singles.insert(singles.begin(), int32_t(positions.size()));
      positions.push_back(token.position);
      sequence.push_back(token.sequence);
      for (size_t i = 0; i < row_; ++i) q.push_back(f32_to_bf16(float(scene_.q[t * row_ + i])));
    }
    if (apart) {
      singles.clear();
      for (const Tile& tile : tiles) {
        if (tile.tokens == 1) singles.push_back(tile.first);
      }
      std::erase_if(tiles, [](const Tile& tile) { return tile.tokens == 1; });
    }
    num_tokens_ = int(tokens.size());
    num_tiles_ = int(tiles.size());
    num_singles_ = int(singles.size());
    Gpu::write(positions_, positions);
    Gpu::write(sequence_, sequence);
    Gpu::write(singles_, singles);
    Gpu::write(tiles_, tiles);
    Gpu::write(q_, q);
    chosen_ = std::move(positions);
  }

 protected:
  static constexpr int kSpare = 3;

  // What the arrays of a step have in common on every GPU. The table of the other group has no page.
  template <class Step>
  void describe(Step& step) const {
    step.max_pages = scene_.args.max_pages;
    step.positions = positions_.data();
    step.sequence = sequence_.data();
    step.block_tables[scene_.args.group] = table_.data();
    step.block_tables[scene_.args.group == kKvFull ? kKvWindow : kKvFull] = other_table_.data();
  }
  AttentionArgs args(int tokens) const {
    AttentionArgs args = scene_.args;
    args.tokens = tokens;
    return args;
  }
  // The results of the step's tokens in `out` [capacity, heads, 64].
  std::vector<uint16_t> results(const Array<uint16_t>& out) const {
    std::vector<uint16_t> values = out.read();
    const auto end = values.begin() + ptrdiff_t(num_tokens_ * row_);
    CHECK(std::all_of(end, values.end(), [](uint16_t value) { return value == 0xCDCD; }));
    values.erase(end, values.end());
    return values;
  }

  Device& device_;
  const Scene& scene_;
  size_t capacity_, row_;
  int num_tokens_ = 0, num_tiles_ = 0, num_singles_ = 0;
  std::vector<int32_t> chosen_;  // positions
  Array<int32_t> table_, other_table_;
  Array<uint8_t> cache_;
  Array<float> sinks_;
  Array<int32_t> positions_, sequence_, singles_;
  Array<Tile> tiles_;
  Array<uint16_t> q_;
};

}  // namespace oss::test::attention
