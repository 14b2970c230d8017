#include "test/emu/symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

namespace oss::emu {
namespace {

thread_local volatile char touched;  // the first use makes the system allocate a library's thread-locals for a thread

struct Program {
  std::string file;
  ElfW(Addr) loaded_at = 0;
  unsigned char* thread_locals = nullptr;
};

// The executable or library that contains this function.
Program find_program() {
  touched = 1;
  Program program;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* out) {
        const auto here = reinterpret_cast<ElfW(Addr)>(&find_program);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr) & part = info->dlpi_phdr[i];
          const ElfW(Addr) begin = info->dlpi_addr + part.p_vaddr;
          if (part.p_type != PT_LOAD || here < begin || here >= begin + part.p_memsz) continue;
          Program& found = *static_cast<Program*>(out);
          found.file = info->dlpi_name[0] == 0 ? "/proc/self/exe" : info->dlpi_name;
          found.loaded_at = info->dlpi_addr;
          found.thread_locals = static_cast<unsigned char*>(info->dlpi_tls_data);
          return 1;
        }
        return 0;
      },
      &program);
  return program;
}

}  // namespace

void for_each_symbol(const std::function<void(const Symbol&)>& visit) {
  const Program program = find_program();
  const int file = open(program.file.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status{};
  if (file < 0 || fstat(file, &status) != 0) return;
  void* mapped = mmap(nullptr, size_t(status.st_size), PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return;
  const auto* bytes = static_cast<const char*>(mapped);
  const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(bytes);
  const auto* sections = reinterpret_cast<const ElfW(Shdr)*>(bytes + header.e_shoff);
  for (int s = 0; s < header.e_shnum; ++s) {
    if (sections[s].sh_type != SHT_SYMTAB) continue;
    const char* names = bytes + sections[sections[s].sh_link].sh_offset;
    const auto* symbols = reinterpret_cast<const ElfW(Sym)*>(bytes + sections[s].sh_offset);
    for (size_t i = 0; i < sections[s].sh_size / sizeof(*symbols); ++i) {
      const ElfW(Sym) & symbol = symbols[i];
      const std::string_view name = names + symbol.st_name;
      const unsigned type = ELF64_ST_TYPE(symbol.st_info);
      if (type == STT_TLS && program.thread_locals != nullptr)
        visit({SymbolKind::kThreadLocal, name, program.thread_locals + symbol.st_value, symbol.st_size});
      if (type == STT_FUNC && symbol.st_shndx != SHN_UNDEF)
        visit({SymbolKind::kFunction, name, reinterpret_cast<unsigned char*>(program.loaded_at + symbol.st_value),
               symbol.st_size});
    }
  }
  munmap(mapped, size_t(status.st_size));
}

bool has_name(const void* function, std::string_view begin) {
  bool found = false;
  for_each_symbol([&](const Symbol& symbol) {
    if (symbol.at != function || symbol.kind != SymbolKind::kFunction) return;
    // In a mangled name, the length precedes each part: _ZN3oss4cuda…15few_down_kernelE….
    for (size_t at = symbol.mangled.find(begin); at != std::string_view::npos; at = symbol.mangled.find(begin, at + 1))
      found = found || (at > 0 && symbol.mangled[at - 1] >= '0' && symbol.mangled[at - 1] <= '9');
  });
  return found;
}

}  // namespace oss::emu
