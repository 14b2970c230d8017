#include "test/emu/static_shared.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>

namespace oss::emu {
namespace {

thread_local volatile char touched;  // the system gives a thread its copy of a library's thread-locals at the first use

struct Program {
  std::string file;
  unsigned char* thread_locals = nullptr;
};

// The executable or library that this function is part of.
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
          found.thread_locals = static_cast<unsigned char*>(info->dlpi_tls_data);
          return 1;
        }
        return 0;
      },
      &program);
  return program;
}

// Whether it is a local variable of a function in oss::cuda or of a test: _ZZN3oss4cuda...
bool is_shared_array(std::string_view mangled) {
  if (!mangled.starts_with("_ZZ")) return false;
  mangled.remove_prefix(mangled.find_first_not_of('Z', 1));
  return mangled.starts_with("N3oss4cuda") || mangled.starts_with("N3oss4test");
}

}  // namespace

std::vector<std::span<unsigned char>> static_shared_memory() {
  std::vector<std::span<unsigned char>> found;
  const Program program = find_program();
  const int file = open(program.file.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status{};
  if (program.thread_locals == nullptr || file < 0 || fstat(file, &status) != 0) return found;
  void* mapped = mmap(nullptr, size_t(status.st_size), PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return found;
  const auto* bytes = static_cast<const char*>(mapped);
  const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(bytes);
  const auto* sections = reinterpret_cast<const ElfW(Shdr)*>(bytes + header.e_shoff);
  for (int s = 0; s < header.e_shnum; ++s) {
    if (sections[s].sh_type != SHT_SYMTAB) continue;
    const char* names = bytes + sections[sections[s].sh_link].sh_offset;
    const auto* symbols = reinterpret_cast<const ElfW(Sym)*>(bytes + sections[s].sh_offset);
    for (size_t i = 0; i < sections[s].sh_size / sizeof(*symbols); ++i) {
      const ElfW(Sym) & symbol = symbols[i];
      if (ELF64_ST_TYPE(symbol.st_info) != STT_TLS || !is_shared_array(names + symbol.st_name)) continue;
      found.emplace_back(program.thread_locals + symbol.st_value, symbol.st_size);
    }
  }
  munmap(mapped, size_t(status.st_size));
  return found;
}

}  // namespace oss::emu
