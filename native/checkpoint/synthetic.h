// Models without files: the full shapes of gpt-oss with seeded random weights, generated where they are needed.
//
//   synthetic:NAME[?seed=N&skew=X]      NAME  120b, 20b, small (0.4 GB, full vocabulary), tiny (0.4 MB) or
//                                             wide (52 MB: as tiny, with the full vocabulary)
//                                       seed  64 bits, 1 unless given      skew  0 .. 100, 0 unless given
//
// Weights are scaled so that activations stay as large as in a trained model (weights.cpp). The seed fixes all bytes
// (kernels/common/synthetic.h). The text of such a model is meaningless.
//
// Skew: over tokens, the router's logits are about normal with deviation 1. Each expert of each layer also has a fixed
// bias, normal with deviation `skew`. The table gives, for 2,000 tokens, the share of (token, expert) pairs of the four
// most loaded experts of a layer, and the share of experts that are used at all:
//
//   skew           0            0.5          1            2            4
//   32 experts     14 %, all    31 %, all    48 %, 97 %   68 %, 68 %   81 %, 42 %
//   128 experts     4 %, all    15 %, 99 %   35 %, 79 %   59 %, 37 %   74 %, 17 %
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "native/checkpoint/checkpoint.h"

namespace oss {

bool is_synthetic(std::string_view path);  // starts with "synthetic:"

// Throws kModelNotFound for an unknown name, kInvalidArgument for a bad parameter.
std::unique_ptr<Checkpoint> synthetic_checkpoint(const std::string& path,
                                                 ExpertWeights experts = ExpertWeights::kMXFP4);

}  // namespace oss
