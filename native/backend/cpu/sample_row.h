// One row of logits from the model to its token: penalties and bias, what is allowed, the draw, and what is told of it.
#pragma once
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/sample.h"
#include "native/backend/backend.h"

namespace oss {

// logits [vocab] are what they were when it returns. Tokens of the context lie within the vocabulary.
Sampled sample_row(const SamplingArgs& args, const SamplingContext& context, float* logits, int vocab,
                   const cpu::SampleMachine& machine = {.kernels = *cpu::available_kernels().front()});

}  // namespace oss
