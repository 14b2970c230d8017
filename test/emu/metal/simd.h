// What the 32 threads of a simdgroup do together. Each operation meets in collective(): all lanes that have not ended
// must come to it, which is stricter than the device.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "test/emu/block.h"

#define OSS_EMU_HERE ::oss::emu::Where where = ::oss::emu::Where::current()

namespace oss::emu {

struct Add {
  template <typename T>
  static T of(T a, T b) {
    return T(a + b);
  }
};
struct Larger {
  template <typename T>
  static T of(T a, T b) {
    return b > a ? b : a;
  }
};
struct Smaller {
  template <typename T>
  static T of(T a, T b) {
    return b < a ? b : a;
  }
};
struct Or {
  template <typename T>
  static T of(T a, T b) {
    return T(a | b);
  }
};

// Combines the values of all lanes, in their order. The device has an order of its own, the same in every run.
template <typename How, typename T>
T simd_reduce(T value, const Where& where) {
  const Operation operation = [](void* const* operands, unsigned lanes, const Where&) {
    const int first = std::countr_zero(lanes);
    T all = *static_cast<const T*>(operands[first]);
    for (int lane = first + 1; lane < kWarpLanes; ++lane) {
      if (lanes >> lane & 1) all = How::of(all, *static_cast<const T*>(operands[lane]));
    }
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      if (lanes >> lane & 1) *static_cast<T*>(operands[lane]) = all;
    }
  };
  collective(kWholeWarp, operation, &value, where);
  return value;
}

// The sum of the lanes below, and of the lane itself with `inclusive`.
template <typename T>
T simd_prefix(T value, bool inclusive, const Where& where) {
  struct Part {
    T value;
    bool inclusive;
  } mine{value, inclusive};
  const Operation operation = [](void* const* operands, unsigned lanes, const Where&) {
    T before = 0;
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      if ((lanes >> lane & 1) == 0) continue;
      Part& part = *static_cast<Part*>(operands[lane]);
      const T with = T(before + part.value);
      part.value = part.inclusive ? with : before;
      before = with;
    }
  };
  collective(kWholeWarp, operation, &mine, where);
  return mine.value;
}

// The value of lane `from`. Of a lane that has ended or does not exist: poison.
template <typename T>
T simd_move(T value, int from, const Where& where) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 16);
  struct Move {
    unsigned char bytes[16];
    int from;
  } mine{{}, from};
  std::memcpy(mine.bytes, &value, sizeof(T));
  const Operation operation = [](void* const* operands, unsigned lanes, const Where&) {
    unsigned char results[kWarpLanes][16];
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      if ((lanes >> lane & 1) == 0) continue;
      const int source = static_cast<const Move*>(operands[lane])->from;
      if (source >= 0 && source < kWarpLanes && (lanes >> source & 1) != 0) {
        std::memcpy(results[lane], static_cast<const Move*>(operands[source])->bytes, 16);
      } else {
        std::memset(results[lane], kPoison, 16);
      }
    }
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      if (lanes >> lane & 1) std::memcpy(static_cast<Move*>(operands[lane])->bytes, results[lane], 16);
    }
  };
  collective(kWholeWarp, operation, &mine, where);
  std::memcpy(&value, mine.bytes, sizeof(T));
  return value;
}

// An 8x8 matrix in the registers of a simdgroup. The specification leaves open which lane holds which element; here it
// is lane l: row l / 4, columns 2 (l % 4) and the next.
template <typename T, int kRows = 8, int kColumns = 8>
struct SimdMatrix {
  static_assert(kRows == 8 && kColumns == 8);
  T element[2];

  static int row() { return int(current->lane) / 4; }
  static int column() { return int(current->lane) % 4 * 2; }
  static SimdMatrix filled(T value) { return {{value, value}}; }

  template <typename Pointer>
  void load(const Pointer& from, uint64_t stride, uint64_t x, uint64_t y, bool transposed, const Where& where) {
    // Here and in store(): one element before the lanes meet and one after, to find a missing barrier on either side.
    element[0] = T(from[place(0, stride, x, y, transposed)]);
    meet(where);
    element[1] = T(from[place(1, stride, x, y, transposed)]);
  }
  template <typename Pointer>
  void store(const Pointer& to, uint64_t stride, uint64_t x, uint64_t y, bool transposed, const Where& where) const {
    to[place(0, stride, x, y, transposed)] = element[0];
    meet(where);
    to[place(1, stride, x, y, transposed)] = element[1];
  }

 private:
  static void meet(const Where& where) { collective(kWholeWarp, nullptr, nullptr, where); }
  static int64_t place(int i, uint64_t stride, uint64_t x, uint64_t y, bool transposed) {
    const int r = row(), c = column() + i;
    return transposed ? int64_t((y + uint64_t(c)) * stride + x + uint64_t(r))
                      : int64_t((y + uint64_t(r)) * stride + x + uint64_t(c));
  }
};

// a b + c: products are added to c one by one in float32, lowest k first.
template <typename A, typename B>
SimdMatrix<float> multiply_accumulate(const SimdMatrix<A>& a, const SimdMatrix<B>& b, const SimdMatrix<float>& c,
                                      const Where& where) {
  struct Operands {
    float a[2], b[2], c[2];
  } mine{{float(a.element[0]), float(a.element[1])},
         {float(b.element[0]), float(b.element[1])},
         {c.element[0], c.element[1]}};
  const Operation operation = [](void* const* operands, unsigned, const Where&) {
    const auto of = [&](int lane) -> Operands& { return *static_cast<Operands*>(operands[lane]); };
    float left[8][8], right[8][8];
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      for (int i = 0; i < 2; ++i) {
        left[lane / 4][lane % 4 * 2 + i] = of(lane).a[i];
        right[lane / 4][lane % 4 * 2 + i] = of(lane).b[i];
      }
    }
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      for (int i = 0; i < 2; ++i) {
        float sum = of(lane).c[i];
        for (int k = 0; k < 8; ++k) sum += left[lane / 4][k] * right[k][lane % 4 * 2 + i];
        of(lane).c[i] = sum;
      }
    }
  };
  collective(kWholeWarp, operation, &mine, where);
  return {{mine.c[0], mine.c[1]}};
}

}  // namespace oss::emu
