#include "test/emu/metal/device.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iterator>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <sstream>

#include "native/base/error.h"
#include "native/base/str.h"
#include "test/emu/metal/library.h"

namespace oss::emu {
namespace {

struct Allocation {
  size_t bytes;
  bool wrapped;
};

// Of all emulated devices together: there is one machine.
struct MetalState {
  std::recursive_mutex mutex;
  MetalMachine machine;
  std::map<const char*, Allocation> memory;
  size_t in_use = 0, wrapped = 0;
  unsigned seed = 0;
  int dispatches_to_failure = 0, barriers_to_drop = 0;
  std::string last_fault, faulty_kernel;
  std::deque<class EmulatedCommands*> committed;  // those that have not run
};

// EMULATED_METAL="working_set_bytes=100000000 seed=1": for tests through Node. It also makes the GPU present.
void obey_environment(MetalState& on) {
  const char* text = std::getenv("EMULATED_METAL");
  if (text == nullptr) return;
  on.machine.present = true;
  std::istringstream words(text);
  for (std::string name; std::getline(words >> std::ws, name, '=');) {
    if (name == "fault") {
      words >> on.faulty_kernel;
      continue;
    }
    uint64_t value = 0;
    words >> value;
    metal::DeviceLimits& limits = on.machine.limits;
    if (name == "present") {
      on.machine.present = value != 0;
    } else if (name == "family") {
      limits.family = int(value);
    } else if (name == "macos") {
      limits.macos_major = int(value);
    } else if (name == "working_set_bytes") {
      limits.working_set_bytes = value;
    } else if (name == "buffer_bytes") {
      limits.buffer_bytes = value;
    } else if (name == "memory_bytes") {
      limits.memory_bytes = value;
    } else if (name == "seed") {
      on.seed = unsigned(value);
    } else if (name == "idle") {
      on.machine.idle = value != 0;
    } else {
      std::fprintf(stderr,
                   "EMULATED_METAL: \"%s\" is not present, family, macos, working_set_bytes, buffer_bytes, "
                   "memory_bytes, seed, idle or fault\n",
                   name.c_str());
      std::abort();
    }
  }
}

MetalState& state() {
  static MetalState* never_destroyed = [] {
    auto* created = new MetalState;
    obey_environment(*created);
    return created;
  }();
  return *never_destroyed;
}
using Lock = std::lock_guard<std::recursive_mutex>;

struct Encoded {
  std::string kernel;
  const LibraryKernel* code;
  Grid grid;
  std::vector<std::vector<unsigned char>> structs;  // by argument; empty for buffers
  std::vector<Region> buffers;                      // by argument
  std::vector<metal::Argument> declared;
};

[[noreturn]] void refuse(const std::string& text) {
  std::fprintf(stderr, "emulated device: %s\n", text.c_str());
  std::abort();  // a call that Apple's validation layer ends the process for
}

// The buffer in which [at, at + bytes) lies.
Region region_of(const std::string& kernel, const char* at, size_t bytes) {
  MetalState& on = state();
  auto after = on.memory.upper_bound(at);
  if (after != on.memory.begin()) {
    const auto& [begin, allocation] = *std::prev(after);
    if (at + bytes <= begin + allocation.bytes) return {at, at + bytes};
  }
  refuse(str(kernel, ": an argument that is in no buffer"));
}

class EmulatedCommands final : public metal::Commands {
 public:
  ~EmulatedCommands() override {
    const Lock lock(state().mutex);
    if (committed_) run_in_order();
  }

  void dispatch(const metal::Dispatch& from) override {
    const Lock lock(state().mutex);
    if (committed_) refuse("a dispatch after the commit");
    if (from.threads == 0 || from.threads > 1024 || from.threads % kWarpLanes != 0)
      refuse(str(from.kernel, ": ", from.threads, " threads"));
    if (from.groups.x == 0 || from.groups.y == 0 || from.groups.z == 0) refuse(str(from.kernel, ": no threadgroups"));
    Encoded& one = encoded_.emplace_back();
    one.kernel = from.kernel;
    one.code = find_kernel(from.kernel);
    if (one.code == nullptr) refuse(str("no kernel ", from.kernel));
    one.grid = {.blocks = {from.groups.x, from.groups.y, from.groups.z}, .threads = {from.threads, 1, 1}};
    one.declared.assign(from.arguments.begin(), from.arguments.end());
    for (const metal::Argument& argument : from.arguments) {
      const auto* at = static_cast<const unsigned char*>(argument.at);
      if (argument.kind == metal::Argument::Kind::kBytes) {
        if (argument.bytes > 4096) refuse(str(one.kernel, ": more than 4 KB of arguments"));
        one.structs.emplace_back(at, at + argument.bytes);
        one.buffers.emplace_back();
      } else {
        one.structs.emplace_back();
        one.buffers.push_back(region_of(one.kernel, reinterpret_cast<const char*>(at), argument.bytes));
      }
    }
    Bindings bindings = bind(one);
    if (const char* reason = one.code->refusal(bindings)) refuse(str(one.kernel, ": ", reason));
  }

