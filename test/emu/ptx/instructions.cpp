#include "test/emu/ptx/instructions.h"

#include <algorithm>
#include <bit>
#include <cfenv>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <unordered_map>

#include "native/base/str.h"
#include "test/emu/include/cuda_runtime.h"
#include "test/emu/include/kernels/cuda/ptx/convert.cuh"
#include "test/emu/include/kernels/cuda/ptx/mma.cuh"
#include "test/emu/ptx/lane.h"

namespace oss::emu::ptx {
namespace {

using Table = std::unordered_map<std::string, Execute>;
using I = const Instruction&;

__extension__ using Int128 = __int128;
__extension__ using Uint128 = unsigned __int128;

template <typename T>
constexpr int kBits = 8 * sizeof(T);
template <typename T>
using Unsigned = std::make_unsigned_t<T>;

template <typename T>
constexpr const char* kName = nullptr;
template <>
constexpr const char* kName<int8_t> = "s8";
template <>
constexpr const char* kName<int16_t> = "s16";
template <>
constexpr const char* kName<int32_t> = "s32";
template <>
constexpr const char* kName<int64_t> = "s64";
template <>
constexpr const char* kName<uint8_t> = "u8";
template <>
constexpr const char* kName<uint16_t> = "u16";
template <>
constexpr const char* kName<uint32_t> = "u32";
template <>
constexpr const char* kName<uint64_t> = "u64";
template <>
constexpr const char* kName<float> = "f32";
template <>
constexpr const char* kName<double> = "f64";

// Calls `body` with each type.
template <typename... Types, typename Body>
void each(Body body) {
  (body.template operator()<Types>(), ...);
}
// Names of bitwise instructions contain only the width.
template <typename Body>
void each_width(Body body) {
  body.template operator()<uint16_t>("b16");
  body.template operator()<uint32_t>("b32");
  body.template operator()<uint64_t>("b64");
}

template <typename T, auto kFunction>
void unary(I i, Lane& lane) {
  lane.out<T>(i, 0, kFunction(lane.in<T>(i, 1)));
}
template <typename T, auto kFunction>
void binary(I i, Lane& lane) {
  lane.out<T>(i, 0, kFunction(lane.in<T>(i, 1), lane.in<T>(i, 2)));
}

// --- arithmetic
// ---------------------------------------------------------------------------------------------------------

// Returns the other operand where one is NaN; -0 is below +0.
template <typename T>
T smallest(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) ? b : a;
    if (a == b) return std::signbit(a) ? a : b;
  }
  return a < b ? a : b;
}
template <typename T>
T largest(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) ? b : a;
    if (a == b) return std::signbit(a) ? b : a;
  }
  return a > b ? a : b;
}

// Rounds down. A double holds the product of two floats exactly, and rounding down twice equals rounding down once.
void fma_down(I i, Lane& lane) {
  volatile double product = double(lane.in<float>(i, 1)) * double(lane.in<float>(i, 2));
  volatile double summand = lane.in<float>(i, 3);
  std::fesetround(FE_DOWNWARD);
  volatile double sum = product + summand;
  volatile float result = float(sum);
  std::fesetround(FE_TONEAREST);
  lane.out<float>(i, 0, result);
}

template <typename T>
T quotient(T a, T b) {
  if (b == 0) return T(-1);
  if (std::is_signed_v<T> && b == T(-1)) return T(0 - Unsigned<T>(a));
  return T(a / b);
}
template <typename T>
T remainder_of(T a, T b) {
  if (b == 0) return a;
  if (std::is_signed_v<T> && b == T(-1)) return 0;
  return T(a % b);
}

