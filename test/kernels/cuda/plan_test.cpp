// The host's decisions for steps of few tokens, as tables: no device is needed.
#include "kernels/cuda/plan.h"

#include "native/base/str.h"
#include "test/native/check.h"

namespace oss::test {
namespace {

using namespace cuda;

constexpr Resources kH200{132, 227 << 10}, kA100{108, 163 << 10}, kRtx4090{128, 99 << 10};
constexpr int kHidden = 2880, kQWidth = 4096;
constexpr StepShape k120b{kHidden, kHidden, 128, 4};

TEST("cuda plan: blocks share all items, in order, one more or less") {
  for (const int64_t items : {1, 7, 131, 132, 180, 320, 1440, 12568, 23040}) {
    for (const int blocks : {1, 2, 108, 132, 264}) {
      const auto least = items / blocks;
      int64_t next = 0;
      for (int block = 0; block < blocks; ++block) {
        const int begin = first_of_block(items, block, blocks), end = first_of_block(items, block + 1, blocks);
        CHECK_EQ(int64_t(begin), next);
        CHECK(end - begin == least || end - begin == least + 1);
        next = end;
      }
      CHECK_EQ(next, items);
    }
  }
}

TEST("cuda plan: matrix streams by shape, columns and GPU") {
  struct Case {
    const char* what;
    int row_tiles, cols, columns;
    Resources gpu;
    int blocks, stages;
  };
  for (const Case& c : {Case{"qkv, one token", 320, kHidden, 1, kH200, 132, 5},
                        {"qkv, 4 tokens", 320, kHidden, 4, kH200, 132, 4},
                        {"qkv, 8 tokens", 320, kHidden, 8, kH200, 132, 3},
                        {"qkv, 16 tokens: alone on its multiprocessor", 320, kHidden, 16, kH200, 132, 6},
                        {"o, one token", 180, kQWidth, 1, kH200, 132, 5},
                        {"o, 8 tokens: alone", 180, kQWidth, 8, kH200, 132, 6},
                        {"o, 16 tokens", 180, kQWidth, 16, kH200, 132, 5},
                        {"router of 128 experts, one token in two columns", 8, kHidden, 2, kH200, 8, 5},
                        {"router of 32 experts, 8 tokens", 2, kHidden, 16, kH200, 2, 6},
                        {"head, one token", 12568, kHidden, 2, kH200, 132, 5},
                        {"head, 16 tokens: not for this kernel", 12568, kHidden, 32, kH200, 0, 0},
                        {"qkv, one token: alone", 320, kHidden, 1, kA100, 108, 6},
                        {"qkv, 16 tokens", 320, kHidden, 16, kA100, 108, 3},
                        {"o, 16 tokens: no room for a ring", 180, kQWidth, 16, kA100, 0, 0},
                        {"qkv, one token: alone", 320, kHidden, 1, kRtx4090, 128, 5},
                        {"a tiny model", 12, 128, 8, kH200, 12, 5}}) {
    const MatrixStream plan = plan_matrix_stream(c.row_tiles, c.cols, c.columns, c.gpu);
    if (plan.blocks != c.blocks || plan.stages != c.stages)
      fail(__FILE__, __LINE__, str(c.what, ": ", plan.blocks, " blocks, ", plan.stages, " stages"));
    if (plan.shared_bytes > c.gpu.shared_bytes) fail(__FILE__, __LINE__, str(c.what, ": too much shared memory"));
    if (plan.stages > 32) fail(__FILE__, __LINE__, str(c.what, ": a lane initialises each barrier"));
  }
}

// Little's law: 4.3 TB/s times a microsecond is 4.3 MB, 33 KB for each of 132 multiprocessors.
TEST("cuda plan: every phase of the released models has enough loads in flight on an H200") {
  constexpr size_t kEnough = 33 << 10;
  for (const int tokens : {1, 2, 4, 8, 16}) {
    for (const auto& [tiles, cols, columns] : {std::tuple(320, kHidden, tokens), {180, kQWidth, tokens}}) {
      const MatrixStream plan = plan_matrix_stream(tiles, cols, columns, kH200);
      CHECK(kParts * kStageBytes * size_t(plan.stages) >= kEnough);
    }
  }
  CHECK(size_t(kExpertBlocks) * expert_ring_bytes() >= kEnough);
  CHECK_EQ(plan_expert_stream(4 * 360, kH200), 264);
  CHECK_EQ(plan_expert_stream(5, kH200), 5);
}

// The complete shared memory of a block: static memory and the GPU's reserve included. An H200 has 228 KB.
TEST("cuda plan: blocks of consecutive launches fit together on an H200") {
  constexpr size_t kAll = 228 << 10, kExperts = expert_shared_bytes() + kExpertStaticBytes + kBlockReserve;
  for (const int tokens : {1, 2, 4, 8}) {
    const MatrixStream qkv = plan_matrix_stream(320, kHidden, tokens, kH200),
                       o = plan_matrix_stream(180, kQWidth, tokens, kH200);
    CHECK(kExpertBlocks * kExperts + qkv.shared_bytes + kBlockReserve <= kAll);  // down, and the next layer's qkv
    if (tokens <= 4)
      CHECK(o.shared_bytes + kBlockReserve + (64 << 10) + 2 * kBlockReserve <= kAll);  // a block of attention, and o
  }
  const MatrixStream router = plan_matrix_stream(8, kHidden, 2, kH200);
  CHECK(kExpertBlocks * kExperts + router.shared_bytes + kBlockReserve <= kAll);
  CHECK((kExpertBlocks + 1) * kExperts <= kAll);  // gate and up, and the first of down
}

TEST("cuda plan: blocks share a range of bytes in multiples of 16") {
  for (const size_t bytes : {size_t(0), size_t(16), size_t(4096), kPrefetchBytes, size_t(29491200)}) {
    size_t next = 0;
    for (int block = 0; block < 132; ++block) {
      const Share share = share_of_block(bytes, block, 132);
      CHECK_EQ(share.first, next);
      CHECK_EQ(share.bytes % 16, size_t(0));
      next += share.bytes;
    }
    CHECK_EQ(next, bytes);
  }
}

TEST("cuda plan: how many tokens run fused") {
  CHECK_EQ(most_fused_tokens(k120b, kH200), 16);
  CHECK_EQ(most_fused_tokens(k120b, kA100), 16);
  CHECK_EQ(most_fused_tokens(k120b, kRtx4090), 4);
  CHECK_EQ(most_fused_tokens({kHidden, kHidden, 128, 8}, kH200), 8);  // 64 pairs
  CHECK_EQ(most_fused_tokens({kHidden, kHidden, 128, 4}, {132, 48 << 10}), 0);
  CHECK_EQ(most_fused_tokens({3104, kHidden, 128, 4}, kH200), 0);  // more column tiles than a warp holds
  CHECK_EQ(most_fused_tokens({128, 128, 8, 2}, kH200), 16);
}

}  // namespace
}  // namespace oss::test
