#include "kernels/cpu/dispatch.h"

#include <cstdlib>
#include <cstring>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

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

struct Entry {
  IsaStatus status;
  const Kernels* kernels;
  const Bf16Kernels* bf16;
};

#if defined(__x86_64__)

// __builtin_cpu_supports() also asks whether the operating system saves the registers.
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
         __builtin_cpu_supports("bmi2");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

// Leaf 7 of CPUID, which GCC's and clang's builtins do not know alike.
bool cpuid7(int subleaf, int reg, int bit) {
  unsigned words[4] = {};
  if (__get_cpuid_count(7, unsigned(subleaf), &words[0], &words[1], &words[2], &words[3]) == 0) return false;
  return (words[reg] >> bit & 1) != 0;
}
bool has_avx512bf16() { return has_avx512() && cpuid7(1, 0, 5); }

const char* why_no_amx() {
  if (!has_avx512bf16() || !cpuid7(0, 3, 24) || !cpuid7(0, 3, 22)) return "the CPU does not have AMX-BF16";
#if defined(__linux__)
  constexpr int kArchReqXcompPerm = 0x1023, kTileData = 18;  // asm/prctl.h: a process asks once for tile registers
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

const std::vector<Entry>& entries() {
  static const auto& all =
      *new std::vector<Entry>([] {  // never destroyed: engine threads may outlive the exit of main()
        std::vector<Entry> found;
        const auto add = [&](const char* isa, const char* reason, const Kernels* kernels, const Bf16Kernels* bf16) {
          found.push_back({{isa, *reason == '\0', bf16 != nullptr ? "fast" : "exact", reason}, kernels, bf16});
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
      }());
  return all;
}

template <typename T>
std::vector<const T*> available(const T* Entry::* member) {
  std::vector<const T*> found;
  for (const Entry& entry : entries()) {
    if (entry.status.available && entry.*member != nullptr) found.push_back(entry.*member);
  }
  return found;
}

// Of every build: what this machine cannot have is no misspelling.
constexpr const char* kKnownIsas[] = {"amx", "avx512bf16", "neonbf16", "avx512", "avx2", "neon", "scalar"};

// Null when GPT_OSS_ISA is not set.
const Entry* named_by_environment() {
  const char* wanted = std::getenv("GPT_OSS_ISA");
  if (wanted == nullptr || *wanted == '\0') return nullptr;
  std::string here, reason;
  for (const Entry& entry : entries()) {
    const bool named = std::strcmp(entry.status.isa, wanted) == 0;
    if (named && entry.status.available) return &entry;
    if (named) reason = str(": ", entry.status.reason);
    if (entry.status.available) here += str(here.empty() ? "" : ", ", entry.status.isa);
  }
  const std::string is = str("GPT_OSS_ISA is ", quote(wanted));
  for (const char* isa : kKnownIsas) {
    if (std::strcmp(isa, wanted) == 0) {
      throw Error(Code::kUnsupported,
                  str(is, ", which this machine does not have", reason, "; expected one of ", here));
    }
  }
  throw Error(Code::kInvalidArgument, str(is, ", expected one of ", here));
}

}  // namespace

void check_environment() { named_by_environment(); }

std::span<const Kernels* const> available_kernels() {
  static const auto& found = *new std::vector<const Kernels*>(available(&Entry::kernels));
  return found;
}

std::span<const Bf16Kernels* const> available_bf16_kernels() {
  static const auto& found = *new std::vector<const Bf16Kernels*>(available(&Entry::bf16));
  return found;
}

Choice choose_kernels(const std::string& numerics) {
  const Kernels* kernels = available_kernels().front();
  const Bf16Kernels* bf16 = available_bf16_kernels().empty() ? nullptr : available_bf16_kernels().front();
  if (const Entry* named = named_by_environment(); named != nullptr) {
    if (named->kernels != nullptr) kernels = named->kernels;
    bf16 = named->bf16;
  }
  if (numerics == "exact") return {*kernels, nullptr};
  if (numerics == "fast" && bf16 == nullptr) {
    throw Error(Code::kUnsupported,
                str("numerics \"fast\" needs a CPU that multiplies bf16 (AMX, AVX512_BF16 or NEON's BF16); ",
                    kernels->isa, " has \"exact\""));
  }
  return {*kernels, bf16};
}

std::vector<IsaStatus> isa_status() {
  std::vector<IsaStatus> all;
  for (const Entry& entry : entries()) all.push_back(entry.status);
  return all;
}

}  // namespace oss::cpu
