// Limits that the control groups of this process set on CPU time, memory and threads. Reads version 1, version 2 and
// both at once.
//
// A group must obey the limits of all groups around it, as far as they are visible: a container sees its own group as
// the root. A file that is absent, contains "max" or makes no sense sets no limit.
//
//          version 2                      version 1 (a tree for each controller)
//   CPUs   cpu.max                        cpu.cfs_quota_us, cpu.cfs_period_us
//   memory memory.max, memory.high,       memory.limit_in_bytes, memory.usage_in_bytes, memory.stat
//          memory.current, memory.stat
//   threads pids.max, pids.current        pids.max, pids.current
//
// The files count the page cache as used, but the system gives it back when memory is needed. A model's mapped files
// are page cache. So page cache, active or inactive, does not count as used here.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace oss {

struct CgroupLimits {
  struct Cpus {
    double count;  // in CPUs: quota / period
    std::string file;
  };
  struct Memory {
    uint64_t limit, used;  // bytes; used excludes page cache and is at most the limit
    std::string file;
  };
  struct Threads {
    uint64_t limit, used;
    std::string file;
  };
  // The tightest limit of all groups.
  std::optional<Cpus> cpus{};
  std::optional<Memory> memory{};
  std::optional<Threads> threads{};
};

// Reads ROOT/proc/self/cgroup, ROOT/proc/self/mountinfo and the files of the groups below ROOT.
// Throws kResourceLimit when a file cannot be opened because too many are open.
CgroupLimits cgroup_limits(const std::string& root = "");

}  // namespace oss
