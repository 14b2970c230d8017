#include "kernels/cpu/dispatch.h"

#include <vector>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace oss::cpu {

namespace scalar {
extern const Kernels kKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
#elif defined(__aarch64__)
namespace neon {
extern const Kernels kKernels;
}
#endif
#if defined(OSS_HAVE_AMX)
namespace amx {
extern const Bf16Kernels kBf16;
}
#endif
#if defined(OSS_HAVE_AVX512BF16)
namespace avx512bf16 {
extern const Bf16Kernels kBf16;
}
#endif
#if defined(OSS_HAVE_NEONBF16)
namespace neonbf16 {
extern const Bf16Kernels kBf16;
}
#endif

namespace {

#if defined(__x86_64__)

// __builtin_cpu_supports() also checks that the operating system saves the registers.
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
         __builtin_cpu_supports("bmi2");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

// Leaf 7 of CPUID, which the builtins of GCC and clang support differently.
bool cpuid7(int subleaf, int reg, int bit) {
  unsigned words[4] = {};
  if (__get_cpuid_count(7, unsigned(subleaf), &words[0], &words[1], &words[2], &words[3]) == 0) return false;
  return (words[reg] >> bit & 1) != 0;
}
bool has_avx512bf16() { return has_avx512() && cpuid7(1, 0, 5); }

const char* why_no_amx() {
  if (!has_avx512bf16() || !cpuid7(0, 3, 24) || !cpuid7(0, 3, 22)) return "the CPU does not have AMX-BF16";
#if defined(__linux__)
  constexpr int kArchReqXcompPerm = 0x1023, kTileData = 18;  // asm/prctl.h: a process requests tile registers once
  if (syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0) return "";
  return "the kernel does not give this process tile registers";
#else
  return "this operating system is not known to save tile registers";
#endif
}

#elif defined(__aarch64__)

bool has_neonbf16() {
#if defined(__linux__)
  constexpr unsigned long kBf16 = 1ul << 14;  // HWCAP2_BF16
  return (getauxval(AT_HWCAP2) & kBf16) != 0;
#elif defined(__APPLE__)
  int has = 0;
  size_t size = sizeof(has);
  return sysctlbyname("hw.optional.arm.FEAT_BF16", &has, &size, nullptr, 0) == 0 && has != 0;
#else
  return false;
#endif
}

#endif

std::vector<IsaStatus> all_isas() {
  std::vector<IsaStatus> found;
  const auto add = [&](const char* isa, const char* reason, const Kernels* kernels, const Bf16Kernels* bf16) {
    found.push_back({.isa = isa,
                     .available = *reason == '\0',
                     .numerics = bf16 != nullptr ? "fast" : "exact",
                     .reason = reason,
                     .kernels = kernels,
                     .bf16 = bf16});
  };
#if defined(OSS_HAVE_AMX)
  add("amx", why_no_amx(), nullptr, &amx::kBf16);
#endif
#if defined(OSS_HAVE_AVX512BF16)
  add("avx512bf16", has_avx512bf16() ? "" : "the CPU does not have AVX512_BF16", nullptr, &avx512bf16::kBf16);
#endif
#if defined(OSS_HAVE_NEONBF16)
  add("neonbf16", has_neonbf16() ? "" : "the CPU does not have BF16", nullptr, &neonbf16::kBf16);
#endif
#if defined(__x86_64__)
  add("avx512", has_avx512() ? "" : "the CPU does not have AVX-512 F, BW, DQ and VL", &avx512::kKernels, nullptr);
  add("avx2", has_avx2() ? "" : "the CPU does not have AVX2, FMA, F16C and BMI2", &avx2::kKernels, nullptr);
#elif defined(__aarch64__)
  add("neon", "", &neon::kKernels, nullptr);
#endif
  add("scalar", "", &scalar::kKernels, nullptr);
  return found;
}

template <typename T>
std::vector<const T*> available(const T* IsaStatus::* member) {
  std::vector<const T*> found;
  for (const IsaStatus& isa : isa_status()) {
    if (isa.available && isa.*member != nullptr) found.push_back(isa.*member);
  }
  return found;
}

}  // namespace

// None of these is ever destroyed, because engine threads may outlive the exit of main().

std::span<const IsaStatus> isa_status() {
  static const auto& all = *new std::vector<IsaStatus>(all_isas());
  return all;
}

std::span<const Kernels* const> available_kernels() {
  static const auto& found = *new std::vector<const Kernels*>(available(&IsaStatus::kernels));
  return found;
}

std::span<const Bf16Kernels* const> available_bf16_kernels() {
  static const auto& found = *new std::vector<const Bf16Kernels*>(available(&IsaStatus::bf16));
  return found;
}

}  // namespace oss::cpu
