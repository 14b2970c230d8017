// The emulated Metal device itself: what it computes, and the mistakes that it finds.
#include <type_traits>

#include "native/backend/metal/encoder.h"
#include "test/emu/metal/device.h"
#include "test/native/check.h"
// Last, because it gives words like `kernel` their meaning in Metal.
#include "kernels/metal/lang.h"

// The address space of a pointer is its type: none converts to the other, nor to or from a plain pointer.
static_assert(!std::is_convertible_v<ThreadgroupPtr<float>, DevicePtr<float>>);
static_assert(!std::is_convertible_v<DevicePtr<float>, ThreadgroupPtr<float>>);
static_assert(!std::is_convertible_v<DevicePtr<const float>, DevicePtr<float>>);
static_assert(std::is_convertible_v<DevicePtr<float>, DevicePtr<const float>>);
static_assert(!std::is_convertible_v<DevicePtr<float>, float*> && !std::is_convertible_v<float*, DevicePtr<float>>);

namespace {

struct Size {
  int count;
  int wrong;  // 1: the kernel makes the mistake that its test is about
};

// to[i] = the sum of the 64 values of its threadgroup.
kernel void test_sum(constant Size& args [[buffer(0)]], DevicePtr<const float> from [[buffer(1)]],
                     DevicePtr<float> to [[buffer(2)]], OSS_POSITION) {
  OSS_THREADGROUP(float, parts, 2);
  const float part = simd_sum(from[group.x * 64 + index]);
  if (lane == 0) parts[simdgroup] = part;
  if (args.wrong == 0) threadgroup_barrier(mem_flags::mem_threadgroup);
  to[group.x * 64 + index] = parts[0] + parts[1];
}
OSS_KERNEL(test_sum)

kernel void test_bounds(constant Size& args [[buffer(0)]], DevicePtr<float> to [[buffer(1)]], OSS_POSITION) {
  if (int(index) < args.count) to[index] = 1;
}
OSS_KERNEL(test_bounds)

kernel void test_alignment(constant Size& args [[buffer(0)]], DevicePtr<const float> from [[buffer(1)]],
                           DevicePtr<float> to [[buffer(2)]], OSS_POSITION) {
  const float4 v = *as_const<float4>(from + args.count);
  to[index] = v.x + v.w;
}
OSS_KERNEL(test_alignment)

kernel void test_threadgroup_bounds(constant Size& args [[buffer(0)]], DevicePtr<float> to [[buffer(1)]],
                                    OSS_POSITION) {
  OSS_THREADGROUP(float, values, 32);
  values[int(index) + args.count] = 1;
  to[index] = values[int(index) + args.count];
}
OSS_KERNEL(test_threadgroup_bounds)

kernel void test_threadgroup_size(constant Size& args [[buffer(0)]], DevicePtr<float> to [[buffer(1)]], OSS_POSITION) {
  OSS_THREADGROUP(float, most, 8192);
  most[index] = 1;
  if (args.wrong != 0) {
    OSS_THREADGROUP(float, more, 1);
    more[0] = 1;
  }
  to[index] = most[index];
}
OSS_KERNEL(test_threadgroup_size)

kernel void test_uninitialised(constant Size& args [[buffer(0)]], DevicePtr<float> to [[buffer(1)]], OSS_POSITION) {
  OSS_THREADGROUP(float, values, 32);
  if (args.wrong == 0) values[index] = 0;
  to[index] = values[index];
}
OSS_KERNEL(test_uninitialised)

kernel void test_divergent(constant Size& args [[buffer(0)]], DevicePtr<float> to [[buffer(1)]], OSS_POSITION) {
  float sum = 1;
  if (args.wrong == 0 || lane < 16) sum = simd_sum(sum);
  threadgroup_barrier(mem_flags::mem_none);
  to[index] = sum;
}
OSS_KERNEL(test_divergent)

// to = a b for 8x8 matrices.
kernel void test_matrix(constant Size& args [[buffer(0)]], DevicePtr<const float> a [[buffer(1)]],
                        DevicePtr<const float> b [[buffer(2)]], DevicePtr<float> to [[buffer(3)]], OSS_POSITION) {
  simdgroup_float8x8 left, right, sum = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  simdgroup_load(left, a, 8);
  simdgroup_load(right, b, 8, ulong2(0), args.wrong != 0);
  simdgroup_multiply_accumulate(sum, left, right, sum);
  simdgroup_store(sum, to, 8);
}
OSS_KERNEL(test_matrix)

kernel void test_add(constant Size& args [[buffer(0)]], DevicePtr<const float> from [[buffer(1)]],
                     DevicePtr<float> to [[buffer(2)]], OSS_POSITION) {
  to[index] = from[index] + float(args.count);
}
OSS_KERNEL(test_add)

}  // namespace

