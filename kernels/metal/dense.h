// The shapes of the dense kernels' work, for host and device: linear.metal and qkv.metal.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

// Steps of up to so many rows use few_rows.h, others dense_tiles.h. The weights' trip from memory takes the time of
// about 100 operations per lane and 8 bytes on every Apple GPU. Eight rows need 70, sixteen would need 140. A tile of
// 16 rows does the same work in fewer, because one instruction multiplies 8x8 matrices.
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
