#include "native/base/refused.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>

#include "native/base/cgroup.h"
#include "native/base/str.h"
#include "native/base/text_file.h"

namespace oss {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

std::optional<uint64_t> limit_of(decltype(RLIMIT_NOFILE) resource) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return uint64_t(limit.rlim_cur);
}

void add(std::string& list, const std::string& part) { list += (list.empty() ? "" : "; ") + part; }

std::optional<uint64_t> number_in(const char* path) {
  const std::optional<std::string> text = read_text_file(path);
  if (!text || text->empty() || (*text)[0] < '0' || (*text)[0] > '9') return std::nullopt;
  return std::stoull(*text);
}

// The number of mappings of this process: its map has one line for each.
uint64_t mappings() {
  const std::optional<std::string> text = read_text_file("/proc/self/maps");
  return text ? uint64_t(std::count(text->begin(), text->end(), '\n')) : 0;
}

// Thread stacks, shards and buffers are mappings, too.
void add_mappings(std::string& list) {
  const std::optional<uint64_t> most = number_in("/proc/sys/vm/max_map_count");
  if (const uint64_t used = mappings(); most && used + used / 10 >= *most) {
    add(list, str("vm.max_map_count is ", *most, ", ", used, " in use"));
  }
}

void add_address_space(std::string& list) {
  if (const auto limit = limit_of(RLIMIT_AS)) add(list, str("ulimit -v (RLIMIT_AS) is ", *limit / 1024, " KiB"));
  if (const auto limit = limit_of(RLIMIT_DATA)) add(list, str("ulimit -d (RLIMIT_DATA) is ", *limit / 1024, " KiB"));
}

// The search for the reason must not cause another error.
template <typename Look>
std::string found(const Look& look) {
  std::string list;
  try {
    look(list);
  } catch (const std::exception&) {
  }
  return list;
}

std::string because(int error, const std::string& limits) {
  return limits.empty() ? reason(error) : str(reason(error), "; ", limits);
}

}  // namespace

std::string thread_limits() {
  return found([](std::string& list) {
#if defined(RLIMIT_NPROC)
    if (const auto limit = limit_of(RLIMIT_NPROC)) {
      add(list, str("ulimit -u (RLIMIT_NPROC) is ", *limit, " threads of this user"));
    }
#endif
    if (const auto& threads = cgroup_limits().threads) {
      add(list, str("the cgroup's pids.max is ", threads->limit, ", ", threads->used, " in use (", threads->file, ")"));
    }
    add_address_space(list);
    add_mappings(list);
  });
}

std::string memory_limits() {
  return found([](std::string& list) {
    add_address_space(list);
    add_mappings(list);
    if (number_in("/proc/sys/vm/overcommit_memory") == 2u)
      add(list, "vm.overcommit_memory is 2, which promises no memory twice");
  });
}

Error refused_thread(const std::string& what, int error) {
  return Error(Code::kResourceLimit, str("the system refuses a thread for ", what, " (",
                                         because(error, thread_limits()), "): end other threads, or raise the limit"));
}

bool is_file_limit(int error) { return error == EMFILE || error == ENFILE; }

Error refused_file(const char* what, const std::string& path, int error) {
  if (error == EMFILE) {
    const auto limit = limit_of(RLIMIT_NOFILE);
    return Error(Code::kResourceLimit,
                 str("cannot ", what, " ", path, ": ", reason(error), "; ulimit -n (RLIMIT_NOFILE) is ",
                     limit ? str(*limit) : "not known",
                     " files of this process, and each file of a checkpoint stays open: raise it"));
  }
  if (error == ENFILE) {
    return Error(Code::kResourceLimit, str("cannot ", what, " ", path, ": ", reason(error),
                                           "; fs.file-max of the whole system is reached: raise it"));
  }
  if (error == ENOMEM) {
    return Error(Code::kOutOfMemory, str("cannot ", what, " ", path, ": ", because(error, memory_limits())));
  }
  return Error(Code::kModelNotFound, str("cannot ", what, " ", path, ": ", reason(error)));
}

Error refused_memory(uint64_t bytes, const std::string& what, int error) {
  return Error(Code::kOutOfMemory,
               str("cannot allocate ", bytes, " bytes for ", what, ": ", because(error, memory_limits())));
}

}  // namespace oss
