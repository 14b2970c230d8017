#include "native/base/system.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace oss {

// The number in a one-line file of the cgroup tree; false when it is absent or says "max".
static bool read_number(const char* path, uint64_t& value) {
  std::ifstream in(path);
  return bool(in >> value);
}

uint64_t available_memory() {
  uint64_t available = 0;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string key; meminfo >> key;) {
    if (key == "MemAvailable:") {
      meminfo >> available;
      available *= 1024;
      break;
    }
    meminfo.ignore(256, '\n');
  }
  if (available == 0) available = uint64_t(sysconf(_SC_PHYS_PAGES)) * uint64_t(sysconf(_SC_PAGESIZE)) / 2;
  uint64_t limit = 0, used = 0;
  if (read_number("/sys/fs/cgroup/memory.max", limit) && read_number("/sys/fs/cgroup/memory.current", used)) {
    available = std::min(available, limit > used ? limit - used : 0);
  }
  return available;
}

}  // namespace oss