namespace oss::test {
namespace {

using metal::bytes_of;
using metal::Encoder;
using metal::reads;
using metal::writes;

struct OnDevice {
  explicit OnDevice(unsigned seed = 0) {
    emu::set_metal_machine({});
    emu::set_metal_seed(seed);
  }
  ~OnDevice() {
    for (const void* one : made) device->release(one);
    emu::set_metal_machine({});
  }
  float* floats(size_t count) {
    made.push_back(device->allocate(count * sizeof(float)));
    return static_cast<float*>(made.back());
  }
  std::shared_ptr<metal::Device> device = emu::make_metal_device();
  Encoder encoder{device};
  std::vector<void*> made;
};

void check_fault(const std::string& part, const std::function<void(OnDevice&)>& encode, unsigned seed = 0) {
  OnDevice on(seed);
  encode(on);
  CHECK_THROWS(Code::kDevice, part, on.encoder.wait());
}

}  // namespace

TEST("metal emulator: sums over a threadgroup in any order of threads; without the barrier one order fails") {
  const auto sums = [](unsigned seed, int wrong) {
    OnDevice on(seed);
    float *from = on.floats(256), *to = on.floats(256);
    for (int i = 0; i < 256; ++i) from[i] = float(i);
    on.encoder.dispatch("test_sum", {4}, 64, {bytes_of(Size{64, wrong}), reads(from, 256), writes(to, 256)});
    on.encoder.wait();
    bool right = true;
    for (int i = 0; i < 256; ++i) right = right && to[i] == float(i / 64 * 64 * 64 + 2016);
    return right;
  };
  bool found = false;
  for (unsigned seed = 0; seed < 5; ++seed) {
    CHECK(sums(seed, 0));
    found = found || !sums(seed, 1);
  }
  CHECK(found);
}

TEST("metal emulator: accesses outside of buffers and arrays, and misaligned ones") {
  for (const int count : {32, 33}) {
    const auto encode = [&](OnDevice& on) {
      on.encoder.dispatch("test_bounds", {1}, 64, {bytes_of(Size{count, 0}), writes(on.floats(32), 32)});
    };
    if (count == 33) {
      check_fault("outside of the buffer", encode);
    } else {
      OnDevice on;
      encode(on);
      on.encoder.wait();
    }
  }
  check_fault("outside of the threadgroup array", [](OnDevice& on) {
    on.encoder.dispatch("test_threadgroup_bounds", {1}, 32, {bytes_of(Size{1, 0}), writes(on.floats(32), 32)});
  });
  check_fault("misaligned", [](OnDevice& on) {
    on.encoder.dispatch("test_alignment", {1}, 32,
                        {bytes_of(Size{1, 0}), reads(on.floats(32), 32), writes(on.floats(32), 32)});
  });
}

TEST("metal emulator: more threadgroup memory than there is, and memory that nobody has written") {
  for (const int wrong : {0, 1}) {
    OnDevice on;
    float* to = on.floats(32);
    on.encoder.dispatch("test_threadgroup_size", {1}, 32, {bytes_of(Size{0, wrong}), writes(to, 32)});
    if (wrong == 1) {
      CHECK_THROWS(Code::kDevice, "more than 32 KB", on.encoder.wait());
    } else {
      on.encoder.wait();
    }
  }
  for (const int wrong : {0, 1}) {
    OnDevice on;
    float* to = on.floats(32);
    on.encoder.dispatch("test_uninitialised", {1}, 32, {bytes_of(Size{0, wrong}), writes(to, 32)});
    on.encoder.wait();
    CHECK_EQ(to[5] == 0.0f, wrong == 0);
  }
}

TEST("metal emulator: lanes that do not meet, and a threadgroup of another size than the kernel's") {
  check_fault("deadlock", [](OnDevice& on) {
    on.encoder.dispatch("test_divergent", {1}, 32, {bytes_of(Size{0, 1}), writes(on.floats(32), 32)});
  });
  check_fault("outside of the threadgroup array", [](OnDevice& on) {  // parts[2] of three simdgroups
    on.encoder.dispatch("test_sum", {1}, 96,
                        {bytes_of(Size{64, 0}), reads(on.floats(96), 96), writes(on.floats(96), 96)});
  });
}

TEST("metal emulator: a product of matrices, also with a transposed one") {
  for (const int transposed : {0, 1}) {
    OnDevice on;
    float *a = on.floats(64), *b = on.floats(64), *to = on.floats(64);
    for (int i = 0; i < 64; ++i) {
      a[i] = float(i % 7) - 3;
      b[i] = float(i % 5) - 2;
    }
    on.encoder.dispatch("test_matrix", {1}, 32,
                        {bytes_of(Size{0, transposed}), reads(a, 64), reads(b, 64), writes(to, 64)});
    on.encoder.wait();
    for (int r = 0; r < 8; ++r) {
      for (int c = 0; c < 8; ++c) {
        float sum = 0;
        for (int k = 0; k < 8; ++k) sum += a[r * 8 + k] * (transposed == 1 ? b[c * 8 + k] : b[k * 8 + c]);
        CHECK_EQ(to[r * 8 + c], sum);
      }
    }
  }
}

TEST("metal emulator: dispatches that depend on each other have a barrier, others have none") {
  for (const unsigned seed : {0u, 1u, 2u, 3u}) {
    OnDevice on(seed);
    float *a = on.floats(32), *b = on.floats(32), *c = on.floats(32), *d = on.floats(32);
    const auto add = [&](const float* from, float* to) {
      on.encoder.dispatch("test_add", {1}, 32, {bytes_of(Size{1, 0}), reads(from, 32), writes(to, 32)});
    };
    add(a, b);
    add(a, c);
    CHECK_EQ(on.encoder.barriers(), 0);
    add(b, d);  // reads what is written
    CHECK_EQ(on.encoder.barriers(), 1);
    add(c, b);  // overwrites what is read
    CHECK_EQ(on.encoder.barriers(), 2);
    on.encoder.wait();
    CHECK_EQ(b[3], 2.0f);
    CHECK_EQ(d[3], 2.0f);
  }
}

TEST("metal emulator: a barrier that is left out, or a write that is not declared, is found") {
  OnDevice on;
  float *a = on.floats(32), *b = on.floats(32), *c = on.floats(32);
  emu::drop_metal_barrier(1);
  on.encoder.dispatch("test_add", {1}, 32, {bytes_of(Size{1, 0}), reads(a, 32), writes(b, 32)});
  on.encoder.dispatch("test_add", {1}, 32, {bytes_of(Size{1, 0}), reads(b, 32), writes(c, 32)});
  CHECK_THROWS(Code::kDevice, "a barrier is missing", on.encoder.wait());
  check_fault("declared to be read", [](OnDevice& undeclared) {
    float *from = undeclared.floats(32), *to = undeclared.floats(32);
    undeclared.encoder.dispatch("test_add", {1}, 32, {bytes_of(Size{1, 0}), reads(from, 32), reads(to, 32)});
  });
}

TEST("metal emulator: commits run in order, and only the failed one reports its error") {
  OnDevice on;
  float *a = on.floats(32), *b = on.floats(32);
  const auto add = [&](const float* from, float* to) {
    on.encoder.dispatch("test_add", {1}, 32, {bytes_of(Size{1, 0}), reads(from, 32), writes(to, 32)});
    return on.encoder.commit();
  };
  const uint64_t first = add(a, b), second = add(b, a), third = add(a, b);
  CHECK_EQ(b[0], 0.0f);  // nothing has run
  emu::fail_metal_dispatch(2);
  on.encoder.wait(first);
  CHECK_EQ(b[0], 1.0f);
  CHECK_THROWS(Code::kDevice, "as it was told to", on.encoder.wait(second));
  on.encoder.wait(third);
  CHECK_EQ(b[0], 1.0f);
}

}  // namespace oss::test
