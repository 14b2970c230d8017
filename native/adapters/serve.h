// An adapter in the form in which a step computes it: factors in bf16, for all requests that choose it.
#pragma once
#include <memory>

#include "native/adapters/adapter.h"
#include "native/backend/low_rank.h"

namespace oss {

// F32 and F16 factors are rounded to bf16, to nearest. The result owns its memory.
std::shared_ptr<const AdapterWeights> serve_adapter(const Adapter& adapter, const Config& config);

}  // namespace oss
