// Replaces CUDA's header of this name when a C++ compiler compiles our kernels. It has the device functions, with the
// same meaning on emulated threads, and the part of the runtime API that kernels/cuda needs.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "test/emu/block.h"
#include "test/emu/guard.h"

// --- the language
// -------------------------------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))  // the headers above use this identifier
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#if defined(__SANITIZE_ADDRESS__)
#define __shared__ static  // ASan puts red zones around these, but not around thread-locals
#else
#define __shared__ static thread_local  // static_shared.h can distinguish these from the host's statics
#endif

#define OSS_EMU_VECTORS(type, name, align2, align4)                              \
  struct alignas(align2) name##2 { type x, y; };                                 \
  struct name##3 { type x, y, z; };                                              \
  struct alignas(align4) name##4 { type x, y, z, w; };                           \
  constexpr name##2 make_##name##2(type x, type y) { return {x, y}; }            \
  constexpr name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; } \
  constexpr name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
OSS_EMU_VECTORS(signed char, char, 2, 4)
OSS_EMU_VECTORS(unsigned char, uchar, 2, 4)
OSS_EMU_VECTORS(short, short, 4, 8)
OSS_EMU_VECTORS(unsigned short, ushort, 4, 8)
OSS_EMU_VECTORS(int, int, 8, 16)
OSS_EMU_VECTORS(unsigned, uint, 8, 16)
OSS_EMU_VECTORS(long long, longlong, 16, 16)
OSS_EMU_VECTORS(unsigned long long, ulonglong, 16, 16)
OSS_EMU_VECTORS(float, float, 8, 16)
OSS_EMU_VECTORS(double, double, 16, 16)
#undef OSS_EMU_VECTORS

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Calls, because cudaLaunchConfig_t has members with two of these names; there they become calls too.
#define threadIdx oss_thread_index()
#define blockIdx oss_block_index()
#define blockDim oss_block_size()
#define gridDim oss_grid_size()
inline const oss::emu::Index& threadIdx { return oss::emu::current->index; }
inline const oss::emu::Index& blockIdx { return oss::emu::running_block.index; }
inline const oss::emu::Index& blockDim { return oss::emu::running_block.grid->threads; }
inline const oss::emu::Index& gridDim { return oss::emu::running_block.grid->blocks; }
constexpr int warpSize = 32;

// --- barriers and warps
// -----------------------------------------------------------------------------------------------

namespace oss::emu {

enum class Pick { kLane, kXor, kUp, kDown };
struct Shuffle {
  uint64_t value;
  int pick, width;
};

// On the hardware the value of an absent lane is undefined; here it is poison.
template <Pick kPick>
void shuffle(void* const* operands, unsigned lanes, const Where&) {
  uint64_t results[kWarpLanes];
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    if ((lanes >> lane & 1) == 0) continue;
    const Shuffle& mine = *static_cast<const Shuffle*>(operands[lane]);
    const int first = lane & ~(mine.width - 1), last = first + mine.width - 1;
    int from = lane;
    if (kPick == Pick::kLane) from = first + (mine.pick & (mine.width - 1));
    if (kPick == Pick::kXor) from = lane ^ mine.pick;
    if (kPick == Pick::kUp) from = lane - mine.pick;
    if (kPick == Pick::kDown) from = lane + mine.pick;
    const bool outside = kPick == Pick::kUp ? from < first : from > last;
    if (outside) from = lane;
    const bool there = from >= 0 && (lanes >> from & 1) != 0;
    results[lane] = there ? static_cast<const Shuffle*>(operands[from])->value : 0xCDCDCDCDCDCDCDCDull;
  }
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    if (lanes >> lane & 1) static_cast<Shuffle*>(operands[lane])->value = results[lane];
  }
}

template <Pick kPick, typename T>
T shuffle(unsigned mask, T value, int pick, int width, Where where) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  Shuffle mine{0, pick, width};
  std::memcpy(&mine.value, &value, sizeof(T));
  collective(mask, shuffle<kPick>, &mine, where);
  std::memcpy(&value, &mine.value, sizeof(T));
  return value;
}

