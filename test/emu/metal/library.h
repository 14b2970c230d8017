// The emulated Metal library: the kernels of kernels/metal by their names, and one dispatch of a kernel.
#pragma once
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "test/emu/block.h"
#include "test/emu/metal/pointer.h"

namespace oss::emu {

// What is bound to one index: the bytes of a struct, or a buffer.
struct Binding {
  std::span<const unsigned char> bytes;  // of a struct
  Region region{};                       // of a buffer, when there are no bytes
};
using Bindings = std::vector<Binding>;

struct LibraryKernel {
  std::function<void(Bindings&)> call;  // by each thread
  // Why these bindings do not fit its parameters; null: they do.
  const char* (*refusal)(const Bindings&);
};

// Null where there is none of this name.
const LibraryKernel* find_kernel(const std::string& name);
std::vector<std::string> kernel_names();

// Runs all threadgroups. `bindings` records what was read and written.
std::optional<Fault> run_kernel(const LibraryKernel&, const Grid&, Bindings&, unsigned seed);

void register_kernel(const char* name, LibraryKernel);

template <typename P>
struct Parameter {  // a struct of arguments, by reference to const
  using Value = std::remove_cvref_t<P>;
  static bool fits(const Binding& binding) { return binding.bytes.size() == sizeof(Value); }
  static const Value& bind(Binding& binding) { return *reinterpret_cast<const Value*>(binding.bytes.data()); }
};
template <typename T>
struct Parameter<DevicePtr<T>> {
  static bool fits(const Binding& binding) { return binding.bytes.empty() && binding.region.begin != nullptr; }
  static DevicePtr<T> bind(Binding& binding) {
    return {reinterpret_cast<T*>(const_cast<char*>(binding.region.begin)), &binding.region};
  }
};

// Registers a kernel whose last four parameters are OSS_POSITION.
class Registration {
 public:
  template <typename... P>
  Registration(const char* name, void (*kernel)(P...)) {
    constexpr size_t kBuffers = sizeof...(P) - 4;
    add<std::tuple<P...>>(name, kernel, std::make_index_sequence<kBuffers>());
  }

 private:
  template <typename All, typename Kernel, size_t... kIndex>
  static void add(const char* name, Kernel kernel, std::index_sequence<kIndex...>) {
    register_kernel(name, {.call =
                               [kernel](Bindings& bindings) {
                                 using Uint3 = std::tuple_element_t<sizeof...(kIndex), All>;
                                 const Index& at = running_block.index;
                                 const unsigned index = current->index.x;
                                 kernel(Parameter<std::tuple_element_t<kIndex, All>>::bind(bindings[kIndex])...,
                                        Uint3{at.x, at.y, at.z}, index, current->lane, index / kWarpLanes);
                               },
                           .refusal = [](const Bindings& bindings) -> const char* {
                             if (bindings.size() != sizeof...(kIndex)) return "another number of arguments";
                             const bool fits =
                                 (Parameter<std::tuple_element_t<kIndex, All>>::fits(bindings[kIndex]) && ...);
                             return fits ? nullptr : "an argument of another kind or size";
                           }});
  }
};

}  // namespace oss::emu
