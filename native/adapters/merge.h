// Adapters merged into the weights at load: a tensor of the checkpoint becomes one that is made when it is read.
#pragma once
#include <functional>
#include <memory>

#include "native/adapters/adapter.h"
#include "native/model/weights.h"

namespace oss {

// What MXFP4 cannot keep of a merged adapter, measured on a sample of blocks: the root mean square of the rounding,
// divided by that of the weights and by that of the adapter's change. 0 where the adapter leaves the experts alone, and
// where they are bf16.
struct MergeError {
  double of_weights = 0, of_change = 0;
};

// A plan needs no error, and reads no weights for it.
enum class MeasureMerge { kSample, kNothing };

// Replaces the tensors that the adapter changes. W becomes W + scale · B A: float32, summed in the order of the rank,
// and rounded once. Dense weights are bf16 again, and so are experts in bf16. MXFP4 experts are quantised again; those
// that the adapter leaves alone keep their bytes. The tensors before must stay valid, and the adapter is kept. Throws
// kUnsupported for a matrix that the model does not have, and kCancelled when `cancelled` returns true.
MergeError merge_adapter(std::shared_ptr<const Adapter> adapter, Tensors& tensors,
                         const std::function<bool()>& cancelled = {}, MeasureMerge measure = MeasureMerge::kSample);

}  // namespace oss
