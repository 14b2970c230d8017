// Tests that the emulator finds the faults that it should find. Some kernels here are wrong on purpose.
#include <cstring>
#include <random>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx/bulk_copy.cuh"
#include "kernels/cuda/ptx/convert.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/memory.cuh"
#include "kernels/cuda/ptx/mma.cuh"
#include "kernels/cuda/warp.cuh"
#include "test/emu/emulated.h"
#include "test/kernels/gpu/values.h"

namespace oss::test {
namespace {

using cuda::dynamic_shared;
using cuda::launch;

// A kernel that must fail: the launch succeeds, the first wait returns the status, and the status stays.
template <typename... Params, typename... Args>
void check_fault(int status, const std::string& part, void (*kernel)(Params...), const cuda::Launch& how,
                 Args... args) {
  with_emulated([&](CudaDevice& device) {
    cuda::Launch on = how;
    on.stream = device.stream;
    CHECK_EQ(launch(kernel, on, args...), 0);
    CHECK_EQ(device.module.synchronize(device.stream), status);
    CHECK_EQ(device.module.synchronize(device.stream), status);
    check_contains(emu::last_fault(), part);
    check_contains(emu::last_fault(), "emu_test.cpp:");
  });
}

// --- barriers
// -----------------------------------------------------------------------------------------------------------

// Every thread reads the value that its neighbour in the next warp has written.
template <bool kBarrier>
__global__ void rotate_kernel(int* out) {
  int* values = dynamic_shared<int>();
  const int i = int(threadIdx.x), n = int(blockDim.x);
  values[i] = i;
  if constexpr (kBarrier) __syncthreads();
  out[blockIdx.x * n + i] = values[(i + 32) % n];
}

template <bool kBarrier>
std::vector<int> rotated(unsigned seed) {
  std::vector<int> result;
  with_emulated(
      [&](CudaDevice& device) {
        DeviceArray<int> out(device, 4 * 96);
        const cuda::Launch how = {.grid = 4, .block = 96, .shared = 96 * sizeof(int), .stream = device.stream};
        device.check(launch(rotate_kernel<kBarrier>, how, out.data()), "rotate");
        result = out.read();
      },
      seed);
  return result;
}

TEST("emu: a missing barrier changes results with the schedule") {
  CHECK(rotated<true>(0) == rotated<true>(1));
  CHECK(rotated<true>(0) == rotated<true>(2));
  CHECK(rotated<true>(0)[31] == 63);
  CHECK(rotated<false>(0) != rotated<false>(1));
  CHECK(rotated<false>(0) != rotated<true>(0));
  CHECK(rotated<false>(1) == rotated<false>(1));  // a seed is repeatable
}

__global__ void different_barriers_kernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void barrier_without_all_kernel() {
  if (threadIdx.x == 5) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}
__global__ void divergent_shuffle_kernel(int* out) {
  const int lane = int(threadIdx.x);
  if (lane < 16) {
    *out = __shfl_xor_sync(0xFFFFFFFFu, lane, 1);
  } else {
    *out = __shfl_xor_sync(0xFFFFFFFFu, lane, 2);
  }
}
__global__ void not_in_mask_kernel() { __syncwarp(0xFFFF0000u); }
__global__ void misaligned_kernel(const uint32_t* from, uint32_t* to) {
  *to = cuda::load_streaming(reinterpret_cast<const uint4*>(from + 1)).x;
}
__global__ void matrix_in_part_of_a_warp_kernel() {
  if (threadIdx.x == 3) return;
  float d[4] = {};
  cuda::mma_m16n8k16(d, {0, 0, 0, 0}, {0, 0});
}

TEST("emu: threads that wait for different things are a fault with a place, not a hang") {
  check_fault(cudaErrorLaunchFailure, "other threads of the block wait at another", different_barriers_kernel,
              {.grid = 1, .block = 64});
  check_fault(cudaErrorLaunchFailure, "deadlock", barrier_without_all_kernel, {.grid = 1, .block = 64});
  check_fault(cudaErrorLaunchFailure, "other lanes wait at another", divergent_shuffle_kernel, {.grid = 1, .block = 32},
              static_cast<int*>(nullptr));
  check_fault(cudaErrorLaunchFailure, "not in the mask", not_in_mask_kernel, {.grid = 1, .block = 32});
  check_fault(cudaErrorLaunchFailure, "whose other lanes have ended", matrix_in_part_of_a_warp_kernel,
              {.grid = 1, .block = 32});
  alignas(16) uint32_t words[8] = {};
  check_fault(cudaErrorMisalignedAddress, "misaligned", misaligned_kernel, {.grid = 1, .block = 1}, words, words);
}

__global__ void fault_in_one_block_kernel() {
  if (blockIdx.x == 2 && blockIdx.y == 1 && threadIdx.x == 7) __trap();
  __syncthreads();
}

TEST("emu: a fault names its block and thread, and the next block runs again") {
  check_fault(cudaErrorLaunchFailure, "[block (2, 1, 0), thread (7, 0, 0)]", fault_in_one_block_kernel,
              {.grid = dim3(4, 2), .block = 40});
  CHECK(rotated<true>(0)[0] == 32);
}

// Barriers do not wait for threads that have ended.
__global__ void early_end_kernel(int* out) {
  if (threadIdx.x % 3 == 0) return;
  const unsigned there = __ballot_sync(0xFFFFFFFFu, 1);
  const int count = __syncthreads_count(threadIdx.x >= 32);
  if (threadIdx.x % 32 == 2) {
    out[threadIdx.x / 32 * 2] = int(there);
    out[threadIdx.x / 32 * 2 + 1] = count;
  }
}
TEST("emu: ended threads block neither barriers nor warps") {
  for_each_cuda_device([](CudaDevice& device) {
    if (device.name.find("emulated") != 0) return;
    DeviceArray<int> out(device, 4);
    device.check(launch(early_end_kernel, {.grid = 1, .block = 64, .stream = device.stream}, out.data()), "early_end");
    const std::vector<int> values = out.read();
    for (int warp = 0; warp < 2; ++warp) {
      unsigned expected = 0;
      for (int lane = 0; lane < 32; ++lane) expected |= (warp * 32 + lane) % 3 != 0 ? 1u << lane : 0u;
      CHECK_EQ(unsigned(values[size_t(warp * 2)]), expected);
      CHECK_EQ(values[size_t(warp * 2 + 1)], 21);  // of 32 .. 63, those not divisible by 3
    }
  });
}

#if !defined(__SANITIZE_ADDRESS__)
template <typename T>
__device__ T left_behind(T value) {
  __shared__ T kept;
  const T before = kept;
  kept = value;
  return before;
}
__global__ void left_behind_kernel(int* out) {
  __shared__ int counts[3];
  out[blockIdx.x * 2] = counts[2]++;
  out[blockIdx.x * 2 + 1] = left_behind(7);
}
TEST("emu: shared arrays are poisoned when a block begins") {
  with_emulated([&](CudaDevice& device) {
    DeviceArray<int> out(device, 4);
    device.check(launch(left_behind_kernel, {.grid = 2, .block = 1, .stream = device.stream}, out.data()),
                 "left_behind");
    CHECK(out.read() == std::vector<int>(4, int(0xCDCDCDCDu)));
  });
}

// ASan would end the program here.
__global__ void overrun_kernel(int at) { dynamic_shared<int>()[at] = 1; }
TEST("emu: a write past dynamic shared memory is found even without ASan") {
  for (const int at : {-1, 8}) {
    with_emulated([&](CudaDevice& device) {
      CHECK_EQ(launch(overrun_kernel, {.grid = 1, .block = 1, .shared = 32, .stream = device.stream}, at), 0);
      CHECK_EQ(device.module.synchronize(device.stream), int(cudaErrorIllegalAddress));
    });
  }
}
#endif

// --- warps
// --------------------------------------------------------------------------------------------------------------

__global__ void shuffles_kernel(int* out) {
  const int lane = int(threadIdx.x);
  int* mine = out + lane * 10;
  mine[0] = __shfl_sync(0xFFFFFFFFu, lane, 5);
  mine[1] = __shfl_sync(0xFFFFFFFFu, lane, lane + 1, 8);
  mine[2] = __shfl_xor_sync(0xFFFFFFFFu, lane, 3);
  mine[3] = __shfl_up_sync(0xFFFFFFFFu, lane, 2);
  mine[4] = __shfl_down_sync(0xFFFFFFFFu, lane, 2, 16);
  mine[5] = int(__ballot_sync(0xFFFFFFFFu, lane % 2));
  mine[6] = __reduce_add_sync(0xFFFFFFFFu, lane);
  mine[7] = __reduce_max_sync(0xFFFFFFFFu, -lane);
  mine[8] = int(cuda::warp_sum(double(lane)));
  // The halves of a warp diverge.
  if (lane < 16) {
    mine[9] = __shfl_xor_sync(0x0000FFFFu, lane, 15);
  } else {
    mine[9] = __reduce_min_sync(0xFFFF0000u, lane);
  }
}
TEST("emu: shuffles, votes and reductions") {
  for_each_cuda_device([](CudaDevice& device) {
    if (device.name.find("emulated") != 0) return;
    DeviceArray<int> out(device, 320);
    device.check(launch(shuffles_kernel, {.grid = 1, .block = 32, .stream = device.stream}, out.data()), "shuffles");
    const std::vector<int> values = out.read();
    for (int lane = 0; lane < 32; ++lane) {
      const int* mine = &values[size_t(lane) * 10];
      CHECK_EQ(mine[0], 5);
      CHECK_EQ(mine[1], lane / 8 * 8 + (lane + 1) % 8);
      CHECK_EQ(mine[2], lane ^ 3);
      CHECK_EQ(mine[3], lane < 2 ? lane : lane - 2);
      CHECK_EQ(mine[4], lane % 16 >= 14 ? lane : lane + 2);
      CHECK_EQ(unsigned(mine[5]), 0xAAAAAAAAu);
      CHECK_EQ(mine[6], 496);
      CHECK_EQ(mine[7], 0);
      CHECK_EQ(mine[8], 496);
      CHECK_EQ(mine[9], lane < 16 ? 15 - lane : 16);
    }
  });
}

// Gathers fragments with separate formulas from the PTX ISA, not with the code of matrix.cpp.
__global__ void mma_kernel(const uint16_t* a /*[16, 16]*/, const uint16_t* b /*[16, 8]*/, float* d /*[16, 8]*/) {
  const int group = int(threadIdx.x) >> 2, in_group = int(threadIdx.x) & 3;
  uint32_t ar[4] = {}, br[2] = {};
  for (int i = 0; i < 8; ++i) {
    const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8, col = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
    ar[i / 2] |= uint32_t(a[row * 16 + col]) << (i & 1) * 16;
  }
  for (int i = 0; i < 4; ++i) {
    const int row = in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0), col = group;
    br[i / 2] |= uint32_t(b[row * 8 + col]) << (i & 1) * 16;
  }
  float dr[4];
  for (int i = 0; i < 4; ++i) dr[i] = d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  cuda::mma_m16n8k16(dr, ar, br);
  for (int i = 0; i < 4; ++i) d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = dr[i];
}

TEST("emu: mma is a matrix product") {
  for_each_cuda_device([](CudaDevice& device) {
    if (device.name.find("emulated") != 0) return;
    const std::vector<float> a = bf16_values(256, 1), b = bf16_values(128, 2), d = bf16_values(128, 3);
    DeviceArray<uint16_t> da(device, to_bf16(a)), db(device, to_bf16(b));
    DeviceArray<float> dd(device, d);
    device.check(launch(mma_kernel, {.grid = 1, .block = 32, .stream = device.stream}, da.data(), db.data(), dd.data()),
                 "mma");
    std::vector<double> expected(128);
    for (size_t row = 0; row < 16; ++row) {
      for (size_t col = 0; col < 8; ++col) {
        double sum = d[row * 8 + col];
        for (size_t k = 0; k < 16; ++k) sum += double(a[row * 16 + k]) * b[k * 8 + col];
        expected[row * 8 + col] = sum;
      }
    }
    CHECK_CLOSE("mma", dd.read().data(), expected.data(), 128, 0, 16 * 0x1p-24);
  });
}

template <bool kTransposed>
__global__ void ldmatrix_kernel(const uint16_t* matrices /*[4, 8, 8]*/, uint32_t* out /*[32, 4]*/) {
  uint16_t* shared = dynamic_shared<uint16_t>();
  for (int i = int(threadIdx.x); i < 256; i += 32) shared[i] = matrices[i];
  __syncwarp();
  uint32_t r[4];
  if constexpr (kTransposed) {
    cuda::ldmatrix_x4_trans(r, shared + threadIdx.x * 8);
  } else {
    cuda::ldmatrix_x4(r, shared + threadIdx.x * 8);
  }
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + unsigned(i)] = r[i];
}