template <typename T, bool kAdd, bool kCarryIn>
void with_carry(I i, Lane& lane) {
  using U = Unsigned<T>;
  const U a = lane.in<U>(i, 1), b = kAdd ? lane.in<U>(i, 2) : U(~lane.in<U>(i, 2));
  const bool in = kCarryIn ? (kAdd ? lane.carry : !lane.carry) : !kAdd;
  const Uint128 sum = Uint128(a) + b + in;
  const bool out = (sum >> kBits<T>) != 0;
  lane.carry = kAdd ? out : !out;
  lane.out<U>(i, 0, U(sum));
}

void add_arithmetic(Table& table) {
  each<int16_t, int32_t, int64_t, uint32_t, uint64_t>([&]<typename T>() {
    const std::string type = kName<T>;
    using U = Unsigned<T>;
    table["add." + type] = binary<T, [](T a, T b) { return T(U(a) + U(b)); }>;
    table["sub." + type] = binary<T, [](T a, T b) { return T(U(a) - U(b)); }>;
    table["mul.lo." + type] = binary<T, [](T a, T b) { return T(uint64_t(a) * uint64_t(b)); }>;
    table["mul.hi." + type] = binary<T, [](T a, T b) {
      using Wide = std::conditional_t<std::is_signed_v<T>, Int128, Uint128>;
      return T(Wide(a) * Wide(b) >> kBits<T>);
    }>;
    table["mad.lo." + type] = [](I i, Lane& lane) {
      lane.out<T>(i, 0, T(lane.in<uint64_t>(i, 1) * lane.in<uint64_t>(i, 2) + lane.in<uint64_t>(i, 3)));
    };
    table["div." + type] = binary<T, quotient<T>>;
    table["rem." + type] = binary<T, remainder_of<T>>;
    table["min." + type] = binary<T, smallest<T>>;
    table["max." + type] = binary<T, largest<T>>;
    table["neg." + type] = unary<T, [](T a) { return T(0 - U(a)); }>;
  });
  table["mul.wide.s32"] = [](I i, Lane& lane) {
    lane.out<int64_t>(i, 0, int64_t(lane.in<int32_t>(i, 1)) * lane.in<int32_t>(i, 2));
  };
  table["mul.wide.u32"] = [](I i, Lane& lane) {
    lane.out<uint64_t>(i, 0, uint64_t(lane.in<uint32_t>(i, 1)) * lane.in<uint32_t>(i, 2));
  };
  table["mul.wide.u16"] = [](I i, Lane& lane) {
    lane.out<uint32_t>(i, 0, uint32_t(lane.in<uint16_t>(i, 1)) * lane.in<uint16_t>(i, 2));
  };
  table["add.cc.s64"] = with_carry<int64_t, true, false>;
  table["addc.cc.s64"] = with_carry<int64_t, true, true>;
  table["sub.cc.s64"] = with_carry<int64_t, false, false>;
  table["subc.cc.s64"] = with_carry<int64_t, false, true>;

  each<float, double>([&]<typename T>() {
    const std::string type = kName<T>;
    for (const char* rounding : {".", ".rn."}) {
      table[str("add", rounding, type)] = binary<T, [](T a, T b) { return a + b; }>;
      table[str("sub", rounding, type)] = binary<T, [](T a, T b) { return a - b; }>;
      table[str("mul", rounding, type)] = binary<T, [](T a, T b) { return a * b; }>;
    }
    table["div.rn." + type] = binary<T, [](T a, T b) { return a / b; }>;
    table["rcp.rn." + type] = unary<T, [](T a) { return T(1) / a; }>;
    table["sqrt.rn." + type] = unary<T, [](T a) { return std::sqrt(a); }>;
    table["fma.rn." + type] = [](I i, Lane& lane) {
      lane.out<T>(i, 0, std::fma(lane.in<T>(i, 1), lane.in<T>(i, 2), lane.in<T>(i, 3)));
    };
    table["min." + type] = binary<T, smallest<T>>;
    table["max." + type] = binary<T, largest<T>>;
    table["neg." + type] = unary<T, [](T a) { return -a; }>;
    table["abs." + type] = unary<T, [](T a) { return std::fabs(a); }>;
  });
  table["fma.rm.f32"] = fma_down;
  // Keeps twenty bits, as the PTX ISA promises.
  table["rcp.approx.ftz.f64"] = unary<double, [](double a) {
    return std::bit_cast<double>(std::bit_cast<uint64_t>(1 / a) & 0xFFFFFFFF00000000u);
  }>;
  table["ex2.approx.ftz.f32"] = unary<float, [](float x) { return cuda::exp2_approx(x); }>;
  table["fma.rn.bf16x2"] = [](I i, Lane& lane) {
    if (lane.in<uint32_t>(i, 3) != 0x80008000u) lane.fail(kLaunchFailure, "an fma of bf16 that adds something");
    const uint32_t a = lane.in<uint32_t>(i, 1), b = lane.in<uint32_t>(i, 2);
    lane.out<uint32_t>(i, 0, bf16_product(a >> 16, b >> 16) << 16 | bf16_product(a & 0xFFFFu, b & 0xFFFFu));
  };
}

