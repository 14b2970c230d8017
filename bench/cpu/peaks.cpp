// Compiled with -march=native: the compiler's macros for the processor select the loops. This file uses nothing of std.
// Its templates would be compiled with these instructions, and other files could be linked with them.
#include "bench/cpu/peaks.h"

#if defined(__AVX2__)
#include <immintrin.h>
#define OSS_KEEP(value) __asm__ volatile("" : "+x"(value))
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#define OSS_KEEP(value) __asm__ volatile("" : "+w"(value))
#endif
#if defined(__AMX_TILE__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace oss::bench {
namespace {

// A unit: the type of its sums, the type of its factors (both filled with ones), and its instruction.
#if defined(__AVX2__)
constexpr int kSums = 12;  // latency 5, two per cycle: ten would do

struct Float32Avx2 {
  static constexpr char kInstruction[] = "avx2 vfmadd231ps";
  static constexpr int kOperations = 2 * 8;
  using Sum = __m256;
  using Factor = __m256;
  static Sum sum() { return _mm256_set1_ps(1); }
  static Factor factor() { return _mm256_set1_ps(1); }
  static Sum dot(Sum sum, Factor a, Factor b) { return _mm256_fmadd_ps(a, b, sum); }
};
#endif

#if defined(__AVX512F__)
struct Float32 {
  static constexpr char kInstruction[] = "avx512 vfmadd231ps";
  static constexpr int kOperations = 2 * 16;
  using Sum = __m512;
  using Factor = __m512;
  static Sum sum() { return _mm512_set1_ps(1); }
  static Factor factor() { return _mm512_set1_ps(1); }
  static Sum dot(Sum sum, Factor a, Factor b) { return _mm512_fmadd_ps(a, b, sum); }
};
#elif defined(__AVX2__)
using Float32 = Float32Avx2;
#endif

#if defined(__AVX512BF16__)
struct Bf16 {
  static constexpr char kInstruction[] = "avx512 vdpbf16ps";
  static constexpr int kOperations = 2 * 32;
  using Sum = __m512;
  using Factor = __m512i;
  static Sum sum() { return _mm512_set1_ps(1); }
  static Factor factor() { return _mm512_set1_epi16(0x3F80); }
  static Sum dot(Sum sum, Factor a, Factor b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
};
#define OSS_BF16
#endif

#if defined(__AVX512VNNI__)
struct Int8 {
  static constexpr char kInstruction[] = "avx512 vpdpbusd";
  static constexpr int kOperations = 2 * 64;
  using Sum = __m512i;
  using Factor = __m512i;
  static Sum sum() { return _mm512_set1_epi32(1); }
  static Factor factor() { return _mm512_set1_epi8(1); }
  static Sum dot(Sum sum, Factor a, Factor b) { return _mm512_dpbusd_epi32(sum, a, b); }
};
#define OSS_INT8
#elif defined(__AVX2__)
struct Int8 {
  using Sum = __m256i;
  using Factor = __m256i;
  static constexpr int kOperations = 2 * 32;
  static Sum sum() { return _mm256_set1_epi32(1); }
  static Factor factor() { return _mm256_set1_epi8(1); }
#if defined(__AVXVNNI__)
  static constexpr char kInstruction[] = "avx vpdpbusd";
  static Sum dot(Sum sum, Factor a, Factor b) { return _mm256_dpbusd_avx_epi32(sum, a, b); }
#else
  static constexpr char kInstruction[] = "avx2 vpmaddubsw";
  static Sum dot(Sum sum, Factor a, Factor b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)));
  }
#endif
};
#define OSS_INT8
#endif

#if defined(__ARM_NEON)
constexpr int kSums = 16;  // latency 4, four per cycle