  void barrier() override {
    const Lock lock(state().mutex);
    if (state().barriers_to_drop > 0 && --state().barriers_to_drop == 0) return;
    barriers_.insert(encoded_.size());
  }

  void commit() override {
    const Lock lock(state().mutex);
    committed_ = true;
    state().committed.push_back(this);
  }

  void wait() override {
    if (!committed_) refuse("a wait before the commit");
    const Lock lock(state().mutex);
    run_in_order();
    if (!fault_.empty()) throw Error(Code::kDevice, str("the GPU failed: ", fault_));
  }

  double seconds() const override { return seconds_; }

 private:
  static Bindings bind(const Encoded& one) {
    Bindings bindings;
    for (size_t i = 0; i < one.structs.size(); ++i) bindings.push_back({one.structs[i], one.buffers[i]});
    return bindings;
  }

  // After all that were committed before.
  void run_in_order() {
    std::deque<EmulatedCommands*>& waiting = state().committed;
    while (!ran_) {
      EmulatedCommands* first = waiting.front();
      waiting.pop_front();
      first->run();
    }
  }

  // The dispatches between two barriers, in any order.
  void run() {
    ran_ = true;
    const auto start = std::chrono::steady_clock::now();
    std::mt19937 random(state().seed);
    for (size_t begin = 0; begin < encoded_.size() && fault_.empty();) {
      size_t end = begin + 1;
      while (end < encoded_.size() && !barriers_.contains(end)) ++end;
      std::vector<size_t> order;
      for (size_t i = begin; i < end; ++i) order.push_back(i);
      if (state().seed != 0) {
        for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
      }
      std::vector<Bindings> touched;
      for (const size_t i : order) {
        if (!run_one(encoded_[i], touched)) break;
      }
      begin = end;
    }
    seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  bool fail(const std::string& text) {
    fault_ = text;
    state().last_fault = text;
    std::fprintf(stderr, "emulated device: %s\n", text.c_str());
    return false;
  }

  bool run_one(const Encoded& one, std::vector<Bindings>& concurrent) {
    MetalState& on = state();
    if (on.dispatches_to_failure > 0 && --on.dispatches_to_failure == 0)
      return fail(str(one.kernel, ": it failed as it was told to"));
    if (!on.faulty_kernel.empty() && one.kernel.starts_with(on.faulty_kernel))
      return fail(str(one.kernel, ": a fault was planted"));
    if (on.machine.idle) return true;
    Bindings bindings = bind(one);
    if (const std::optional<Fault> fault = run_kernel(*one.code, one.grid, bindings, on.seed))
      return fail(str(one.kernel, ": ", fault->text));
    for (size_t i = 0; i < bindings.size(); ++i) {
      const Region& region = bindings[i].region;
      if (region.written.end != nullptr && one.declared[i].kind == metal::Argument::Kind::kRead)
        return fail(str(one.kernel, ": it writes argument ", i, ", which was declared to be read"));
    }
    for (const Bindings& other : concurrent) {
      for (size_t i = 0; i < bindings.size(); ++i) {
        for (const Binding& theirs : other) {
          const Region &mine = bindings[i].region, &its = theirs.region;
          if (mine.written.overlaps(its.read) || mine.written.overlaps(its.written) || mine.read.overlaps(its.written))
            return fail(str(one.kernel, ": argument ", i, " is in use by a concurrent dispatch: a barrier is missing"));
        }
      }
    }
    concurrent.push_back(std::move(bindings));
    return true;
  }

  std::vector<Encoded> encoded_;
  std::set<size_t> barriers_;  // before the dispatch of this number
  bool committed_ = false, ran_ = false;
  std::string fault_;
  double seconds_ = 0;
};

class EmulatedDevice final : public metal::Device {
 public:
  const metal::DeviceLimits& limits() const override { return state().machine.limits; }
  uint64_t allocated_bytes() const override {
    const Lock lock(state().mutex);
    return state().in_use + state().wrapped;
  }
  size_t page_bytes() const override { return state().machine.page_bytes; }

