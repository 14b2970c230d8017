// What the weights of a model come to: how many, and what one token reads of them.
#pragma once
#include <cstdint>

#include "native/model/config.h"

namespace oss {

int64_t parameters(const Config& config);

// Bytes that one decode step of one sequence must read with `context` tokens in a KV cache of `kv_element_bytes`:
// all dense weights once, of `dense_element_bytes` in attention, embedding and head, the chosen experts, the keys and
// values that each layer can see. These are the formulas of the roofline, with the small vectors and the one embedding row
// in them.
double bytes_per_token(const Config& config, int64_t context, int kv_element_bytes, double dense_element_bytes = 2);

// How many tokens of context take a token about as long as all its matrices together; 0: no layer sees everything.
int64_t context_of_a_token(const Config& config);

}  // namespace oss
