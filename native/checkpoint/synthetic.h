// Models without files: the full shapes of gpt-oss with seeded random weights, made where they are needed.
//
//   synthetic:NAME[?seed=N&skew=X]      NAME  120b, 20b, small (0.4 GB, full vocabulary), tiny (0.4 MB) or
//                                             wide (52 MB: as tiny, with the full vocabulary)
//                                       seed  64 bits, 1 unless given      skew  0 .. 100, 0 unless given
//
// Weights are scaled so that activations stay as large as in a trained model (weights.cpp), all bytes are fixed by the
// seed (kernels/common/synthetic.h), and nothing that such a model says has a meaning.
//
// Skew: the router's logits are about normal with deviation 1 over tokens; each expert of each layer has a bias of its
// own, normal with deviation `skew`. Share of all (token, expert) pairs that a layer's four most loaded experts take, and
// of experts that are used at all, in 2,000 tokens:
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

// Throws kModelNotFound for a name that there is not, kInvalidArgument for a parameter.
std::unique_ptr<Checkpoint> synthetic_checkpoint(const std::string& path);

}  // namespace oss
