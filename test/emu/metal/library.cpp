#include "test/emu/metal/library.h"

#include <map>
#include <memory>

namespace oss::emu {
namespace {

std::map<std::string, LibraryKernel>& kernels() {
  static auto* never_destroyed = new std::map<std::string, LibraryKernel>;  // filled before main()
  return *never_destroyed;
}

// The threadgroup arrays of the running dispatch, at the same place in each block.
struct DeclaredArray {
  Where where;
  size_t bytes;
  Region region;
};
std::vector<std::unique_ptr<DeclaredArray>>& declared() {
  static auto* arrays = new std::vector<std::unique_ptr<DeclaredArray>>;
  return *arrays;
}

}  // namespace

void register_kernel(const char* name, LibraryKernel kernel) { kernels()[name] = std::move(kernel); }

const LibraryKernel* find_kernel(const std::string& name) {
  const auto found = kernels().find(name);
  return found == kernels().end() ? nullptr : &found->second;
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const auto& [name, kernel] : kernels()) names.push_back(name);
  return names;
}

Region* threadgroup_region(size_t bytes, const Where& where) {
  size_t used = 0;
  for (const auto& array : declared()) {
    if (std::memcmp(&array->where, &where, sizeof(Where)) == 0 && array->bytes == bytes) return &array->region;
    used += (array->bytes + 15) / 16 * 16;
  }
  if (used + bytes > kThreadgroupBytes) fault(kLaunchFailure, "more than 32 KB of threadgroup memory", where);
  const char* begin = reinterpret_cast<const char*>(running_block.dynamic_shared) + used;
  declared().push_back(std::make_unique<DeclaredArray>(DeclaredArray{where, bytes, {begin, begin + bytes}}));
  return &declared().back()->region;
}

std::optional<Fault> run_kernel(const LibraryKernel& kernel, const Grid& grid, Bindings& bindings, unsigned seed) {
  declared().clear();
  Grid with_arrays = grid;
  with_arrays.shared_bytes = kThreadgroupBytes;
  return run_grid(with_arrays, [&] { kernel.call(bindings); }, seed);
}

}  // namespace oss::emu
