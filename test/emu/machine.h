// The machine that the emulated CUDA runtime presents, and its failures. Devices execute one stream operation at a
// time, and only when the host waits for it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace oss::emu {

struct Machine {
  int devices = 1;          // 0: no driver is installed
  bool old_driver = false;  // older than the runtime requires
  int compute_major = 9, compute_minor = 0;
  int multiprocessors = 16;
  size_t memory_bytes = size_t(4) << 30;  // of each device
};

// Restores the default machine: no fault, no planned failure, threads in order. Memory, streams and events stay.
void reset();
// As reset(), but with another machine.
void set_machine(const Machine&);

// The n-th launch that runs from now on (1 = the next) fails with `status`, and so does everything on its device after
// it.
void fail_launch(int n, int status);

// 0: threads and blocks in order. If a result depends on the seed, the kernel lacks a barrier.
void set_schedule_seed(unsigned seed);

size_t bytes_in_use(int device = 0);

// The last fault and its place, in words; empty after reset().
std::string last_fault();

}  // namespace oss::emu
