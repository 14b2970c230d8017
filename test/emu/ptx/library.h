// The kernels of a folder of .ptx files, found by the functions that g++ compiled from the same sources.
#pragma once
#include <string>
#include <unordered_map>

#include "test/emu/ptx/program.h"

namespace oss::emu::ptx {

class Library {
 public:
  // Throws when the folder has no .ptx files or one of them cannot be read.
  explicit Library(const std::string& folder);

  // The architecture that the kernels were compiled for: 90 for sm_90a.
  int architecture() const { return architecture_; }

  // Null for a test's own kernel. Throws for a function of oss::cuda that is not in the folder.
  const Kernel* find(const void* function) const;

 private:
  int architecture_ = 0;
  std::unordered_map<const void*, Kernel> kernels_;
  std::unordered_map<const void*, std::string> missing_;  // mangled
};

}  // namespace oss::emu::ptx
