// Embedding:  x[t] = table[token_ids[t]]          Gathering:  rows[r] = x[logit_tokens[r]]
//   table  [vocab, hidden]  bf16      x  [tokens, hidden]  f32      rows  [rows, hidden]  f32      hidden % 4 == 0
// A negative id is -1 - r: the token that row r of the previous step has drawn, which the host need not know yet.
//
// Traffic 6 and 8 bytes per value; one row is 17 and 23 KB, so the dispatch dominates the cost.
#include "kernels/metal/embed.h"

#include "kernels/common/dtype.h"
#include "kernels/metal/lang.h"
#include "kernels/metal/step.h"

using namespace oss;

// One threadgroup per token, four values per thread and iteration: weights are aligned to 8 bytes.
kernel void embed(constant EmbedLaunch& args [[buffer(0)]], DevicePtr<const int> token_ids [[buffer(1)]],
                  DevicePtr<const SampleResult> drawn [[buffer(2)]], DevicePtr<const ushort> table [[buffer(3)]],
                  DevicePtr<float> x [[buffer(4)]], OSS_POSITION) {
  const int given = token_ids[group.x];
  int id = given;
  if (given < 0) id = drawn[-1 - given].token;
  const ulong from = ulong(id) * ulong(args.hidden), to = ulong(group.x) * ulong(args.hidden);
  for (int c = int(index) * 4; c < args.hidden; c += kEmbedThreads * 4) {
    const ushort4 four = *as_const<ushort4>(table + from + c);
    *as<float4>(x + to + c) =
        float4(bf16_to_f32(four.x), bf16_to_f32(four.y), bf16_to_f32(four.z), bf16_to_f32(four.w));
  }
}
OSS_KERNEL(embed)

// One threadgroup per row.
kernel void gather_rows(constant EmbedLaunch& args [[buffer(0)]], DevicePtr<const int> logit_tokens [[buffer(1)]],
                        DevicePtr<const float> x [[buffer(2)]], DevicePtr<float> rows [[buffer(3)]], OSS_POSITION) {
  const ulong from = ulong(logit_tokens[group.x]) * ulong(args.hidden), to = ulong(group.x) * ulong(args.hidden);
  for (int c = int(index) * 4; c < args.hidden; c += kEmbedThreads * 4)
    *as<float4>(rows + to + c) = *as_const<float4>(x + from + c);
}
OSS_KERNEL(gather_rows)
