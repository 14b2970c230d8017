// What of this machine the process may use, and why no more.
#pragma once
#include <cstdint>
#include <string>

namespace oss {

std::string cpu_name();  // "Intel(R) Xeon(R) Processor"; "CPU" where the system does not say

// One thread for each physical core that this process may run on (its affinity), but no more than the CPUs whose time its
// cgroup has, 64 at most, 1 at least. A fraction of a CPU counts as one: with a quota of 1.5, two threads get all of it and
// are stopped for a part of each period, where one thread would leave a third unused.
struct UsableThreads {
  int count;
  std::string why;  // "2 cores"; "4 of 16 cores: the cgroup allows 3.5 CPUs (/sys/fs/cgroup/cpu.max)"
};
UsableThreads usable_threads(const std::string& root = "");

// Bytes that this process can still use without swapping: what the system estimates, lowered by its cgroups' limits, and by
// those of its address space (ulimit -v, -d). Page cache counts as free: it is given back.
struct UsableMemory {
  uint64_t bytes;
  std::string why;
};
UsableMemory usable_memory(const std::string& root = "");

// Throws as cgroup_limits() does.

}  // namespace oss
