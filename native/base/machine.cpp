#include "native/base/machine.h"

#include <sys/resource.h>
#include <unistd.h>

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iomanip>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#include "native/base/cgroup.h"
#include "native/base/str.h"
#include "native/base/text_file.h"

namespace oss {
namespace {

constexpr int kMostThreads = 64;

int cores_allowed() {
  if (const size_t cores = processors_of_cores().size(); cores > 0) return int(cores);
  return std::max(1, int(std::thread::hardware_concurrency()));
}

std::string gigabytes(uint64_t bytes) { return str(std::fixed, std::setprecision(2), double(bytes) / 1e9, " GB"); }

#if defined(__linux__)
// Page counts in /proc/self/statm: field 0 is the whole address space, field 5 is the writable part.
uint64_t mapped_bytes(const std::string& root, int field) {
  std::istringstream in(read_text_file(root + "/proc/self/statm").value_or(""));
  in.exceptions(std::ios::badbit);
  uint64_t pages = 0;
  for (int i = 0; i <= field; ++i) {
    if (!(in >> pages)) return 0;
  }
  return pages * uint64_t(sysconf(_SC_PAGESIZE));
}
#endif

}  // namespace

std::string cpu_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

UsableThreads usable_threads(const std::string& root) {
  const int cores = cores_allowed();
  UsableThreads usable = {std::clamp(cores, 1, kMostThreads), str(cores, cores == 1 ? " core" : " cores")};
  if (cores > kMostThreads) usable.why = str(kMostThreads, " of ", cores, " cores: more do not help");
  if (const auto cpus = cgroup_limits(root).cpus; cpus && std::ceil(cpus->count) < usable.count) {
    usable.count = std::max(1, int(std::ceil(cpus->count)));
    usable.why = str(usable.count, " of ", cores, " cores: the cgroup allows ", std::setprecision(4), cpus->count,
                     " CPUs (", cpus->file, ")");
  }
  return usable;
}

std::vector<int> processors_of_cores() {
  std::vector<int> first;
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return first;
  std::set<std::string> distinct;  // hyperthreads of one core name the same siblings
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const auto siblings = read_text_file(str("/sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list"));
    if (distinct.insert(siblings && !siblings->empty() ? *siblings : str("cpu", cpu)).second) first.push_back(cpu);
  }
#endif
  return first;
}

UsableMemory usable_memory(const std::string& root) {
  UsableMemory usable = {0, "available of the machine's memory"};
  std::istringstream meminfo(read_text_file(root + "/proc/meminfo").value_or(""));
  meminfo.exceptions(std::ios::badbit);
  for (std::string key; meminfo >> key; meminfo.ignore(256, '\n')) {
    if (key != "MemAvailable:") continue;
    meminfo >> usable.bytes;
    usable.bytes *= 1024;
    break;
  }
  if (usable.bytes == 0) {
    usable = {uint64_t(sysconf(_SC_PHYS_PAGES)) * uint64_t(sysconf(_SC_PAGESIZE)) / 2, "half of the machine's memory"};
  }
  const auto lower = [&](uint64_t bytes, const std::string& why) {
    if (bytes < usable.bytes) usable = {bytes, why};
  };
  if (const auto memory = cgroup_limits(root).memory) {
    lower(memory->limit - memory->used, str("the cgroup's limit of ", gigabytes(memory->limit), " (", memory->file,
                                            "), ", gigabytes(memory->used), " of it in use beside page cache"));
  }
#if defined(__linux__)
  const auto lower_by = [&](decltype(RLIMIT_AS) resource, int field, const char* name) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    const uint64_t most = limit.rlim_cur, mapped = mapped_bytes(root, field);
    lower(most - std::min(most, mapped), str(name, " of ", gigabytes(most), ", ", gigabytes(mapped), " of it in use"));
  };
  lower_by(RLIMIT_AS, 0, "the address space's limit (ulimit -v)");
  lower_by(RLIMIT_DATA, 5, "the limit of writable memory (ulimit -d)");
#endif
  return usable;
}

}  // namespace oss