  size_t bytes_from(const void* address) const override {
    const Lock lock(state().mutex);
    const auto* at = static_cast<const char*>(address);
    const auto after = state().memory.upper_bound(at);
    if (after == state().memory.begin()) refuse("an address that is in no buffer");
    const auto& [begin, allocation] = *std::prev(after);
    if (at > begin + allocation.bytes) refuse("an address that is in no buffer");
    return size_t(begin + allocation.bytes - at);
  }

  void* allocate(size_t bytes) override {
    const Lock lock(state().mutex);
    MetalState& on = state();
    const size_t whole = (bytes + on.machine.page_bytes - 1) / on.machine.page_bytes * on.machine.page_bytes;
    if (bytes == 0 || whole > on.machine.limits.buffer_bytes || whole > on.machine.limits.memory_bytes ||
        on.in_use > on.machine.limits.memory_bytes - whole)
      return nullptr;
    void* memory = nullptr;
    if (posix_memalign(&memory, on.machine.page_bytes, whole) != 0) return nullptr;
    std::memset(memory, 0, whole);
    // Exactly what was asked for can be accessed.
    on.memory[static_cast<const char*>(memory)] = {bytes, false};
    on.in_use += whole;
    return memory;
  }

  bool wrap(const void* pages, size_t bytes) override {
    const Lock lock(state().mutex);
    MetalState& on = state();
    const auto* begin = static_cast<const char*>(pages);
    // The pages of the host are those of the emulated machine, or smaller.
    if (reinterpret_cast<size_t>(begin) % 4096 != 0 || bytes == 0) refuse("memory to wrap that is not whole pages");
    if (!on.machine.wraps || bytes > on.machine.limits.buffer_bytes) return false;
    on.memory[begin] = {bytes, true};
    on.wrapped += bytes;
    return true;
  }

  void release(const void* begin) override {
    const Lock lock(state().mutex);
    MetalState& on = state();
    const auto found = on.memory.find(static_cast<const char*>(begin));
    if (found == on.memory.end()) refuse("a release of what is no buffer");
    const Allocation one = found->second;
    on.memory.erase(found);
    if (one.wrapped) {
      on.wrapped -= one.bytes;
    } else {
      on.in_use -= (one.bytes + on.machine.page_bytes - 1) / on.machine.page_bytes * on.machine.page_bytes;
      std::free(const_cast<void*>(begin));
    }
  }

  bool make_resident() override {
    const Lock lock(state().mutex);
    return state().in_use + state().wrapped <= state().machine.limits.working_set_bytes;
  }

  std::unique_ptr<metal::Commands> commands() override { return std::make_unique<EmulatedCommands>(); }
};

}  // namespace

void set_metal_machine(const MetalMachine& machine) {
  const Lock lock(state().mutex);
  MetalState& on = state();
  on.machine = machine;
  on.seed = 0;
  on.dispatches_to_failure = on.barriers_to_drop = 0;
  on.last_fault.clear();
}
std::shared_ptr<metal::Device> make_metal_device() { return std::make_shared<EmulatedDevice>(); }
void fail_metal_dispatch(int n) {
  const Lock lock(state().mutex);
  state().dispatches_to_failure = n;
}
void set_metal_seed(unsigned seed) {
  const Lock lock(state().mutex);
  state().seed = seed;
}
void drop_metal_barrier(int n) {
  const Lock lock(state().mutex);
  state().barriers_to_drop = n;
}
size_t metal_bytes_in_use() {
  const Lock lock(state().mutex);
  return state().in_use;
}
size_t metal_bytes_wrapped() {
  const Lock lock(state().mutex);
  return state().wrapped;
}
std::string last_metal_fault() {
  const Lock lock(state().mutex);
  return state().last_fault;
}

}  // namespace oss::emu

// In place of the one of Apple's frameworks, or of absent_metal.cpp.
oss::metal::Found oss::metal::find_device() {
  using namespace oss::emu;
  const Lock lock(state().mutex);
  if (!state().machine.present) return {nullptr, "no Metal GPU is emulated"};
  const std::string reason = why_not(state().machine.limits);
  return {reason.empty() ? make_metal_device() : nullptr, reason};
}
