// The symbol table of the executable or library that contains the emulator, including local symbols.
#pragma once
#include <cstddef>
#include <functional>
#include <string_view>

namespace oss::emu {

enum class SymbolKind { kFunction, kThreadLocal };
struct Symbol {
  SymbolKind kind;
  std::string_view mangled;
  unsigned char* at;  // for a thread-local: the calling thread's copy
  size_t bytes;
};

// Does nothing if the program was stripped.
void for_each_symbol(const std::function<void(const Symbol&)>& visit);

// Whether the function's name without namespaces and arguments has this prefix. False if the program was stripped.
bool has_name(const void* function, std::string_view begin);

}  // namespace oss::emu
