#include "native/backend/cpu/choose_kernels.h"

#include <cstdlib>
#include <cstring>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss::cpu {
namespace {

// The names of all builds: a name that this machine does not support is still valid.
constexpr const char* kKnownIsas[] = {"amx", "avx512bf16", "neonbf16", "avx512", "avx2", "neon", "scalar"};

// The instruction set of this name, which `by` gave.
const IsaStatus* isa_named(const char* wanted, const char* by) {
  std::string here, reason;
  for (const IsaStatus& status : isa_status()) {
    const bool named = std::strcmp(status.isa, wanted) == 0;
    if (named && status.available) return &status;
    if (named) reason = str(": ", status.reason);
    if (status.available) here += str(here.empty() ? "" : ", ", status.isa);
  }
  const std::string is = str(by, " is ", quote(wanted));
  for (const char* isa : kKnownIsas) {
    if (std::strcmp(isa, wanted) == 0) {
      throw Error(Code::kUnsupported,
                  str(is, ", which this machine does not have", reason, "; expected one of ", here));
    }
  }
  throw Error(Code::kInvalidArgument, str(is, ", expected one of ", here));
}

// Null when GPT_OSS_ISA is not set.
const IsaStatus* named_by_environment() {
  const char* wanted = std::getenv("GPT_OSS_ISA");
  return wanted == nullptr || *wanted == '\0' ? nullptr : isa_named(wanted, "GPT_OSS_ISA");
}

const Bf16Kernels* unit_for(const std::string& numerics, const Bf16Kernels* bf16, const std::string& isa) {
  if (numerics == "exact") return nullptr;
  if (numerics == "fast" && bf16 == nullptr) {
    throw Error(Code::kUnsupported,
                str("numerics \"fast\" needs a CPU that multiplies bf16 (AMX, AVX512_BF16 or NEON's BF16); ", isa,
                    " has \"exact\""));
  }
  return bf16;
}

}  // namespace

void check_environment() { named_by_environment(); }

Choice choose_kernels(const std::string& numerics, const std::string& isa) {
  const Kernels* kernels = available_kernels().front();
  const Bf16Kernels* bf16 = available_bf16_kernels().empty() ? nullptr : available_bf16_kernels().front();
  const IsaStatus* named = isa.empty() ? named_by_environment() : isa_named(isa.c_str(), "isa");
  if (named != nullptr) {
    if (named->kernels != nullptr) kernels = named->kernels;
    bf16 = named->bf16;
  }
  return {*kernels, unit_for(numerics, bf16, kernels->isa)};
}

const Bf16Kernels* bf16_unit_of(const std::string& isa, const std::string& numerics) {
  std::string known;
  for (const IsaStatus& status : isa_status()) {
    if (status.isa == isa) return unit_for(numerics, status.bf16, isa);
    known += str(known.empty() ? "" : ", ", status.isa);
  }
  throw Error(Code::kInvalidArgument, str("expected one of ", known, " for isa but received ", quote(isa)), "isa");
}

}  // namespace oss::cpu