TEST("emu: ldmatrix distributes rows or columns") {
  for_each_cuda_device([](CudaDevice& device) {
    if (device.name.find("emulated") != 0) return;
    std::vector<uint16_t> matrices(256);
    for (size_t i = 0; i < 256; ++i) matrices[i] = uint16_t(i);  // matrix * 64 + row * 8 + column
    DeviceArray<uint16_t> in(device, matrices);
    DeviceArray<uint32_t> plain(device, 128), transposed(device, 128);
    const cuda::Launch how = {.grid = 1, .block = 32, .shared = 512, .stream = device.stream};
    device.check(launch(ldmatrix_kernel<false>, how, in.data(), plain.data()), "ldmatrix");
    device.check(launch(ldmatrix_kernel<true>, how, in.data(), transposed.data()), "ldmatrix transposed");
    const std::vector<uint32_t> rows = plain.read(), columns = transposed.read();
    for (uint32_t lane = 0; lane < 32; ++lane) {
      for (uint32_t m = 0; m < 4; ++m) {
        const uint32_t row = m * 64 + lane / 4 * 8 + lane % 4 * 2, column = m * 64 + lane % 4 * 16 + lane / 4;
        CHECK_EQ(rows[lane * 4 + m], row | (row + 1) << 16);
        CHECK_EQ(columns[lane * 4 + m], column | (column + 8) << 16);
      }
    }
  });
}