// --- bits
// ---------------------------------------------------------------------------------------------------------------

template <typename T>
void insert_bits(I i, Lane& lane) {
  const T from = lane.in<T>(i, 1), into = lane.in<T>(i, 2);
  const unsigned at = lane.in<uint32_t>(i, 3) & 0xFF, count = lane.in<uint32_t>(i, 4) & 0xFF;
  const T ones = count >= kBits<T> ? T(~T(0)) : T((T(1) << count) - 1);
  const T mask = at >= kBits<T> ? T(0) : T(ones << at);
  lane.out<T>(i, 0, T((into & ~mask) | (at >= kBits<T> ? T(0) : T(from << at) & mask)));
}

void choose_bits(I i, Lane& lane) {
  const uint32_t a = lane.in<uint32_t>(i, 1), b = lane.in<uint32_t>(i, 2), c = lane.in<uint32_t>(i, 3);
  const uint32_t table = lane.in<uint32_t>(i, 4);
  uint32_t result = 0;
  for (unsigned row = 0; row < 8; ++row) {
    if (table >> row & 1) result |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
  }
  lane.out<uint32_t>(i, 0, result);
}

void add_bits(Table& table) {
  each_width([&]<typename T>(const std::string& type) {
    table["and." + type] = binary<T, [](T a, T b) { return T(a & b); }>;
    table["or." + type] = binary<T, [](T a, T b) { return T(a | b); }>;
    table["xor." + type] = binary<T, [](T a, T b) { return T(a ^ b); }>;
    table["not." + type] = unary<T, [](T a) { return T(~a); }>;
    table["shl." + type] = [](I i, Lane& lane) {
      const uint32_t by = lane.in<uint32_t>(i, 2);
      lane.out<T>(i, 0, by >= kBits<T> ? T(0) : T(lane.in<T>(i, 1) << by));
    };
  });
  each<int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t>([&]<typename T>() {
    table[str("shr.", kName<T>)] = [](I i, Lane& lane) {
      const uint32_t by = std::min<uint32_t>(lane.in<uint32_t>(i, 2), kBits<T>);
      const T from = lane.in<T>(i, 1);
      lane.out<T>(i, 0, by == kBits<T> ? T(from < 0 ? -1 : 0) : T(from >> by));
    };
  });
  table["and.pred"] = binary<uint8_t, [](uint8_t a, uint8_t b) { return uint8_t(a & b); }>;
  table["or.pred"] = binary<uint8_t, [](uint8_t a, uint8_t b) { return uint8_t(a | b); }>;
  table["xor.pred"] = binary<uint8_t, [](uint8_t a, uint8_t b) { return uint8_t(a ^ b); }>;
  table["not.pred"] = unary<uint8_t, [](uint8_t a) { return uint8_t(a ^ 1); }>;
  table["mov.pred"] = unary<uint8_t, [](uint8_t a) { return uint8_t(a & 1); }>;
  table["bfi.b32"] = insert_bits<uint32_t>;
  table["bfi.b64"] = insert_bits<uint64_t>;
  table["lop3.b32"] = choose_bits;
  table["prmt.b32"] = [](I i, Lane& lane) {
    lane.out<uint32_t>(i, 0, __byte_perm(lane.in<uint32_t>(i, 1), lane.in<uint32_t>(i, 2), lane.in<uint32_t>(i, 3)));
  };
  table["shf.l.wrap.b32"] = [](I i, Lane& lane) {
    lane.out<uint32_t>(i, 0,
                       __funnelshift_l(lane.in<uint32_t>(i, 1), lane.in<uint32_t>(i, 2), lane.in<uint32_t>(i, 3)));
  };
  table["shf.r.clamp.b32"] = [](I i, Lane& lane) {
    const uint64_t both = uint64_t(lane.in<uint32_t>(i, 2)) << 32 | lane.in<uint32_t>(i, 1);
    lane.out<uint32_t>(i, 0, uint32_t(both >> std::min<uint32_t>(lane.in<uint32_t>(i, 3), 32)));
  };
  table["clz.b32"] = unary<uint32_t, [](uint32_t a) { return uint32_t(std::countl_zero(a)); }>;
  table["popc.b32"] = unary<uint32_t, [](uint32_t a) { return uint32_t(std::popcount(a)); }>;

  for (const char* type : {"u16", "s16", "b16"})
    table[str("mov.", type)] = unary<uint16_t, [](uint16_t a) { return a; }>;
  for (const char* type : {"u32", "s32", "b32", "f32"})
    table[str("mov.", type)] = unary<uint32_t, [](uint32_t a) { return a; }>;
  for (const char* type : {"u64", "s64", "b64", "f64"})
    table[str("mov.", type)] = unary<uint64_t, [](uint64_t a) { return a; }>;
  table["mov.b32.pack"] = [](I i, Lane& lane) {
    lane.out<uint32_t>(i, 0, uint32_t(lane.in<uint16_t>(i, 2)) << 16 | lane.in<uint16_t>(i, 1));
  };
  table["mov.b64.pack"] = [](I i, Lane& lane) {
    lane.out<uint64_t>(i, 0, uint64_t(lane.in<uint32_t>(i, 2)) << 32 | lane.in<uint32_t>(i, 1));
  };
  table["mov.b32.unpack"] = [](I i, Lane& lane) {
    const uint32_t both = lane.in<uint32_t>(i, 2);
    lane.out<uint16_t>(i, 0, uint16_t(both));
    lane.out<uint16_t>(i, 1, uint16_t(both >> 16));
  };
  table["mov.b64.unpack"] = [](I i, Lane& lane) {
    const uint64_t both = lane.in<uint64_t>(i, 2);
    lane.out<uint32_t>(i, 0, uint32_t(both));
    lane.out<uint32_t>(i, 1, uint32_t(both >> 32));
  };
}