struct Float32 {
  static constexpr char kInstruction[] = "neon fmla";
  static constexpr int kOperations = 2 * 4;
  using Sum = float32x4_t;
  using Factor = float32x4_t;
  static Sum sum() { return vdupq_n_f32(1); }
  static Factor factor() { return vdupq_n_f32(1); }
  static Sum dot(Sum sum, Factor a, Factor b) { return vfmaq_f32(sum, a, b); }
};
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
struct Bf16 {
  static constexpr char kInstruction[] = "neon bfmmla";
  static constexpr int kOperations = 2 * 16;
  using Sum = float32x4_t;
  using Factor = bfloat16x8_t;
  static Sum sum() { return vdupq_n_f32(1); }
  static Factor factor() { return vreinterpretq_bf16_u16(vdupq_n_u16(0x3F80)); }
  static Sum dot(Sum sum, Factor a, Factor b) { return vbfmmlaq_f32(sum, a, b); }
};
#define OSS_BF16
#endif
#if defined(__ARM_FEATURE_DOTPROD)
struct Int8 {
  static constexpr char kInstruction[] = "neon sdot";
  static constexpr int kOperations = 2 * 16;
  using Sum = int32x4_t;
  using Factor = int8x16_t;
  static Sum sum() { return vdupq_n_s32(1); }
  static Factor factor() { return vdupq_n_s8(1); }
  static Sum dot(Sum sum, Factor a, Factor b) { return vdotq_s32(sum, a, b); }
};
#define OSS_INT8
#endif
#endif

#if defined(__AVX2__) || defined(__ARM_NEON)
// OSS_KEEP hides the factors: without it the compiler sees one product, or twelve equal ones.
template <typename U>
void repeat(int64_t rounds) {
  typename U::Sum sums[kSums];
  typename U::Factor a = U::factor(), b = U::factor();
  for (auto& sum : sums) sum = U::sum();
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (auto& sum : sums) {
      OSS_KEEP(a);
      OSS_KEEP(b);
      sum = U::dot(sum, a, b);
    }
  }
  for (auto& sum : sums) OSS_KEEP(sum);
}

template <typename U>
const PeakLoop* loop() {
  static constexpr PeakLoop kLoop = {U::kInstruction, double(U::kOperations) * kSums, repeat<U>};
  return &kLoop;
}
#endif

#if defined(__AMX_TILE__) && defined(__linux__)
// Linux gives a process the tile registers, 8 KB for each thread, on request.
bool may_use_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

struct Tiles {  // eight tiles of 16 rows of 64 bytes
  alignas(64) uint8_t config[64] = {};
  Tiles() {
    config[0] = 1;  // palette
    for (int tile = 0; tile < 8; ++tile) {
      config[16 + 2 * tile] = 64;
      config[48 + tile] = 16;
    }
    __asm__ volatile("" ::: "memory");  // GCC assumes that the next instruction reads only eight bytes
    _tile_loadconfig(config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
  }
  ~Tiles() { _tile_release(); }
};
constexpr double kTileProducts = 2.0 * 16 * 16;  // operations of one sum's update

// Four sums, as in the kernels. They take 16 cycles each, longer than the latency of one.
#if defined(__AMX_BF16__)
void repeat_bf16_tiles(int64_t rounds) {
  const Tiles tiles;
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}
constexpr PeakLoop kBf16Tiles = {"amx tdpbf16ps", 4 * kTileProducts * 32, repeat_bf16_tiles};
#endif
#if defined(__AMX_INT8__)
void repeat_int8_tiles(int64_t rounds) {
  const Tiles tiles;
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
}
constexpr PeakLoop kInt8Tiles = {"amx tdpbusd", 4 * kTileProducts * 64, repeat_int8_tiles};
#endif
#endif

}  // namespace

const PeakLoop* peak_loop(Unit unit) {
  switch (unit) {
#if defined(__AVX2__) || defined(__ARM_NEON)
    case Unit::kFloat32:
      return loop<Float32>();
#endif
#if defined(__AVX2__)
    case Unit::kFloat32Avx2:
      return loop<Float32Avx2>();
#endif
#if defined(OSS_BF16)
    case Unit::kBf16:
      return loop<Bf16>();
#endif
#if defined(OSS_INT8)
    case Unit::kInt8:
      return loop<Int8>();
#endif
#if defined(__AMX_BF16__) && defined(__linux__)
    case Unit::kBf16Matrix:
      return may_use_tiles() ? &kBf16Tiles : nullptr;
#endif
#if defined(__AMX_INT8__) && defined(__linux__)
    case Unit::kInt8Matrix:
      return may_use_tiles() ? &kInt8Tiles : nullptr;
#endif
    default:
      return nullptr;
  }
}

}  // namespace oss::bench