// --- small instructions
// -------------------------------------------------------------------------------------------------

TEST("emu: conversions round once, to nearest even") {
  CHECK_EQ(cuda::pack_bf16x2(1.0f, -2.0f), 0xC0003F80u);
  CHECK_EQ(cuda::pack_bf16x2(1.00390625f, 1.01171875f), 0x3F823F80u);  // ties
  CHECK_EQ(cuda::pack_bf16x2(NAN, INFINITY), 0x7F807FFFu);
  CHECK_EQ(cuda::scale_bf16x2<cuda::kLowHalf>(0x3F804000u, 0x4000C040u), 0xC040C0C0u);
  CHECK_EQ(cuda::scale_bf16x2<cuda::kHighHalf>(0x3F804000u, 0x4000C040u), 0x40004080u);
  std::mt19937 random(1);
  for (int i = 0; i < 200000; ++i) {
    // Small operands, so that many products are subnormal, with some subnormal operands. The other operand compensates.
    const auto draw = [&] {
      return uint16_t((random() & 0x80FFu) | (random() % 3 == 0 ? random() % 2 : 0x1F + random() % 4) << 8);
    };
    const auto large = [&] { return uint16_t((random() & 0x80FFu) | (0x70 + random() % 8) << 8); };
    const uint16_t a = draw(), b = i % 2 == 0 ? draw() : large();
    const double exact = double(bf16_to_f32(a)) * bf16_to_f32(b);
    const double unit = exact == 0 ? 1 : std::max(std::ldexp(1.0, std::ilogb(exact) - 7), 0x1p-133);
    const float expected = float(std::nearbyint(exact / unit) * unit);
    CHECK_EQ(bf16_to_f32(uint16_t(cuda::scale_bf16x2<cuda::kLowHalf>(a, b))), expected);
    if (bf16_to_f32(uint16_t(cuda::scale_bf16x2<cuda::kLowHalf>(a, b))) != expected) break;
  }
  CHECK_EQ(cuda::exp2_approx(-INFINITY), 0.0f);
  CHECK_EQ(cuda::exp2_approx(-127.0f), 0.0f);
  CHECK_EQ(cuda::exp2_approx(3.0f), 8.0f);
  CHECK_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x7520u), 0x77552200u);
  CHECK_EQ(__byte_perm(0x33221180u, 0, 0x8u), 0x808080FFu);
}

