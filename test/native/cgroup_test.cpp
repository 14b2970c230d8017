// The limits of a process, read from trees of files like those of kernels and container runtimes.
#include "native/base/cgroup.h"

#include <filesystem>
#include <map>

#include "native/base/machine.h"
#include "test/native/check.h"
#include "test/native/checkpoint_files.h"

namespace oss::test {
namespace {

constexpr uint64_t kGiB = uint64_t(1) << 30;
using Files = std::map<std::string, std::string>;

const std::string kV2 = "25 1 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
const std::string kV1 =
    "26 25 0:23 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "27 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "28 25 0:25 / /sys/fs/cgroup/pids rw shared:4 master:1 - cgroup cgroup rw,pids\n";

class Tree {
 public:
  explicit Tree(const Files& files) {
    for (const auto& [path, text] : files) {
      const std::filesystem::path file = folder_ / path;
      std::filesystem::create_directories(file.parent_path());
      write_bytes(file.string(), text);
    }
  }
  const std::string& root() const { return folder_.path(); }

 private:
  TempFolder folder_;
};

struct Expected {
  double cpus = 0;               // 0: no limit
  uint64_t limit = 0, left = 0;  // of memory; 0: no limit
  uint64_t threads = 0;          // 0: no limit
};

void check(const std::string& name, const Files& files, const Expected& expected) {
  const Tree tree(files);
  const CgroupLimits limits = cgroup_limits(tree.root());
  const auto compare = [&](const char* what, auto actual, auto wanted) {
    if (actual != wanted) fail(__FILE__, __LINE__, str(name, ": ", what, ": expected ", wanted, ", got ", actual));
  };
  compare("CPUs", limits.cpus ? limits.cpus->count : 0, expected.cpus);
  compare("limit", limits.memory ? limits.memory->limit : 0, expected.limit);
  compare("left", limits.memory ? limits.memory->limit - limits.memory->used : 0, expected.left);
  compare("threads", limits.threads ? limits.threads->limit : 0, expected.threads);
}

}  // namespace

TEST("cgroup: no groups, no limits") {
  check("nothing at all", {}, {});
  check("a machine without groups",
        {{"proc/self/cgroup", ""}, {"proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"}}, {});
}

TEST("cgroup: version 2") {
  const std::string own = "sys/fs/cgroup/user.slice/a/";
  const Files base = {{"proc/self/mountinfo", kV2}, {"proc/self/cgroup", "0::/user.slice/a\n"}};
  const auto with = [&](Files more) {
    more.insert(base.begin(), base.end());
    return more;
  };
  check("no limits are said",
        with({{own + "cpu.max", "max 100000\n"}, {own + "memory.max", "max\n"}, {own + "pids.max", "max\n"}}), {});
  check("its own limits",
        with({{own + "cpu.max", "250000 100000\n"},
              {own + "memory.max", "8589934592\n"},
              {own + "memory.current", "1073741824\n"},
              {own + "pids.max", "100\n"},
              {own + "pids.current", "7\n"}}),
        {2.5, 8 * kGiB, 7 * kGiB, 100});
  check("those of the group around it",
        with({{own + "memory.max", "max\n"},
              {own + "memory.current", "4096\n"},
              {own + "cpu.max", "max 100000\n"},
              {"sys/fs/cgroup/user.slice/memory.max", "1073741824\n"},
              {"sys/fs/cgroup/user.slice/memory.current", "536870912\n"},
              {"sys/fs/cgroup/user.slice/cpu.max", "50000 100000\n"}}),
        {0.5, kGiB, kGiB / 2});
  check("the group that leaves least counts, not the one with the least limit",
        with({{own + "memory.max", "1073741824\n"},
              {own + "memory.current", "0\n"},
              {"sys/fs/cgroup/user.slice/memory.max", "8589934592\n"},
              {"sys/fs/cgroup/user.slice/memory.current", "8589930496\n"}}),
        {0, 8 * kGiB, 4096});
  check("memory.high slows a group down",
        with({{own + "memory.max", "8589934592\n"},
              {own + "memory.high", "4294967296\n"},
              {own + "memory.current", "0\n"}}),
        {0, 4 * kGiB, 4 * kGiB});
  check("page cache is given back, active or not; what is shared, or only called file, is not",
        with({{own + "memory.max", "8589934592\n"},
              {own + "memory.current", "8321499136\n"},
              {own + "memory.stat",
               "anon 0\nfile 7784628224\nshmem 1073741824\ninactive_file 4294967296\nactive_file 2147483648\n"}}),
        {0, 8 * kGiB, 8589934592 - (8321499136 - 6 * kGiB)});
  check("more cache than use",
        with({{own + "memory.max", "1073741824\n"},
              {own + "memory.current", "5\n"},
              {own + "memory.stat", "inactive_file 1000\nactive_file 18446744073709551615\n"}}),
        {0, kGiB, kGiB});
  check("more in use than allowed", with({{own + "memory.max", "4096\n"}, {own + "memory.current", "8192\n"}}),
        {0, 4096, 0});
  check("no use is said", with({{own + "memory.max", "4096\n"}}), {0, 4096, 4096});
}

TEST("cgroup: invalid files set no limit") {
  const std::string own = "sys/fs/cgroup/";
  const Files base = {{"proc/self/mountinfo", kV2}, {"proc/self/cgroup", "0::/\n"}};
  const auto with = [&](Files more) {
    more.insert(base.begin(), base.end());
    return more;
  };
  for (const char* text : {"", "\n", "-1\n", "abc\n", "12abc\n", "0x10\n", "1e9\n", "1 2 3 4\n",
                           "99999999999999999999999\n", "18446744073709551615\n", "1.5\n"}) {
    check(str("memory.max ", text), with({{own + "memory.max", text}, {own + "pids.max", text}}), {});
  }
  for (const char* text :
       {"", "max", "100000", "0 100000", "100000 0", "-1 100000", "a b", "100000 100000 1", "max max"}) {
    check(str("cpu.max ", text), with({{own + "cpu.max", text}}), {});
  }
  check("garbage in /proc",
        {{"proc/self/mountinfo", "- - - -\n\n \n1 2 3\n" + kV2},
         {"proc/self/cgroup", "\n:\n0:\nx::\n0::/\n"},
         {own + "memory.max", "4096"}},
        {0, 4096, 4096});
  check("a folder in place of a file", with({{own + "memory.max/x", "1"}}), {});
}

TEST("cgroup: version 1, a tree for each controller") {
  const Files base = {
      {"proc/self/mountinfo", kV1},
      {"proc/self/cgroup", "12:pids:/docker/c1\n4:cpu,cpuacct:/docker/c1\n3:memory:/docker/c1\n0::/\n"}};
  const std::string memory = "sys/fs/cgroup/memory/docker/c1/", cpu = "sys/fs/cgroup/cpu,cpuacct/docker/c1/";
  const auto with = [&](Files more) {
    more.insert(base.begin(), base.end());
    return more;
  };
  check("unlimited",
        with({{memory + "memory.limit_in_bytes", "9223372036854771712\n"},
              {cpu + "cpu.cfs_quota_us", "-1\n"},
              {cpu + "cpu.cfs_period_us", "100000\n"}}),
        {});
  check("limits",
        with({{memory + "memory.limit_in_bytes", "1073741824\n"},
              {memory + "memory.usage_in_bytes", "966367641\n"},
              {memory + "memory.stat", "cache 5\ntotal_inactive_file 0\n"},
              {cpu + "cpu.cfs_quota_us", "150000\n"},
              {cpu + "cpu.cfs_period_us", "100000\n"},
              {"sys/fs/cgroup/pids/docker/c1/pids.max", "64\n"}}),
        {1.5, kGiB, kGiB - 966367641, 64});
  check("its page cache, and that of the groups in it",
        with({{memory + "memory.limit_in_bytes", "1073741824\n"},
              {memory + "memory.usage_in_bytes", "1073741824\n"},
              {memory + "memory.stat",
               "inactive_file 1\nactive_file 2\ntotal_inactive_file 4096\ntotal_active_file 8192\n"}}),
        {0, kGiB, 12288});
  check("a limit around it that cannot be seen",
        with({{memory + "memory.limit_in_bytes", "9223372036854771712\n"},
              {memory + "memory.usage_in_bytes", "4096\n"},
              {memory + "memory.stat", "hierarchical_memory_limit 1073741824\n"}}),
        {0, kGiB, kGiB - 4096});
  check("a limit around it that can be seen",
        with({{"sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "8192\n"},
              {"sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "10000\n"},
              {"sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n"},
              {memory + "x", ""},
              {cpu + "x", ""}}),
        {0.1, 8192, 8192});
}

TEST("cgroup: a container that sees its own part of the tree as the root") {
  const Files v1 = {
      {"proc/self/mountinfo", "26 25 0:23 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"},
      {"proc/self/cgroup", "3:memory:/docker/0123/inner\n"},
      {"sys/fs/cgroup/memory/memory.limit_in_bytes", "8192\n"},
      {"sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "4096\n"}};
  check("version 1", v1, {0, 4096, 4096});
  check("version 2, its own namespace",
        {{"proc/self/mountinfo", kV2}, {"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/memory.max", "4096\n"}},
        {0, 4096, 4096});
  check("version 2, the host's names",
        {{"proc/self/mountinfo", "25 1 0:22 /docker/0123 /sys/fs/cgroup ro - cgroup2 cgroup rw\n"},
         {"proc/self/cgroup", "0::/docker/0123\n"},
         {"sys/fs/cgroup/memory.max", "4096\n"},
         {"sys/fs/cgroup/docker/0123/memory.max", "1\n"}},
        {0, 4096, 4096});
  check("a group whose name begins alike",
        {{"proc/self/mountinfo", "25 1 0:22 /docker/01 /sys/fs/cgroup ro - cgroup2 cgroup rw\n"},
         {"proc/self/cgroup", "0::/docker/0123\n"},
         {"sys/fs/cgroup/memory.max", "4096\n"},
         {"sys/fs/cgroup/23/memory.max", "1\n"}},
        {0, 4096, 4096});
  check("a group outside of the namespace",
        {{"proc/self/mountinfo", kV2}, {"proc/self/cgroup", "0::/../other\n"}, {"sys/fs/cgroup/memory.max", "4096\n"}},
        {0, 4096, 4096});
  check("the names are those of the host, and nobody says what is mounted",
        {{"proc/self/cgroup", "3:memory:/docker/0123/inner\n0::/docker/0123/inner\n"},
         {"sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "4096\n"}},
        {0, 4096, 4096});
  check("a group that has been removed",
        {{"proc/self/mountinfo", kV2},
         {"proc/self/cgroup", "0::/a/b (deleted)\n"},
         {"sys/fs/cgroup/a/memory.max", "4096\n"}},
        {0, 4096, 4096});
  check("a space in the name",
        {{"proc/self/mountinfo", "25 1 0:22 / /my\\040cgroups rw - cgroup2 cgroup2 rw\n"},
         {"proc/self/cgroup", "0::/a:b c\n"},
         {"my cgroups/a:b c/memory.max", "4096\n"}},
        {0, 4096, 4096});
}

TEST("cgroup: both versions at once") {
  const Files hybrid = {{"proc/self/mountinfo", "24 1 0:21 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" + kV1 +
                                                    "29 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
                        {"proc/self/cgroup", "3:memory:/m\n2:cpu,cpuacct:/c\n0::/u\n"},
                        {"sys/fs/cgroup/memory/m/memory.limit_in_bytes", "4096\n"},
                        {"sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "200000\n"},
                        {"sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "100000\n"},
                        {"sys/fs/cgroup/unified/u/pids.max", "9\n"}};
  check("controllers in version 1, the rest in version 2", hybrid, {2, 4096, 4096, 9});
}

TEST("machine: threads are the usable cores, at most the quota rounded up") {
  const int cores = usable_threads().count;
  CHECK(cores >= 1);
  CHECK(cores <= 64);
  const auto threads = [](const std::string& quota) {
    const Tree tree({{"proc/self/mountinfo", kV2}, {"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", quota}});
    return usable_threads(tree.root());
  };
  const Tree free({});
  const int all = usable_threads(free.root()).count;  // from the affinity alone
  CHECK_EQ(threads("max 100000\n").count, all);
  CHECK_EQ(threads("1000 100000\n").count, 1);
  CHECK_EQ(threads("50000 100000\n").count, 1);
  CHECK_EQ(threads("100000 100000\n").count, 1);
  CHECK_EQ(threads("100001 100000\n").count, std::min(2, all));
  CHECK_EQ(threads("150000 100000\n").count, std::min(2, all));
  CHECK_EQ(threads("6400000 100000\n").count, all);
  CHECK(threads("50000 100000\n").why.find("0.5 CPUs") != std::string::npos || all == 1);
  CHECK(usable_threads(free.root()).why.find("core") != std::string::npos);
}

TEST("machine: memory is the minimum of the machine's and the groups' memory") {
  const auto memory = [](const Files& more) {
    Files files = {
        {"proc/meminfo", "MemTotal:       33554432 kB\nMemFree: 1 kB\nMemAvailable:   16777216 kB\nBuffers: 5 kB\n"},
        {"proc/self/mountinfo", kV2},
        {"proc/self/cgroup", "0::/\n"}};
    files.insert(more.begin(), more.end());
    const Tree tree(files);
    return usable_memory(tree.root());
  };
  CHECK_EQ(memory({}).bytes, 16 * kGiB);
  CHECK_EQ(memory({{"sys/fs/cgroup/memory.max", "17179869185\n"}}).bytes, 16 * kGiB);
  const UsableMemory limited =
      memory({{"sys/fs/cgroup/memory.max", "8589934592\n"}, {"sys/fs/cgroup/memory.current", "1073741824\n"}});
  CHECK_EQ(limited.bytes, 7 * kGiB);
  CHECK(limited.why.find("8.59 GB") != std::string::npos && limited.why.find("memory.max") != std::string::npos);
  // A warm start plans the same memory as a cold one.
  const UsableMemory cold =
      memory({{"sys/fs/cgroup/memory.max", "8589934592\n"}, {"sys/fs/cgroup/memory.current", "536870912\n"}});
  const UsableMemory warm =
      memory({{"sys/fs/cgroup/memory.max", "8589934592\n"},
              {"sys/fs/cgroup/memory.current", "8321499136\n"},
              {"sys/fs/cgroup/memory.stat", "inactive_file 7247757312\nactive_file 536870912\n"}});
  CHECK_EQ(cold.bytes, warm.bytes);
  CHECK(usable_memory(Tree({}).root()).bytes > 0);
}

}  // namespace oss::test
