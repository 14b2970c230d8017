// The part of this machine that the process may use, with the limit that applies.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace oss {

std::string cpu_name();  // "Intel(R) Xeon(R) Processor"; "CPU" where the system does not report it

// One thread for each physical core in this process's affinity mask. The count is at most the CPUs that its cgroup
// allows, at most 64, and at least 1. A fraction of a CPU counts as one. With a quota of 1.5, two threads use all of it
// and pause for a part of each period; one thread would leave a third unused.
struct UsableThreads {
  int count;
  std::string why;  // "2 cores"; "4 of 16 cores: the cgroup allows 3.5 CPUs (/sys/fs/cgroup/cpu.max)"
};
UsableThreads usable_threads(const std::string& root = "");

// The first processor of each core in this thread's affinity mask. Empty where the system has no such mask (macOS).
std::vector<int> processors_of_cores();

// Bytes that this process can still use without swapping. It is the system's estimate, lowered by the limits of its
// cgroups and of its address space (ulimit -v, -d). Page cache counts as free, because the system gives it back.
struct UsableMemory {
  uint64_t bytes;
  std::string why;
};
UsableMemory usable_memory(const std::string& root = "");

// Throws as cgroup_limits() does.

}  // namespace oss
