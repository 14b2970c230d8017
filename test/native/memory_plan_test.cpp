// The memory plan of a machine without a GPU, without loading anything.
#include "native/engine/memory_plan.h"

#include "kernels/cpu/dispatch.h"
#include "native/backend/cpu/cpu_backend.h"
#include "native/checkpoint/checkpoint.h"
#include "native/checkpoint/synthetic.h"
#include "native/model/pack.h"
#include "test/native/check.h"

namespace oss {

TEST("memory_plan: more than the machine's memory is refused, whichever option needs it") {
  CpuBackend backend(*cpu::available_kernels().front(), 2, nullptr, DenseWeights::kBF16);
  const Config config = synthetic_checkpoint("synthetic:tiny")->config;
  EngineOptions options;
  options.kv_bytes = uint64_t(1) << 50;
  CHECK_THROWS(Code::kOutOfMemory, "kvCache.bytes asks for 1125899.9 GB, and free is",
               plan_memory({config, options, backend.sizes()}, backend.memory()));
  options.kv_bytes = 16u << 20;
  options.max_batch_tokens = 1 << 30;
  CHECK_THROWS(Code::kOutOfMemory, "for activations, and free is",
               plan_memory({config, options, backend.sizes()}, backend.memory()));
}

TEST("memory_plan: the size of copies in Q8 is known before they are made") {
  CpuBackend backend(*cpu::available_kernels().front(), 2, nullptr, DenseWeights::kQ8);
  const auto checkpoint = open_checkpoint(test::source_path("test/golden/models/a"));
  const Config config = checkpoint->config;
  const uint64_t planned = weight_bytes(config, backend.sizes(), false).copied;
  CHECK_EQ(memory_needs({config, {}, backend.sizes()}).weights.copied, planned);
  CHECK(planned > uint64_t(config.vocab) * config.hidden * 2);  // embedding and head, at more than a byte
  pack_model(config, checkpoint->tensors, backend.packer(), [](size_t, size_t) {});
  CHECK_EQ(uint64_t(backend.packer().packed_bytes()), planned);
}

}  // namespace oss
