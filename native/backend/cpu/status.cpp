// The registry's entry of the CPU backend: the choice of "auto" on this machine, and the factory.
#include <cstdlib>

#include "native/backend/cpu/choose_kernels.h"
#include "native/backend/cpu/cpu_backend.h"
#include "native/backend/registry.h"
#include "native/base/error.h"
#include "native/base/machine.h"
#include "native/base/str.h"

namespace oss {

static std::string what_auto_chooses() {
  const auto list = [](bool available, const char* numerics) {
    std::string names;
    for (const cpu::IsaStatus& isa : cpu::isa_status()) {
      if (isa.available != available || (*numerics != '\0' && isa.numerics != std::string(numerics))) continue;
      names += str(names.empty() ? "" : ", ", isa.isa, available ? "" : str(" (", isa.reason, ")"));
    }
    return names;
  };
  const cpu::Choice choice = cpu::choose_kernels("auto");
  std::string detail = cpu_name();
  if (choice.bf16 != nullptr) {
    detail += str("; numerics fast with ", choice.bf16->isa, ", exact with ", choice.kernels.isa, ": the fastest of ",
                  list(true, ""));
  } else {
    detail += str("; numerics exact with ", choice.kernels.isa, ": the fastest of ", list(true, "exact"));
  }
  const char* wanted = std::getenv("GPT_OSS_ISA");
  if (wanted != nullptr && *wanted != '\0') detail += str(", as GPT_OSS_ISA=", wanted, " asks");
  const std::string absent = list(false, "");
  if (!absent.empty()) detail += str("; not ", absent);
  return detail;
}

// The kernels that "auto" chooses, and the reason.
BackendStatus cpu_status() {
  try {
    return {"cpu", true, what_auto_chooses()};
  } catch (const Error& error) {  // thrown because of GPT_OSS_ISA
    return {"cpu", false, error.what()};
  }
}

static void check_threads(int threads) {
  if (threads >= 0 && threads <= 1024) return;
  throw Error(Code::kInvalidArgument, str("expected an integer in [0, 1024] for threads but received ", threads),
              "threads");
}

PlannedDevice planned_cpu(const BackendOptions& options, const std::string& isa) {
  check_threads(options.threads);
  const cpu::Bf16Kernels* bf16 = nullptr;
  std::string name = isa;
  if (isa.empty()) {
    const cpu::Choice choice = cpu::choose_kernels(options.numerics);
    bf16 = choice.bf16;
    name = bf16 != nullptr ? bf16->isa : choice.kernels.isa;
  } else {
    bf16 = cpu::bf16_unit_of(isa, options.numerics);
  }
  const int threads = options.threads > 0 ? options.threads : usable_threads().count;
  return {.sizes = std::make_unique<CpuSizes>(bf16, options.dense_weights, threads, options.expert_weights),
          .info = {.backend = "cpu", .device = "", .isa = name, .numerics = bf16 != nullptr ? "fast" : "exact"}};
}

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options) {
  check_threads(options.threads);
  const cpu::Choice choice = cpu::choose_kernels(options.numerics, options.isa);
  const UsableThreads threads = options.threads > 0 ? UsableThreads{options.threads, "asked for"} : usable_threads();
  return std::make_unique<CpuBackend>(choice.kernels, threads.count, choice.bf16, options.dense_weights, threads.why,
                                      options.expert_weights);
}

}  // namespace oss
