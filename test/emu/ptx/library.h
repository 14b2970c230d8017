// The kernels of a folder of .ptx files, by the functions that g++ has made of the same sources.
#pragma once
#include <string>
#include <unordered_map>

#include "test/emu/ptx/program.h"

namespace oss::emu::ptx {

class Library {
 public:
  // Throws where the folder has none, or what it has cannot be read.
  explicit Library(const std::string& folder);

  // What the kernels were compiled for: 90 of sm_90a.
  int architecture() const { return architecture_; }

  // Null where the function is a test's own kernel. Throws where it is one of oss::cuda that is not in the folder.
  const Kernel* find(const void* function) const;

 private:
  int architecture_ = 0;
  std::unordered_map<const void*, Kernel> kernels_;
  std::unordered_map<const void*, std::string> missing_;  // mangled
};

}  // namespace oss::emu::ptx
