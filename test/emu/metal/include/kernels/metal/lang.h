// Replaces kernels/metal/lang.h when a C++ compiler compiles our kernels. Pointers know their buffer (pointer.h), and
// OSS_KERNEL makes a kernel findable by its name (library.h).
#pragma once
#include <metal_stdlib>

#include "test/emu/metal/library.h"
#include "test/emu/metal/pointer.h"

using namespace metal;
using oss::emu::as;
using oss::emu::as_const;
using oss::emu::DevicePtr;
using oss::emu::ThreadgroupPtr;

#define kernel static
#define constant const

#define OSS_THREADGROUP(type, name, count) \
  const ::oss::emu::ThreadgroupArray<type, count> name { ::oss::emu::Where::current() }

#define OSS_POSITION \
  [[maybe_unused]] uint3 group, [[maybe_unused]] uint index, [[maybe_unused]] uint lane, [[maybe_unused]] uint simdgroup

#define OSS_KERNEL(name) static const ::oss::emu::Registration oss_registration_##name(#name, &name);
