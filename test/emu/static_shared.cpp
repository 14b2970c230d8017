#include "test/emu/static_shared.h"

#include <string_view>

#include "test/emu/symbols.h"

namespace oss::emu {
namespace {

// Whether it is a local variable of a function in oss::cuda or of a test: _ZZN3oss4cuda...
bool is_shared_array(std::string_view mangled) {
  if (!mangled.starts_with("_ZZ")) return false;
  mangled.remove_prefix(mangled.find_first_not_of('Z', 1));
  return mangled.starts_with("N3oss4cuda") || mangled.starts_with("N3oss4test");
}

}  // namespace

std::vector<std::span<unsigned char>> static_shared_memory() {
  std::vector<std::span<unsigned char>> found;
  for_each_symbol([&](const Symbol& symbol) {
    if (symbol.kind == SymbolKind::kThreadLocal && is_shared_array(symbol.mangled))
      found.emplace_back(symbol.at, symbol.bytes);
  });
  return found;
}

}  // namespace oss::emu