// --- asynchronous copies
// ------------------------------------------------------------------------------------------------

// Two groups; kPending is the number that may be pending when they are read.
template <int kPending>
__global__ void async_kernel(const int* from, int* out) {
  int* shared = dynamic_shared<int>();
  for (int group = 0; group < 2; ++group) {
    cuda::cp_async_16(shared + group * 4, from + group * 4, group == 0);
    cuda::cp_async_commit();
  }
  cuda::cp_async_wait<kPending>();
  for (int i = 0; i < 8; ++i) out[i] = shared[i];
}

TEST("emu: an asynchronous copy arrives at its wait and not before") {
  with_emulated([](CudaDevice& device) {
    DeviceArray<int> in(device, std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8}), out(device, 8);
    const cuda::Launch how = {.grid = 1, .block = 1, .shared = 32, .stream = device.stream};
    const int poison = int(0xCDCDCDCDu);
    device.check(launch(async_kernel<0>, how, in.data(), out.data()), "async");
    CHECK(out.read() == std::vector<int>({1, 2, 3, 4, 0, 0, 0, 0}));
    device.check(launch(async_kernel<1>, how, in.data(), out.data()), "async");
    CHECK(out.read() == std::vector<int>({1, 2, 3, 4, poison, poison, poison, poison}));
    device.check(launch(async_kernel<2>, how, in.data(), out.data()), "async");
    CHECK(out.read() == std::vector<int>(8, poison));
  });
}

