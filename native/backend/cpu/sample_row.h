// Draws a token from one row of logits: penalties and bias, allowed tokens, the draw, and its log probabilities.
#pragma once
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/sample.h"
#include "native/backend/backend.h"

namespace oss {

// logits [vocab] are restored before it returns. Tokens of the context must be within the vocabulary.
Sampled sample_row(const SamplingArgs& args, const SamplingContext& context, float* logits, int vocab,
                   const cpu::SampleMachine& machine = {.kernels = *cpu::available_kernels().front()});

}  // namespace oss