// --- comparisons and conversions
// ----------------------------------------------------------------------------------------

template <typename T, auto kHolds>
void compare(I i, Lane& lane) {
  lane.out<uint8_t>(i, 0, kHolds(lane.in<T>(i, 1), lane.in<T>(i, 2)));
}

template <typename T>
void add_comparisons_of(Table& table, const std::string& type) {
  table["setp.eq." + type] = compare<T, [](T a, T b) { return a == b; }>;
  table["setp.lt." + type] = compare<T, [](T a, T b) { return a < b; }>;
  table["setp.le." + type] = compare<T, [](T a, T b) { return a <= b; }>;
  table["setp.gt." + type] = compare<T, [](T a, T b) { return (a > b); }>;
  table["setp.ge." + type] = compare<T, [](T a, T b) { return (a >= b); }>;
  if constexpr (std::is_floating_point_v<T>) {  // a u: or one of them is NaN
    table["setp.ne." + type] = compare<T, [](T a, T b) { return (a < b || a > b); }>;
    table["setp.neu." + type] = compare<T, [](T a, T b) { return a != b; }>;
    table["setp.equ." + type] = compare<T, [](T a, T b) { return !(a < b || a > b); }>;
    table["setp.ltu." + type] = compare<T, [](T a, T b) { return !(a >= b); }>;
    table["setp.leu." + type] = compare<T, [](T a, T b) { return !(a > b); }>;
    table["setp.gtu." + type] = compare<T, [](T a, T b) { return !(a <= b); }>;
    table["setp.geu." + type] = compare<T, [](T a, T b) { return !(a < b); }>;
  } else {
    table["setp.ne." + type] = compare<T, [](T a, T b) { return a != b; }>;
  }
}

