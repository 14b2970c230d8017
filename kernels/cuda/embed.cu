// Embedding:  x[t] = table[tokens[t]]          Gathering:  rows[r] = x[logit_tokens[r]]
//   table  [vocab, hidden]  bf16      x  [tokens, hidden]  f32      rows  [rows, hidden]  f32      hidden % 8 == 0
//
// Traffic 6 and 8 bytes per value; one row is 17 and 23 KB, so the launch dominates the cost.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/convert.cuh"

namespace oss::cuda {
namespace {

constexpr int kThreads = 384;  // 2880 values are 360 groups of eight

// One block per token, eight values per thread and iteration.
__global__ void embed_kernel(EmbedArgs args, DeviceStep step, const bf16* table /*[vocab, hidden]*/,
                             float* x /*[tokens, hidden]*/) {
  const int token = blockIdx.x;
  if (token >= step.counts->tokens) return;
  const int given = step.tokens[token], id = given >= 0 ? given : step.drawn[-1 - given].token;
  const uint4* from = reinterpret_cast<const uint4*>(table + size_t(id) * args.hidden);
  float4* to = reinterpret_cast<float4*>(x + size_t(token) * args.hidden);
  for (int i = threadIdx.x; i < args.hidden / 8; i += kThreads) {
    const uint4 eight = from[i];
    to[2 * i] = {low_bf16(eight.x), high_bf16(eight.x), low_bf16(eight.y), high_bf16(eight.y)};
    to[2 * i + 1] = {low_bf16(eight.z), high_bf16(eight.z), low_bf16(eight.w), high_bf16(eight.w)};
  }
}

// One block per row, four values per thread and iteration.
__global__ void gather_rows_kernel(EmbedArgs args, const StepCounts* counts, const int32_t* logit_tokens /*[rows]*/,
                                   const float* x /*[tokens, hidden]*/, float* rows /*[rows, hidden]*/) {
  const int row = blockIdx.x;
  if (row >= counts->rows) return;
  const float4* from = reinterpret_cast<const float4*>(x + size_t(logit_tokens[row]) * args.hidden);
  float4* to = reinterpret_cast<float4*>(rows + size_t(row) * args.hidden);
  for (int i = threadIdx.x; i < args.hidden / 4; i += kThreads) to[i] = from[i];
}

}  // namespace

Status embed(const EmbedArgs& args, const DeviceStep& step, const bf16* table, float* x, Stream stream) {
  if (args.hidden % 8 != 0) return cudaErrorInvalidValue;
  return launch(embed_kernel, {.grid = dim3(args.tokens), .block = dim3(kThreads), .stream = stream}, args, step, table,
                x);
}

Status gather_rows(const EmbedArgs& args, const DeviceStep& step, const float* x, float* rows, Stream stream) {
  if (args.hidden % 8 != 0) return cudaErrorInvalidValue;
  return launch(gather_rows_kernel, {.grid = dim3(args.tokens), .block = dim3(kThreads), .stream = stream}, args,
                step.counts, step.logit_tokens, x, rows);
}

}  // namespace oss::cuda
