// The emulated Apple GPU, and its failures. Work runs when the host waits for it. So a host that reads results early
// gets old ones.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "native/backend/metal/device.h"

namespace oss::emu {

struct MetalMachine {
  bool present = false;  // a GPU that find_device() returns; tests that need one say so
  metal::DeviceLimits limits{.name = "Emulated Apple GPU",
                             .family = 9,
                             .macos_major = 15,
                             .macos_minor = 0,
                             .working_set_bytes = uint64_t(4) << 30,
                             .buffer_bytes = uint64_t(3) << 30,
                             .memory_bytes = uint64_t(6) << 30,
                             .threadgroup_bytes = 32 << 10};
  size_t page_bytes = 16384;
  bool wraps = true;  // wrap() works
  bool idle = false;  // dispatches do nothing: a step takes the host's time only
};

// Another machine, without a fault or planned failure, threads in order. Buffers stay.
void set_metal_machine(const MetalMachine&);
// A device on that machine, whether or not find_device() returns one.
std::shared_ptr<metal::Device> make_metal_device();

// The n-th dispatch that runs from now on (1 = the next) fails, and so does its command buffer.
void fail_metal_dispatch(int n);
// 0: threads, threadgroups and concurrent dispatches in order. If a result depends on the seed, a barrier is missing.
void set_metal_seed(unsigned seed);
// The n-th barrier between dispatches from now on is left out, to show that its absence is found.
void drop_metal_barrier(int n);

size_t metal_bytes_in_use();   // allocated
size_t metal_bytes_wrapped();  // of the caller
// The last fault in words; empty after set_metal_machine().
std::string last_metal_fault();

}  // namespace oss::emu