// Combines one value of every lane, in the order of the lanes, and returns the result to all.
template <typename T, T (*kCombine)(T, T)>
T reduce(unsigned mask, T value, Where where) {
  const Operation operation = [](void* const* operands, unsigned lanes, const Where&) {
    const int first = std::countr_zero(lanes);
    T all = *static_cast<const T*>(operands[first]);
    for (int lane = first + 1; lane < kWarpLanes; ++lane) {
      if (lanes >> lane & 1) all = kCombine(all, *static_cast<const T*>(operands[lane]));
    }
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      if (lanes >> lane & 1) *static_cast<T*>(operands[lane]) = all;
    }
  };
  collective(mask, operation, &value, where);
  return value;
}
inline unsigned bit_or(unsigned a, unsigned b) { return a | b; }
inline unsigned bit_and(unsigned a, unsigned b) { return a & b; }
inline unsigned bit_xor(unsigned a, unsigned b) { return a ^ b; }
template <typename T>
T sum_of(T a, T b) {
  return T(std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b));
}
template <typename T>
T smaller(T a, T b) {
  return a < b ? a : b;
}
template <typename T>
T larger(T a, T b) {
  return a > b ? a : b;
}

}  // namespace oss::emu

#define OSS_EMU_HERE ::oss::emu::Where where = ::oss::emu::Where::current()

