#include "test/emu/ptx/library.h"

#include <filesystem>
#include <stdexcept>

#include "native/base/str.h"
#include "test/emu/symbols.h"

namespace oss::emu::ptx {

Library::Library(const std::string& folder) {
  std::unordered_map<std::string, Kernel> compiled;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() != ".ptx") continue;
    Program program = read_program(file.path().string());
    if (architecture_ != 0 && architecture_ != program.architecture)
      throw std::runtime_error(str(folder, " has kernels of more than one architecture"));
    architecture_ = program.architecture;
    for (Kernel& kernel : program.kernels) {
      std::string mangled = kernel.mangled;
      if (!compiled.emplace(mangled, std::move(kernel)).second)
        throw std::runtime_error(str("two kernels have the name ", mangled));
    }
  }
  if (compiled.empty()) throw std::runtime_error(str("there is no kernel in ", folder));
  for_each_symbol([&](const Symbol& symbol) {
    if (symbol.kind != SymbolKind::kFunction) return;
    if (const auto found = compiled.find(std::string(symbol.mangled)); found != compiled.end()) {
      kernels_.emplace(symbol.at, found->second);
    } else if (symbol.mangled.starts_with("_ZN3oss4cuda")) {
      missing_.emplace(symbol.at, symbol.mangled);
    }
  });
  if (kernels_.empty())
    throw std::runtime_error(str("no function of this program is a kernel in ", folder, ": was it stripped?"));
}

const Kernel* Library::find(const void* function) const {
  if (const auto found = kernels_.find(function); found != kernels_.end()) return &found->second;
  if (const auto missing = missing_.find(function); missing != missing_.end())
    throw std::runtime_error(str("no PTX of ", missing->second));
  return nullptr;
}

}  // namespace oss::emu::ptx
