// Embedding:  x[t] = table[token_ids[t]]          Gathering:  rows[r] = x[logit_tokens[r]]
//   table  [vocab, hidden]  bf16, or Q8 (dense_rows.h)      x  [tokens, hidden]  f32      rows  [rows, hidden]  f32
//   hidden % 4 == 0; of Q8, hidden % 32 == 0
// A negative id is -1 - r: the token that row r of the previous step has drawn, which the host need not know yet.
//
// Traffic 6 and 8 bytes per value; one row is 17 and 23 KB, so the dispatch dominates the cost.
#include "kernels/metal/embed.h"

#include "kernels/common/dtype.h"
#include "kernels/metal/dense_rows.h"
#include "kernels/metal/lang.h"
#include "kernels/metal/step.h"

using namespace oss;

static inline ulong row_of(int token_id, DevicePtr<const SampleResult> drawn, int hidden) {
  int id = token_id;
  if (token_id < 0) id = drawn[-1 - token_id].token;
  return ulong(id) * ulong(hidden);
}

// One threadgroup per token, four values per thread and iteration: weights are aligned to 8 bytes.
kernel void embed(constant EmbedLaunch& args [[buffer(0)]], DevicePtr<const int> token_ids [[buffer(1)]],
                  DevicePtr<const SampleResult> drawn [[buffer(2)]], DevicePtr<const ushort> table [[buffer(3)]],
                  DevicePtr<float> x [[buffer(4)]], OSS_POSITION) {
  const ulong from = row_of(token_ids[group.x], drawn, args.hidden), to = ulong(group.x) * ulong(args.hidden);
  for (int c = int(index) * 4; c < args.hidden; c += kEmbedThreads * 4) {
    const ushort4 four = *as_const<ushort4>(table + from + c);
    *as<float4>(x + to + c) =
        float4(bf16_to_f32(four.x), bf16_to_f32(four.y), bf16_to_f32(four.z), bf16_to_f32(four.w));
  }
}
OSS_KERNEL(embed)

// The products are exact: 18 bits.
kernel void embed_q8(constant EmbedLaunch& args [[buffer(0)]], DevicePtr<const int> token_ids [[buffer(1)]],
                     DevicePtr<const SampleResult> drawn [[buffer(2)]], DevicePtr<const uchar> codes [[buffer(3)]],
                     DevicePtr<const half> scales [[buffer(4)]], DevicePtr<float> x [[buffer(5)]], OSS_POSITION) {
  const ulong from = row_of(token_ids[group.x], drawn, args.hidden), to = ulong(group.x) * ulong(args.hidden);
  for (int c = int(index) * 4; c < args.hidden; c += kEmbedThreads * 4) {
    const float scale = float(scales[(from + ulong(c)) / ulong(kQ8Block)]);
    *as<float4>(x + to + c) = four_codes(*as_const<uint>(codes + (from + ulong(c)))) * float4(scale);
  }
}
OSS_KERNEL(embed_q8)

// One threadgroup per row.
kernel void gather_rows(constant EmbedLaunch& args [[buffer(0)]], DevicePtr<const int> logit_tokens [[buffer(1)]],
                        DevicePtr<const float> x [[buffer(2)]], DevicePtr<float> rows [[buffer(3)]], OSS_POSITION) {
  const ulong from = ulong(logit_tokens[group.x]) * ulong(args.hidden), to = ulong(group.x) * ulong(args.hidden);
  for (int c = int(index) * 4; c < args.hidden; c += kEmbedThreads * 4)
    *as<float4>(rows + to + c) = *as_const<float4>(x + from + c);
}
OSS_KERNEL(gather_rows)
