#include "native/base/cgroup.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

#include "native/base/str.h"
#include "native/base/text_file.h"

namespace oss {
namespace {

constexpr uint64_t kUnlimited = uint64_t(1) << 60;  // version 1 writes 2^63 - 4096 for "none"

bool is_folder(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t at; (at = text.find(separator)) != std::string_view::npos; text.remove_prefix(at + 1)) {
    parts.emplace_back(text.substr(0, at));
  }
  parts.emplace_back(text);
  return parts;
}

bool has(const std::vector<std::string>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

// The whole word as a number. None for "max", for negative numbers, and for text that is not a 64-bit number.
std::optional<uint64_t> number_of(std::string_view word) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (word.empty() || error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

std::vector<std::string> words_of(const std::string& path) {
  const std::optional<std::string> text = read_text_file(path);
  std::vector<std::string> words;
  if (!text) return words;
  constexpr const char* kSpace = " \t\n";
  for (size_t end = 0, begin; (begin = text->find_first_not_of(kSpace, end)) != std::string::npos;) {
    end = std::min(text->find_first_of(kSpace, begin), text->size());
    words.push_back(text->substr(begin, end - begin));
  }
  return words;
}

std::optional<uint64_t> number_in(const std::string& path) {
  const std::vector<std::string> words = words_of(path);
  return words.size() == 1 ? number_of(words[0]) : std::nullopt;
}

// A mounted tree of groups. `shown` is the group at its top, as /proc/self/cgroup names groups. It may be unknown.
struct Mount {
  std::string folder;
  std::optional<std::string> shown;
};

// mountinfo writes spaces and similar characters as \040.
std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string_view digits = text.substr(i, 4);
    const bool escaped = digits.size() == 4 && digits[0] == '\\' &&
                         std::all_of(digits.begin() + 1, digits.end(), [](char c) { return c >= '0' && c <= '7'; });
    if (escaped) {
      out += char((digits[1] - '0') * 64 + (digits[2] - '0') * 8 + (digits[3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// `controller` is "cpu", "memory" or "pids"; empty for the tree of version 2.
std::vector<Mount> mounts_of(const std::string& root, std::string_view controller) {
  std::vector<Mount> mounts;
  const std::string lines = read_text_file(root + "/proc/self/mountinfo").value_or("");
  for (const std::string& line : split(lines, '\n')) {
    // 36 35 0:31 SHOWN FOLDER rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
    const std::vector<std::string> fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 6 || fields.end() - dash < 4) continue;
    const bool wanted =
        controller.empty() ? dash[1] == "cgroup2" : dash[1] == "cgroup" && has(split(dash[3], ','), controller);
    if (wanted) mounts.push_back({root + unescaped(fields[4]), unescaped(fields[3])});
  }
  // The usual mount points, for processes that cannot read mountinfo.
  const auto add_usual = [&](const std::string& folder) {
    const bool is_known = std::any_of(mounts.begin(), mounts.end(), [&](const Mount& m) { return m.folder == folder; });
    if (!is_known) mounts.push_back({folder, std::nullopt});
  };
  const std::string usual = root + "/sys/fs/cgroup";
  if (controller.empty()) {
    add_usual(usual);
    add_usual(usual + "/unified");
  } else {
    add_usual(str(usual, "/", controller));
    if (controller == "cpu") add_usual(usual + "/cpu,cpuacct");
  }
  return mounts;
}

// The group of this process in a tree, as /proc/self/cgroup names it; "/" where the file does not name it.
std::string group_of(const std::string& root, std::string_view controller) {
  const std::string lines = read_text_file(root + "/proc/self/cgroup").value_or("");
  for (const std::string& line : split(lines, '\n')) {
    // 0::/user.slice     4:cpu,cpuacct:/docker/0123
    const size_t first = line.find(':'), second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool wanted = controller.empty() ? controllers.empty() : has(split(controllers, ','), controller);
    if (wanted && line.substr(second + 1).starts_with('/')) return line.substr(second + 1);
  }
  return "/";
}

// The folders of the group and of all visible groups around it, the innermost first.
std::vector<std::string> folders_of(const Mount& mount, const std::string& group) {
  std::string below = group == "/" ? "" : group;
  const auto is_there = [&] { return is_folder(mount.folder + below); };
  if (mount.shown) {
    const std::string& shown = *mount.shown;
    if (shown != "/") {
      // A container sees only a part of the tree. If that part does not contain the group, only its top is known.
      const bool around = below.starts_with(shown) && (below.size() == shown.size() || below[shown.size()] == '/');
      below = around ? below.substr(shown.size()) : "";
    }
    if (below.find("/..") != std::string::npos) below.clear();  // a group outside of this namespace
    while (!below.empty() && !is_there()) below.resize(below.find_last_of('/'));
  } else {
    if (below.find("/..") != std::string::npos) below.clear();
    while (!below.empty() && !is_there()) below.erase(0, std::min(below.size(), below.find('/', 1)));
  }
  std::vector<std::string> folders;
  for (;;) {
    folders.push_back(mount.folder + below);
    if (below.empty()) return folders;
    below.resize(below.find_last_of('/'));
  }
}

template <typename Visit>
void for_each_folder(const std::string& root, std::string_view controller, const Visit& visit) {
  const std::string group = group_of(root, controller);
  for (const Mount& mount : mounts_of(root, controller)) {
    for (const std::string& folder : folders_of(mount, group)) visit(folder);
  }
}

void limit_cpus(CgroupLimits& limits, std::optional<uint64_t> quota, std::optional<uint64_t> period,
                const std::string& file) {
  if (!quota || *quota == 0 || *quota >= kUnlimited || !period || *period == 0) return;
  const double count = double(*quota) / double(*period);
  if (!limits.cpus || count < limits.cpus->count) limits.cpus = {count, file};
}

void limit_memory(CgroupLimits& limits, std::optional<uint64_t> limit, uint64_t usage, uint64_t cache,
                  const std::string& file) {
  if (!limit || *limit >= kUnlimited) return;
  const uint64_t used = std::min(*limit, usage - std::min(usage, cache));
  const auto left = [](const CgroupLimits::Memory& memory) { return memory.limit - memory.used; };
  const CgroupLimits::Memory memory = {*limit, used, file};
  if (!limits.memory || left(memory) < left(*limits.memory)) limits.memory = memory;
}

void limit_threads(CgroupLimits& limits, const std::string& folder) {
  const std::optional<uint64_t> limit = number_in(folder + "/pids.max");
  if (!limit || *limit >= kUnlimited) return;
  const CgroupLimits::Threads threads = {*limit, number_in(folder + "/pids.current").value_or(0), folder + "/pids.max"};
  const auto left = [](const CgroupLimits::Threads& t) { return t.limit - std::min(t.limit, t.used); };
  if (!limits.threads || left(threads) < left(*limits.threads)) limits.threads = threads;
}

// One line of memory.stat.
std::optional<uint64_t> statistic(const std::vector<std::string>& words, std::string_view name) {
  for (size_t i = 0; i + 1 < words.size(); i += 2) {
    if (words[i] == name) return number_of(words[i + 1]);
  }
  return std::nullopt;
}

void look_into_v2(CgroupLimits& limits, const std::string& folder) {
  const std::vector<std::string> cpu = words_of(folder + "/cpu.max");
  if (cpu.size() == 2) limit_cpus(limits, number_of(cpu[0]), number_of(cpu[1]), folder + "/cpu.max");

  const uint64_t usage = number_in(folder + "/memory.current").value_or(0);
  const std::vector<std::string> stat = words_of(folder + "/memory.stat");
  const uint64_t cache = statistic(stat, "inactive_file").value_or(0) + statistic(stat, "active_file").value_or(0);
  // Above memory.high the system slows a group down until it almost stops.
  for (const char* name : {"/memory.max", "/memory.high"}) {
    limit_memory(limits, number_in(folder + name), usage, cache, folder + name);
  }
  limit_threads(limits, folder);
}

void look_into_v1_cpu(CgroupLimits& limits, const std::string& folder) {
  const std::string file = folder + "/cpu.cfs_quota_us";  // -1: none
  limit_cpus(limits, number_in(file), number_in(folder + "/cpu.cfs_period_us"), file);
}

void look_into_v1_memory(CgroupLimits& limits, const std::string& folder) {
  const std::string file = folder + "/memory.limit_in_bytes";
  const uint64_t usage = number_in(folder + "/memory.usage_in_bytes").value_or(0);
  const std::vector<std::string> stat = words_of(folder + "/memory.stat");
  // "total_" counts the group and the groups in it. Old kernels lack these lines for a group without children.
  const auto of_all = [&](const std::string& name) {
    return statistic(stat, "total_" + name).value_or(statistic(stat, name).value_or(0));
  };
  const uint64_t cache = of_all("inactive_file") + of_all("active_file");
  limit_memory(limits, number_in(file), usage, cache, file);
  // The limits of the groups around it, including the invisible ones.
  limit_memory(limits, statistic(stat, "hierarchical_memory_limit"), usage, cache, folder + "/memory.stat");
}

}  // namespace

CgroupLimits cgroup_limits(const std::string& root) {
  CgroupLimits limits;
  for_each_folder(root, "", [&](const std::string& folder) { look_into_v2(limits, folder); });
  for_each_folder(root, "cpu", [&](const std::string& folder) { look_into_v1_cpu(limits, folder); });
  for_each_folder(root, "memory", [&](const std::string& folder) { look_into_v1_memory(limits, folder); });
  for_each_folder(root, "pids", [&](const std::string& folder) { limit_threads(limits, folder); });
  return limits;
}

}  // namespace oss
