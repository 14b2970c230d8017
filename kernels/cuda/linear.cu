// Linear:  y[t,o] (=|+=) Σ_k (x[t,k] + x_low[t,k]) · w[o,k] + bias[o]
//   x, x_low  [rows, in]  bf16      w  [out, in]  bf16, packed in kRowsPlain
//   bias  [out]  f32 or null      y  [rows, out]  f32
//
// Traffic: up to about 100 rows, only the weights count, 2·in·out bytes (o 23.6 MB, head 1.16 GB); from 300 on the
// arithmetic, 2·rows·in·out. With `accumulate` y is read too: the sum is added to the residual stream in place.
//
// norm_linear is rms_norm and linear in one launch for steps of few tokens, with 16 bits of each normed value.
#include "kernels/cuda/matrix_stream.cuh"

namespace oss::cuda {
namespace {

struct LinearEpilogue {
  int out;
  bool accumulate;
  const float* bias;  // [out] or null
  float* y;           // [rows, out]

  __device__ __forceinline__ void prefetch(int first_row_tile, int end_row_tile) const {
    const int first = first_row_tile * kRowTile, end = min(end_row_tile * kRowTile, out);
    if (bias != nullptr) prefetch_lines(bias + first, size_t(end - first) * sizeof(float));
  }
  __device__ __forceinline__ void store(int o, int token, float sum) const {
    if (o >= out) return;
    float* to = y + size_t(token) * out + o;
    if (bias != nullptr) sum += bias[o];
    *to = accumulate ? *to + sum : sum;
  }
  __device__ __forceinline__ void operator()(int row_tile, int row, int token, float low, float high) const {
    store(row_tile * kRowTile + row, token, low);
    store(row_tile * kRowTile + row + 8, token, high);
  }
};

}  // namespace

Status linear(const LinearArgs& args, const int32_t* num_rows, const bf16* x, const bf16* x_low, const void* w,
              const float* bias, float* y, const Prefetch& next, Stream stream) {
  const PackedMatrix packed = {static_cast<const uint4*>(w), divide_up(args.out, kRowTile), args.in / kMatrixColTile};
  const LinearEpilogue epilogue{args.out, args.accumulate != 0, bias, y};
  const auto multiply_columns = [&]<bool kPaired>(const Columns<kPaired>& columns) {
    const int count = columns.count(args.rows);
    const MatrixStream plan = plan_matrix_stream(packed.row_tiles, args.in, count, resources());
    if (count == 0 || plan.blocks == 0) return multiply(packed, args.rows, num_rows, columns, epilogue, stream);
    return multiply_stream<kPaired>(packed, plan, count, num_rows, x, GivenRows<kPaired>{x_low}, epilogue, next,
                                    stream);
  };
  if (x_low == nullptr) return multiply_columns(Columns<false>{x, nullptr});
  return multiply_columns(Columns<true>{x, x_low});
}

Status norm_linear(const LinearArgs& args, float eps, const int32_t* num_rows, const float* x, const float* norm,
                   const void* w, const float* bias, bf16* normed, float* y, Stream stream) {
  if (args.rows == 0) return cudaSuccess;
  const PackedMatrix packed = {static_cast<const uint4*>(w), divide_up(args.out, kRowTile), args.in / kMatrixColTile};
  const int columns = Columns<true>::count(args.rows);
  const MatrixStream plan = plan_matrix_stream(packed.row_tiles, args.in, min(columns, kStreamColumns), resources());
  if (plan.blocks == 0) return cudaErrorInvalidValue;
  return multiply_stream<true>(packed, plan, columns, num_rows, x, NormedRows<true>{norm, eps, normed},
                               LinearEpilogue{args.out, args.accumulate != 0, bias, y}, {}, stream);
}

}  // namespace oss::cuda
