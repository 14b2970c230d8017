// The shapes of the dense kernels' work, for host and device: linear.metal and qkv.metal.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

// Steps of up to so many rows use few_rows.h, others dense_tiles.h. By estimate: while 8 bytes of weights come from
// memory, a lane of an M1 Max or M4 Max can do about 100 operations. Eight rows need 70 of them, sixteen would need 140.
// Tiles need fewer, because matrix instructions take bf16 as it is.
OSS_CONSTANT int kFewRows = 8;

// Few rows: one threadgroup computes some outputs of all rows. Its threads share the columns.
OSS_CONSTANT int kFewThreads = 128;
// Eight rows want more outputs: a row of x is read again for each threadgroup, and so takes less of the caches.
OSS_FN constexpr int few_rows_outputs(int rows) { return rows > 4 ? 8 : 4; }

// Tiles: one threadgroup computes 16 or 32 rows of 64 outputs, as four simdgroups of 16 outputs.
OSS_CONSTANT int kTileThreads = 128;
OSS_CONSTANT int kTileOutputs = 64;
OSS_CONSTANT int kSmallTileRows = 16;
OSS_CONSTANT int kTileRows = 32;

}  // namespace oss
