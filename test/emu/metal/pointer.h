// Pointers of an emulated Metal kernel. Each knows the memory that it may access, and every access is checked: bounds,
// alignment, and the address space by its type. What a dispatch reads and writes of each buffer is recorded.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "test/emu/block.h"

namespace oss::emu {

// A range of addresses; empty while end <= begin.
struct Touched {
  const char* begin = reinterpret_cast<const char*>(UINTPTR_MAX);
  const char* end = nullptr;
  void add(const char* from, size_t bytes) {
    begin = std::min(begin, from);
    end = std::max(end, from + bytes);
  }
  bool overlaps(const Touched& other) const { return begin < other.end && other.begin < end; }
};

// Memory that a kernel may access: a bound buffer, or a threadgroup array.
struct Region {
  const char* begin;
  const char* end;
  Touched read{}, written{};
};

enum class Space { kDevice, kThreadgroup };

template <typename T, Space kSpace>
class Pointer {
 public:
  using Element = T;

  Pointer() = default;  // of no memory: every access is a fault
  Pointer(T* at, Region* region) : at_(at), region_(region) {}
  // To const.
  template <typename U>
    requires std::is_same_v<const U, T>
  Pointer(const Pointer<U, kSpace>& other) : at_(other.address()), region_(other.region()) {}

  T& operator[](int64_t i) const { return access(at_ + i); }
  T& operator*() const { return access(at_); }
  T* operator->() const { return &access(at_); }
  Pointer operator+(int64_t n) const { return {at_ + n, region_}; }
  Pointer operator-(int64_t n) const { return {at_ - n, region_}; }
  Pointer& operator+=(int64_t n) {
    at_ += n;
    return *this;
  }
  Pointer& operator++() { return *this += 1; }

  T* address() const { return at_; }
  Region* region() const { return region_; }

 private:
  [[gnu::noinline, noreturn]] static void outside() {
    fault(kIllegalAddress,
          kSpace == Space::kDevice ? "an access outside of the buffer" : "an access outside of the threadgroup array",
          Where{});
  }
  [[gnu::always_inline]] T& access(T* at) const {
    const auto* first = reinterpret_cast<const char*>(at);
    if (region_ == nullptr || first < region_->begin || first + sizeof(T) > region_->end) outside();
    if (reinterpret_cast<size_t>(first) % alignof(T) != 0) fault(kMisalignedAddress, "misaligned address", Where{});
    if constexpr (kSpace == Space::kDevice) {
      region_->read.add(first, sizeof(T));
      if constexpr (!std::is_const_v<T>) region_->written.add(first, sizeof(T));
    }
    return *at;
  }

  T* at_ = nullptr;
  Region* region_ = nullptr;
};

template <typename T>
using DevicePtr = Pointer<T, Space::kDevice>;
template <typename T>
using ThreadgroupPtr = Pointer<T, Space::kThreadgroup>;

template <typename V, typename T>
DevicePtr<const V> as_const(const DevicePtr<T>& at) {
  return {reinterpret_cast<const V*>(at.address()), at.region()};
}
template <typename V, typename T, Space kSpace>
Pointer<V, kSpace> as(const Pointer<T, kSpace>& at) {
  static_assert(!std::is_const_v<T> || std::is_const_v<V>, "as_const() reads");
  return {reinterpret_cast<V*>(at.address()), at.region()};
}

// The region of the threadgroup array that is declared at `where`: the same for all threads of a block. Faults when the
// arrays of a kernel exceed its limit.
Region* threadgroup_region(size_t bytes, const Where& where);

constexpr size_t kThreadgroupBytes = 32 << 10;

template <typename T, int kCount>
class ThreadgroupArray {
 public:
  static_assert(std::is_trivially_copyable_v<T>);
  explicit ThreadgroupArray(const Where& where) : region_(threadgroup_region(sizeof(T) * kCount, where)) {}
  operator ThreadgroupPtr<T>() const { return pointer(); }
  T& operator[](int64_t i) const { return pointer()[i]; }
  ThreadgroupPtr<T> operator+(int64_t n) const { return pointer() + n; }

 private:
  ThreadgroupPtr<T> pointer() const { return {reinterpret_cast<T*>(const_cast<char*>(region_->begin)), region_}; }
  Region* region_;
};

}  // namespace oss::emu