// --- copies of runs, and launches that start early
// ------------------------------------------------------------------

// One warp uses two slots in turn for `runs` runs of 512 bytes; out[i] = 1 + in[i].
enum class Ring { kRight, kNoWait, kTooEarly, kWrongBytes, kLeft, kTooLong };
template <Ring kRing>
__global__ void ring_kernel(int runs, const int* in, int* out) {
  constexpr int kRun = 128;
  int* slots = dynamic_shared<int>();
  cuda::CopyBarrier* barriers = reinterpret_cast<cuda::CopyBarrier*>(slots + 2 * kRun);
  const int lane = int(threadIdx.x);
  if (lane < 2) cuda::init_copies(barriers + lane);
  __syncwarp();
  const auto start = [&](int run) {
    if (run >= runs) return;
    const cuda::Run whole{slots + run % 2 * kRun, in + run * kRun, 512};
    if (kRing == Ring::kTooLong) return cuda::copy_runs(barriers, {slots, in, cuda::kMostRunBytes + 16});
    if (kRing != Ring::kWrongBytes) return cuda::copy_runs(barriers + run % 2, whole);
    if (lane != 0) return;
    emu::begin_copies(barriers + run % 2, 496, emu::Where::current());
    emu::copy_run(barriers + run % 2, whole.to, whole.from, whole.bytes, emu::Where::current());
  };
  start(0);
  start(1);
  for (int run = 0; run < runs - (kRing == Ring::kLeft ? 1 : 0); ++run) {
    if (kRing != Ring::kNoWait) cuda::wait_copies(barriers + run % 2, run / 2 % 2);
    if (kRing == Ring::kTooEarly) start(run + 2);
    for (int i = 0; i < 4; ++i)
      out[run * kRun + i * 32 + lane] = 1 + slots[run % 2 * kRun + (i * 32 + lane + 7) % kRun];
    if (kRing == Ring::kTooEarly) continue;
    __syncwarp();
    start(run + 2);
  }
}

template <Ring kRing>
std::vector<int> run_ring(CudaDevice& device) {
  constexpr int kRuns = 5;
  std::vector<int> values(kRuns * 128);
  for (size_t i = 0; i < values.size(); ++i) values[i] = int(i);
  const DeviceArray<int> in(device, values);
  DeviceArray<int> out(device, values.size());
  CHECK_EQ(launch(ring_kernel<kRing>, {.grid = 1, .block = 32, .shared = 2 * 512 + 16, .stream = device.stream}, kRuns,
                  in.data(), out.data()),
           0);
  return out.read();
}

