// What the control groups of this process allow: time of CPUs, memory, threads. Version 1, version 2 and both at once.
//
// A group is held to the limits of all groups around it, as far as they can be seen from here: a container sees its own
// group as the root. A file that is absent, says "max", or makes no sense, sets no limit.
//
//          version 2                      version 1 (a tree for each controller)
//   CPUs   cpu.max                        cpu.cfs_quota_us, cpu.cfs_period_us
//   memory memory.max, memory.high,       memory.limit_in_bytes, memory.usage_in_bytes, memory.stat
//          memory.current, memory.stat
//   threads pids.max, pids.current        pids.max, pids.current
//
// Page cache is counted as used, and given back when somebody needs the memory: a model's mapped files are page cache, so
// it does not count as used here, neither the inactive nor the active part.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace oss {

struct CgroupLimits {
  struct Cpus {
    double count;  // of whole CPUs: quota / period
    std::string file;
  };
  struct Memory {
    uint64_t limit, used;  // bytes; used without page cache, at most the limit
    std::string file;
  };
  struct Threads {
    uint64_t limit, used;
    std::string file;
  };
  // Of all groups the one that leaves least.
  std::optional<Cpus> cpus{};
  std::optional<Memory> memory{};
  std::optional<Threads> threads{};
};

// Reads ROOT/proc/self/cgroup, ROOT/proc/self/mountinfo and the files of the groups below ROOT.
// Throws kResourceLimit when a file cannot be opened because too many are open.
CgroupLimits cgroup_limits(const std::string& root = "");

}  // namespace oss