// Rounds towards zero. Saturates where the value does not fit; NaN becomes 0.
template <typename To, typename From>
To truncated(From from) {
  if (std::isnan(from)) return 0;
  if (from <= From(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  if (from >= From(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  return To(from);
}

template <typename To, typename From, auto kConvert>
void convert(I i, Lane& lane) {
  lane.out<To>(i, 0, kConvert(lane.in<From>(i, 1)));
}

void add_conversions(Table& table) {
  each<int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t, float, double>(
      [&]<typename T>() { add_comparisons_of<T>(table, kName<T>); });
  each_width([&]<typename T>(const std::string& type) { add_comparisons_of<T>(table, type); });
  const auto select = [&]<typename T>(const std::string& type) {
    table["selp." + type] = [](I i, Lane& lane) {
      lane.out<T>(i, 0, lane.in<T>(i, (lane.in<uint8_t>(i, 3) & 1) != 0 ? 1 : 2));
    };
  };
  each<int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t, float, double>(
      [&]<typename T>() { select.template operator()<T>(kName<T>); });
  each_width(select);

  each<int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t>([&]<typename From>() {
    each<int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t>([&]<typename To>() {
      table[str("cvt.", kName<To>, ".", kName<From>)] = convert<To, From, [](From a) { return To(a); }>;
    });
    each<float, double>([&]<typename Float>() {
      table[str("cvt.rn.", kName<Float>, ".", kName<From>)] = convert<Float, From, [](From a) { return Float(a); }>;
      table[str("cvt.rzi.", kName<From>, ".", kName<Float>)] = convert<From, Float, truncated<From, Float>>;
    });
  });
  table["cvt.f64.f32"] = convert<double, float, [](float a) { return double(a); }>;
  table["cvt.rn.f32.f64"] = convert<float, double, [](double a) { return float(a); }>;
  table["cvt.rpi.f64.f64"] = convert<double, double, [](double a) { return std::ceil(a); }>;
  table["cvt.sat.f32.f32"] =
      convert<float, float, [](float a) { return std::isnan(a) ? 0.0f : std::clamp(a, 0.0f, 1.0f); }>;
  table["cvt.rn.bf16x2.f32"] = [](I i, Lane& lane) {
    lane.out<uint32_t>(i, 0, cuda::pack_bf16x2(lane.in<float>(i, 2), lane.in<float>(i, 1)));
  };
  table["cvta.to.global.u64"] = unary<uint64_t, [](uint64_t a) { return a; }>;
}

// --- memory
// ---------------------------------------------------------------------------------------------------------------

enum class Space { kGlobal, kShared, kParameter };

template <Space kSpace>
const void* place(I i, Lane& lane, int operand, size_t bytes) {
  if constexpr (kSpace == Space::kGlobal)
    return lane.global(i, operand, bytes, bytes);
  else if constexpr (kSpace == Space::kShared)
    return lane.shared(i, operand, bytes, bytes);
  else
    return lane.parameter(i, operand, bytes);
}

template <typename T, int kCount, Space kSpace>
void load(I i, Lane& lane) {
  T values[kCount];
  std::memcpy(values, place<kSpace>(i, lane, kCount, sizeof(values)), sizeof(values));
  for (int v = 0; v < kCount; ++v) lane.out<T>(i, v, values[v]);
}
template <typename T, int kCount>
void load_past_l1(I i, Lane& lane) {
  const PastL1 read(true);
  load<T, kCount, Space::kGlobal>(i, lane);
}
template <typename T, int kCount, Space kSpace>
void store(I i, Lane& lane) {
  T values[kCount];
  for (int v = 0; v < kCount; ++v) values[v] = lane.in<T>(i, v + 1);
  std::memcpy(const_cast<void*>(place<kSpace>(i, lane, 0, sizeof(values))), values, sizeof(values));
}
template <typename T, Space kSpace>
void atomic_add(I i, Lane& lane) {
  T* at = static_cast<T*>(const_cast<void*>(place<kSpace>(i, lane, 1, sizeof(T))));
  lane.out<T>(i, 0, __atomic_fetch_add(at, lane.in<T>(i, 2), __ATOMIC_SEQ_CST));
}

template <typename T, int kCount>
void add_moves_of(Table& table, const std::string& type) {
  const std::string suffix = kCount == 1 ? str(".", type) : str(".v", kCount, ".", type);
  table["ld.param" + suffix] = load<T, kCount, Space::kParameter>;
  table["ld.shared" + suffix] = load<T, kCount, Space::kShared>;
  table["st.shared" + suffix] = store<T, kCount, Space::kShared>;
  // generic addresses of shared memory never occur, because cvta.shared is not supported
  for (const char* name : {"ld.global", "ld.global.nc", "ld.global.nc.L1::no_allocate", "ld"})
    table[name + suffix] = load<T, kCount, Space::kGlobal>;
  table["ld.global.cg" + suffix] = load_past_l1<T, kCount>;
  table["st.global" + suffix] = store<T, kCount, Space::kGlobal>;
}

void nothing(I, Lane&) {}

template <int kThreads>
void init_barrier(I i, Lane& lane) {
  if (lane.in<uint32_t>(i, 1) != kThreads)
    lane.fail(kLaunchFailure, "a barrier of copies for another number of threads");
  init_copies(lane.shared(i, 0, 8, 8), Where::current());
}

void add_memory(Table& table) {
  const auto moves = [&]<typename T>(const std::string& type) {
    add_moves_of<T, 1>(table, type);
    add_moves_of<T, 2>(table, type);
    add_moves_of<T, 4>(table, type);
  };
  each<int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, float, double>(
      [&]<typename T>() { moves.template operator()<T>(kName<T>); });
  each_width(moves);
  each<uint32_t, uint64_t>([&]<typename T>() {
    table[str("atom.global.add.", kName<T>)] = atomic_add<T, Space::kGlobal>;
    table[str("atom.shared.add.", kName<T>)] = atomic_add<T, Space::kShared>;
  });
  // instructions that affect only the visibility or speed of memory
  for (const char* name : {"membar.gl", "membar.cta", "fence.proxy.async.shared::cta", "prefetch.global.L2",
                           "createpolicy.fractional.L2::evict_first.b64"})
    table[name] = nothing;

  table["cp.async.cg.shared.global"] = [](I i, Lane& lane) {
    if (lane.in<uint32_t>(i, 2) != 16) lane.fail(kLaunchFailure, "a copy of other than 16 bytes");
    const bool valid = i.num_operands < 4 || lane.in<uint32_t>(i, 3) == 16;
    if (!valid && lane.in<uint32_t>(i, 3) != 0) lane.fail(kLaunchFailure, "a part of a copy");
    async_copy(lane.shared(i, 0, 16, 16), valid ? lane.global(i, 1, 16, 16) : nullptr, valid, Where::current());
  };
  table["cp.async.commit_group"] = [](I, Lane&) { async_commit(); };
  table["cp.async.wait_group"] = [](I i, Lane& lane) { async_wait(int(lane.in<uint32_t>(i, 0))); };

  // Either one thread arrives at the barrier and its bytes are counted, or each lane of a warp arrives with its copies.
  table["mbarrier.init.shared::cta.b64"] = init_barrier<1>;
  table["mbarrier.init.shared.b64"] = init_barrier<kWarpLanes>;
  table["cp.async.mbarrier.arrive.noinc.shared.b64"] = [](I i, Lane& lane) {
    async_tell(lane.shared(i, 0, 8, 8), Where::current());
  };
  table["mbarrier.arrive.expect_tx.shared::cta.b64"] = [](I i, Lane& lane) {
    begin_copies(lane.shared(i, 1, 8, 8), lane.in<uint32_t>(i, 2), Where::current());
  };
  table["cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"] = [](I i, Lane& lane) {
    const uint32_t bytes = lane.in<uint32_t>(i, 2);
    void* to = lane.shared(i, 0, bytes, 16);
    copy_run(lane.shared(i, 3, 8, 8), to, lane.global(i, 1, bytes, 16), bytes, Where::current());
  };
  for (const char* name : {"mbarrier.try_wait.parity.shared::cta.b64", "mbarrier.test_wait.parity.shared.b64"}) {
    table[name] = [](I i, Lane& lane) {
      wait_copies(lane.shared(i, 1, 8, 8), lane.in<uint32_t>(i, 2), Where::current());
      lane.out<uint8_t>(i, 0, 1);
    };
  }
  table["cp.async.bulk.prefetch.L2.global"] = [](I i, Lane& lane) {
    const uint32_t bytes = lane.in<uint32_t>(i, 1);
    prefetch_run(lane.global(i, 0, bytes, 16), bytes, Where::current());
  };
}

// --- threads together
// ---------------------------------------------------------------------------------------------------------

// Lanes meet only in the same instruction.
template <Operation kOperation, typename Operand>
void meet(I i, Lane& lane, unsigned mask, Operand& operand) {
  struct Brought {
    Operand* operand;
    const Instruction* instruction;
    Lane* lane;
  } mine{&operand, &i, &lane};
  const Operation operation = [](void* const* brought, unsigned lanes, const Where& where) {
    void* operands[kWarpLanes] = {};
    const Brought& first = *static_cast<const Brought*>(brought[std::countr_zero(lanes)]);
    for (int l = 0; l < kWarpLanes; ++l) {
      if ((lanes >> l & 1) == 0) continue;
      const Brought& other = *static_cast<const Brought*>(brought[l]);
      if (other.instruction != first.instruction)
        other.lane->fail(kLaunchFailure, "lanes of a warp meet in different instructions");
      operands[l] = other.operand;
    }
    kOperation(operands, lanes, where);
  };
  collective(mask, operation, &mine, Where::current());
}

template <Pick kPick>
void shuffle_lanes(I i, Lane& lane) {
  const uint32_t bounds = lane.in<uint32_t>(i, 4), first_of_part = bounds >> 8 & 31, clamp = bounds & 31;
  const int width = int(32 - first_of_part);
  if (clamp != (kPick == Pick::kUp ? 0u : 31u) || !std::has_single_bit(unsigned(width)))
    lane.fail(kLaunchFailure, "a shuffle in parts that no intrinsic asks for");
  const int pick = int(lane.in<uint32_t>(i, 3)), me = int(current->lane), first = me & ~(width - 1);
  Shuffle mine{lane.in<uint32_t>(i, 2), pick, width};
  meet<shuffle<kPick>>(i, lane, lane.in<uint32_t>(i, 5), mine);
  const int from = kPick == Pick::kUp     ? me - pick
                   : kPick == Pick::kDown ? me + pick
                   : kPick == Pick::kXor  ? me ^ pick
                                          : first;
  lane.out<uint32_t>(i, 0, uint32_t(mine.value));
  lane.out<uint8_t>(i, 1, kPick == Pick::kUp ? from >= first : from < first + width);
}

void only_meet(void* const*, unsigned, const Where&) {}

void ballot(void* const* operands, unsigned lanes, const Where&) {
  unsigned all = 0;
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    if ((lanes >> lane & 1) != 0 && *static_cast<const unsigned*>(operands[lane]) != 0) all |= 1u << lane;
  }
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    if ((lanes >> lane & 1) != 0) *static_cast<unsigned*>(operands[lane]) = all;
  }
}

template <Operation kLoad>
void load_matrices(I i, Lane& lane) {
  uint32_t r[4];
  LdmatrixOperand mine{r, lane.shared(i, 4, 16, 16)};
  meet<kLoad>(i, lane, kWholeWarp, mine);
  for (int m = 0; m < 4; ++m) lane.out<uint32_t>(i, m, r[m]);
}

void multiply_matrices(I i, Lane& lane) {
  uint32_t a[4], b[2];
  float d[4];
  for (int k = 0; k < 4; ++k) a[k] = lane.in<uint32_t>(i, 4 + k);
  for (int k = 0; k < 2; ++k) b[k] = lane.in<uint32_t>(i, 8 + k);
  for (int k = 0; k < 4; ++k) d[k] = lane.in<float>(i, 10 + k);
  MmaOperand mine{d, a, b};
  meet<mma_m16n8k16>(i, lane, kWholeWarp, mine);
  for (int k = 0; k < 4; ++k) lane.out<float>(i, k, d[k]);
}

void add_together(Table& table) {
  table["bar.sync"] = [](I i, Lane& lane) {
    if (i.num_operands != 1 || lane.in<uint32_t>(i, 0) != 0)
      lane.fail(kLaunchFailure, "a barrier of a part of the block");
    barrier(Where::current());
  };
  table["bar.red.or.pred"] = [](I i, Lane& lane) {
    lane.out<uint8_t>(i, 0, barrier_sum(lane.in<uint8_t>(i, 2) & 1, Where::current()) != 0);
  };
  table["bar.warp.sync"] = [](I i, Lane& lane) {
    unsigned unused = 0;
    meet<only_meet>(i, lane, lane.in<uint32_t>(i, 0), unused);
  };
  table["shfl.sync.idx.b32"] = shuffle_lanes<Pick::kLane>;
  table["shfl.sync.bfly.b32"] = shuffle_lanes<Pick::kXor>;
  table["shfl.sync.up.b32"] = shuffle_lanes<Pick::kUp>;
  table["shfl.sync.down.b32"] = shuffle_lanes<Pick::kDown>;
  table["vote.sync.ballot.b32"] = [](I i, Lane& lane) {
    unsigned mine = lane.in<uint8_t>(i, 1) & 1;
    meet<ballot>(i, lane, lane.in<uint32_t>(i, 2), mine);
    lane.out<uint32_t>(i, 0, mine);
  };
  table["ldmatrix.sync.aligned.m8n8.x4.shared.b16"] = load_matrices<ldmatrix_x4>;
  table["ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16"] = load_matrices<ldmatrix_x4_trans>;
  table["mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"] = multiply_matrices;
  table["griddepcontrol.wait"] = [](I, Lane&) { dependency_wait(Where::current()); };
  table["griddepcontrol.launch_dependents"] = [](I, Lane&) { dependency_launch(Where::current()); };
  for (const char* name : {"bra", "bra.uni"}) table[name] = [](I i, Lane& lane) { lane.jump(i.target); };
  for (const char* name : {"ret", "exit"}) table[name] = [](I, Lane& lane) { lane.end(); };
}

}  // namespace

Execute find_instruction(const std::string& name) {
  static const Table table = [] {
    Table made;
    add_arithmetic(made);
    add_bits(made);
    add_conversions(made);
    add_memory(made);
    add_together(made);
    return made;
  }();
  const auto found = table.find(name);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace oss::emu::ptx
