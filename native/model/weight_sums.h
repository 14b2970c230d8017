// Sums over the weights of a model: how many there are, and how many bytes one token reads.
#pragma once
#include <cstdint>

#include "native/backend/tensors.h"
#include "native/model/config.h"

namespace oss {

int64_t parameters(const Config& config);

// Returns the bytes that one decode step of one sequence must read with `context` tokens in a KV cache of
// `kv_element_bytes`: all dense weights once (`dense_element_bytes` in attention, embedding and head), the chosen
// experts, and the visible keys and values of each layer. These are the formulas of the roofline, plus the small
// vectors and the one embedding row.
double bytes_per_token(const Config& config, int64_t context, int kv_element_bytes, double dense_element_bytes = 2,
                       ExpertWeights experts = ExpertWeights::kMXFP4);

// Returns the context tokens that cost a token as much time as all its matrices; 0: no layer has full attention.
int64_t context_of_a_token(const Config& config);

}  // namespace oss