inline void __syncthreads(OSS_EMU_HERE) { oss::emu::barrier(where); }
inline int __syncthreads_count(int predicate, OSS_EMU_HERE) { return oss::emu::barrier_sum(predicate != 0, where); }
inline int __syncthreads_or(int predicate, OSS_EMU_HERE) { return oss::emu::barrier_sum(predicate != 0, where) != 0; }
inline int __syncthreads_and(int predicate, OSS_EMU_HERE) { return oss::emu::barrier_sum(predicate == 0, where) == 0; }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, OSS_EMU_HERE) {
  oss::emu::collective(mask, nullptr, nullptr, where);
}
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __trap(OSS_EMU_HERE) { oss::emu::fault(oss::emu::kLaunchFailure, "__trap", where); }

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, OSS_EMU_HERE) {
  return oss::emu::shuffle<oss::emu::Pick::kLane>(mask, value, lane, width, where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, OSS_EMU_HERE) {
  return oss::emu::shuffle<oss::emu::Pick::kXor>(mask, value, lanes, width, where);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, OSS_EMU_HERE) {
  return oss::emu::shuffle<oss::emu::Pick::kUp>(mask, value, int(delta), width, where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, OSS_EMU_HERE) {
  return oss::emu::shuffle<oss::emu::Pick::kDown>(mask, value, int(delta), width, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, OSS_EMU_HERE) {
  return oss::emu::reduce<unsigned, oss::emu::bit_or>(mask, predicate != 0 ? 1u << oss::emu::current->lane : 0u, where);
}
inline int __any_sync(unsigned mask, int predicate, OSS_EMU_HERE) {
  return oss::emu::reduce<unsigned, oss::emu::bit_or>(mask, predicate != 0, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, OSS_EMU_HERE) {
  return oss::emu::reduce<unsigned, oss::emu::bit_and>(mask, predicate != 0, where) != 0;
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value, OSS_EMU_HERE) {
  return oss::emu::reduce<unsigned, oss::emu::bit_or>(mask, value, where);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value, OSS_EMU_HERE) {
  return oss::emu::reduce<unsigned, oss::emu::bit_and>(mask, value, where);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value, OSS_EMU_HERE) {
  return oss::emu::reduce<unsigned, oss::emu::bit_xor>(mask, value, where);
}
#define OSS_EMU_REDUCE(type)                                                    \
  inline type __reduce_add_sync(unsigned mask, type value, OSS_EMU_HERE) {      \
    return oss::emu::reduce<type, oss::emu::sum_of<type>>(mask, value, where);  \
  }                                                                             \
  inline type __reduce_min_sync(unsigned mask, type value, OSS_EMU_HERE) {      \
    return oss::emu::reduce<type, oss::emu::smaller<type>>(mask, value, where); \
  }                                                                             \
  inline type __reduce_max_sync(unsigned mask, type value, OSS_EMU_HERE) {      \
    return oss::emu::reduce<type, oss::emu::larger<type>>(mask, value, where);  \
  }
OSS_EMU_REDUCE(int)
OSS_EMU_REDUCE(unsigned)
#undef OSS_EMU_REDUCE

// --- atomics: integers only, because a sum of floats depends on the order in which the threads arrive
// ------

namespace oss::emu {
template <typename T>
using Same = std::type_identity_t<T>;
template <typename T, typename Change>
T atomic_change(T* at, Change change, Where where) {
  static_assert(std::is_integral_v<T>, "no kernel combines floats with atomics");
  check_aligned(at, sizeof(T), where);
  T old = __atomic_load_n(at, __ATOMIC_SEQ_CST);
  while (!__atomic_compare_exchange_n(at, &old, change(old), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
  return old;
}
}  // namespace oss::emu

#define OSS_EMU_ATOMIC(name, expression)                                                   \
  template <typename T>                                                                    \
  T name(T* at, oss::emu::Same<T> value, OSS_EMU_HERE) {                                   \
    return oss::emu::atomic_change(at, [value](T old) -> T { return expression; }, where); \
  }
OSS_EMU_ATOMIC(atomicAdd, T(std::make_unsigned_t<T>(old) + std::make_unsigned_t<T>(value)))
OSS_EMU_ATOMIC(atomicSub, T(std::make_unsigned_t<T>(old) - std::make_unsigned_t<T>(value)))
OSS_EMU_ATOMIC(atomicMax, old > value ? old : value)
OSS_EMU_ATOMIC(atomicMin, old < value ? old : value)
OSS_EMU_ATOMIC(atomicAnd, old& value)
OSS_EMU_ATOMIC(atomicOr, old | value)
OSS_EMU_ATOMIC(atomicXor, old ^ value)
OSS_EMU_ATOMIC(atomicExch, (static_cast<void>(old), value))
OSS_EMU_ATOMIC(atomicInc, old >= value ? T(0) : T(old + 1))
#undef OSS_EMU_ATOMIC
template <typename T>
T atomicCAS(T* at, oss::emu::Same<T> expected, oss::emu::Same<T> value, OSS_EMU_HERE) {
  return oss::emu::atomic_change(at, [=](T old) -> T { return old == expected ? value : old; }, where);
}

// --- arithmetic
// ---------------------------------------------------------------------------------------------------------

template <typename A, typename B>
constexpr auto min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) {
    return T(std::fmin(T(a), T(b)));
  } else {
    return T(a) < T(b) ? T(a) : T(b);
  }
}
template <typename A, typename B>
constexpr auto max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) {
    return T(std::fmax(T(a), T(b)));
  } else {
    return T(a) > T(b) ? T(a) : T(b);
  }
}

template <typename T>
T __ldg(const T* from, OSS_EMU_HERE) {
  oss::emu::check_aligned(from, alignof(T), where);
  return *from;
}
template <typename T>
T __ldcg(const T* from) {
  const oss::emu::PastL1 read(true);
  return *from;
}
template <typename T>
T __ldcs(const T* from) {
  return *from;
}

inline int __popc(unsigned v) { return std::popcount(v); }
inline int __popcll(unsigned long long v) { return std::popcount(v); }
inline int __clz(int v) { return std::countl_zero(unsigned(v)); }
inline int __clzll(long long v) { return std::countl_zero((unsigned long long)(v)); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline unsigned __brev(unsigned v) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= (v >> bit & 1) << (31 - bit);
  return reversed;
}
// Bytes 0-3 come from `a`, 4-7 from `b`; a selector's fourth bit copies the byte's sign instead.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selectors) {
  const uint64_t bytes = uint64_t(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned selector = selectors >> (4 * i), byte = unsigned(bytes >> (8 * (selector & 7))) & 0xFF;
    result |= ((selector & 8) != 0 ? ((byte & 0x80) != 0 ? 0xFFu : 0u) : byte) << (8 * i);
  }
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return unsigned((uint64_t(high) << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return unsigned((uint64_t(high) << 32 | low) >> (shift & 31));
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline int __mulhi(int a, int b) { return int(int64_t(a) * b >> 32); }
namespace oss::emu {
__extension__ using Wide = unsigned __int128;
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((oss::emu::Wide)(a)*b >> 64);
}

inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
inline int __float_as_int(float v) { return std::bit_cast<int>(v); }
inline float __uint_as_float(unsigned v) { return std::bit_cast<float>(v); }
inline float __int_as_float(int v) { return std::bit_cast<float>(v); }
inline long long __double_as_longlong(double v) { return std::bit_cast<long long>(v); }
inline double __longlong_as_double(long long v) { return std::bit_cast<double>(v); }
inline float __double2float_rn(double v) { return float(v); }
inline int __float2int_rn(float v) { return int(std::nearbyint(v)); }
inline int __float2int_rz(float v) { return int(v); }
inline unsigned __float2uint_rn(float v) { return unsigned(std::nearbyint(v)); }
inline float __int2float_rn(int v) { return float(v); }
inline float __uint2float_rn(unsigned v) { return float(v); }
inline double __int2double_rn(int v) { return v; }
inline double __uint2double_rn(unsigned v) { return v; }
inline int __double2int_rn(double v) { return int(std::nearbyint(v)); }
inline int __double2int_rz(double v) { return int(v); }

// These round as the expression does, because the emulator is compiled without contraction.
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float v) { return 1.0f / v; }
inline float __fsqrt_rn(float v) { return std::sqrt(v); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline double __dsqrt_rn(double v) { return std::sqrt(v); }

// Approximate on the device; here as exact as on the host.
inline float __expf(float v) { return std::exp(v); }
inline float __exp10f(float v) { return std::pow(10.0f, v); }
inline float __logf(float v) { return std::log(v); }
inline float __log2f(float v) { return std::log2(v); }
inline float __log10f(float v) { return std::log10(v); }
inline float __powf(float a, float b) { return std::pow(a, b); }
inline float __sinf(float v) { return std::sin(v); }
inline float __cosf(float v) { return std::cos(v); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frsqrt_rn(float v) { return float(1.0 / std::sqrt(double(v))); }
inline float rsqrtf(float v) { return float(1.0 / std::sqrt(double(v))); }
inline double rsqrt(double v) { return 1.0 / std::sqrt(v); }
inline float __saturatef(float v) { return std::fmin(std::fmax(v, 0.0f), 1.0f); }

// --- the runtime's API
// --------------------------------------------------------------------------------------------------

enum cudaError {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorMisalignedAddress = 716,
  cudaErrorLaunchFailure = 719,
  cudaErrorNotSupported = 801,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorStreamCaptureUnmatched = 903,
  cudaErrorStreamCaptureIsolation = 905,
  cudaErrorCapturedEvent = 907,
  cudaErrorUnknown = 999,
};
using cudaError_t = cudaError;

using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor;
  int multiProcessorCount;
  int l2CacheSize;
  size_t sharedMemPerBlock, sharedMemPerBlockOptin;
};
struct cudaFuncAttributes {
  int maxThreadsPerBlock, maxDynamicSharedSizeBytes;
  int ptxVersion;  // 10 * major + minor of the architecture that the kernel was compiled for
};
enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout = 9,
};
constexpr int cudaSharedmemCarveoutMaxShared = 100;
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
enum cudaMemcpyKind { cudaMemcpyDefault = 4 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
constexpr unsigned cudaHostAllocDefault = 0, cudaStreamNonBlocking = 1, cudaEventDefault = 0,
                   cudaEventDisableTiming = 2;

enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization = 6 };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    int programmaticStreamSerializationAllowed;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 grid_size, block_size;
  dim3& gridDim { return grid_size; }
  dim3& blockDim { return block_size; }
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

const char* cudaGetErrorString(cudaError_t);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int*);
cudaError_t cudaRuntimeGetVersion(int*);
cudaError_t cudaGetDeviceCount(int*);
cudaError_t cudaGetDevice(int*);
cudaError_t cudaSetDevice(int);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int device);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void* kernel);
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value);
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes);
cudaError_t cudaMalloc(void**, size_t);
cudaError_t cudaFree(void*);
cudaError_t cudaHostAlloc(void**, size_t, unsigned flags);
cudaError_t cudaFreeHost(void*);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemsetAsync(void* to, int byte, size_t, cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventElapsedTime(float*, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);

namespace oss::emu {
// The arguments must be valid as long as `body`.
cudaError_t queue_launch(const cudaLaunchConfig_t&, const void* kernel, std::function<void()> body, Arguments);
}  // namespace oss::emu

template <typename... Params, typename... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...), Args&&... args) {
  const auto values = std::make_shared<const std::tuple<std::remove_cvref_t<Params>...>>(std::forward<Args>(args)...);
  const auto bytes = [](const auto&... value) {
    return oss::emu::Arguments{{reinterpret_cast<const unsigned char*>(&value), sizeof(value)}...};
  };
  return oss::emu::queue_launch(
      *config, reinterpret_cast<const void*>(kernel), [kernel, values] { std::apply(kernel, *values); },
      std::apply(bytes, *values));
}