TEST("emu: copies of runs arrive at their wait, in free slots") {
  for (const unsigned seed : {0u, 1u, 2u}) {
    with_emulated(
        [](CudaDevice& device) {
          const std::vector<int> right = run_ring<Ring::kRight>(device);
          for (size_t i = 0; i < right.size(); ++i) {
            const size_t expected = i / 128 * 128 + (i % 128 + 7) % 128 + 1;
            if (right[i] != int(expected)) return fail(__FILE__, __LINE__, str("at ", i, ": ", right[i]));
          }
          CHECK(run_ring<Ring::kTooEarly>(device) != right);
        },
        seed);
  }
  with_emulated([](CudaDevice& device) {
    CHECK_THROWS(Code::kDevice, "before the last ones were waited for", run_ring<Ring::kNoWait>(device));
    emu::reset();
    CHECK_THROWS(Code::kDevice, "not of the bytes that were announced", run_ring<Ring::kWrongBytes>(device));
    emu::reset();
    CHECK_THROWS(Code::kDevice, "under way", run_ring<Ring::kLeft>(device));
    emu::reset();
    CHECK_THROWS(Code::kDevice, "longer than its instruction can say", run_ring<Ring::kTooLong>(device));
  });
}

__global__ void write_kernel(int value, int* to) { to[threadIdx.x] = value; }

enum class Early { kRight, kReads, kThroughL1, kCopies, kWrites, kNeverWaits, kLetsInFirst };
template <Early kEarly>
__global__ void early_kernel(const int* weights, const int* before_last, cuda::Earlier<const int> last,
                             const int* leaked, int* to) {
  int sum = __ldcg(weights + threadIdx.x);
  sum += kEarly == Early::kThroughL1 ? before_last[threadIdx.x] : __ldcg(before_last + threadIdx.x);
  if (kEarly == Early::kReads && threadIdx.x == 5) sum += leaked[threadIdx.x];
  if (kEarly == Early::kCopies) cuda::cp_async_16(dynamic_shared<int>() + 4 * threadIdx.x, leaked);
  if (kEarly == Early::kWrites) to[threadIdx.x] = sum;
  if (kEarly == Early::kNeverWaits && threadIdx.x == 9) return;
  if (kEarly == Early::kLetsInFirst) cuda::grid_dependency_launch();
  const cuda::Waited waited = cuda::wait_for_earlier();
  to[threadIdx.x] = sum + last(waited)[threadIdx.x];
}

template <Early kEarly>
int run_early(CudaDevice& device, int compute_major = 9) {
  emu::Machine machine;
  machine.compute_major = compute_major;
  emu::set_machine(machine);
  const DeviceArray<int> weights(device, std::vector<int>(32, 1));
  DeviceArray<int> before_last(device, 32), last(device, 32), to(device, 32);
  device.check(launch(write_kernel, {.grid = 1, .block = 32, .stream = device.stream}, 10, before_last.data()),
               "first");
  device.check(launch(early_kernel<Early::kRight>, {.grid = 1, .block = 32, .stream = device.stream}, weights.data(),
                      weights.data(), before_last.data(), before_last.data(), last.data()),
               "second");
  device.check(launch(early_kernel<kEarly>, {.grid = 2, .block = 32, .shared = 512, .stream = device.stream},
                      weights.data(), before_last.data(), last.data(), last.data(), to.data()),
               "third");
  return to.read()[31];
}

TEST("emu: an early launch that accesses memory too early is a fault") {
  with_emulated([](CudaDevice& device) {
    CHECK_EQ(run_early<Early::kRight>(device), 1 + 10 + 12);
    CHECK_EQ(run_early<Early::kReads>(device, 8), 1 + 10 + 12);  // for launches that follow each other
    CHECK_THROWS(Code::kDevice, "a thread touches what the launch before", run_early<Early::kReads>(device));
    check_contains(emu::last_fault(), "[block (0, 0, 0), thread (5, 0, 0)]");
    CHECK_THROWS(Code::kDevice, "a thread touches what the launch before", run_early<Early::kCopies>(device));
    CHECK_THROWS(Code::kDevice, "a thread reads through L1 before", run_early<Early::kThroughL1>(device));
    CHECK_THROWS(Code::kDevice, "a thread writes to global memory before", run_early<Early::kWrites>(device));
    CHECK_THROWS(Code::kDevice, "ends without having waited", run_early<Early::kNeverWaits>(device));
    CHECK_THROWS(Code::kDevice, "let in by a thread that has not waited", run_early<Early::kLetsInFirst>(device));
  });
}

}  // namespace
}  // namespace oss::test
