// Random operands of a bench that are not weights: those are synthetic arrays, made by the device. The lab's thread makes
// these, because the thread of JavaScript must not wait for them.
#pragma once
#include <string>

#include "native/lab/lab.h"

namespace oss::lab {

enum class RandomKind {
  kFloats,   // the values of a synthetic array of bf16, in float32
  kTokens,   // int32, each in [0, vocab)
  kChoices,  // of `experts`: int32 [draws, tokens, topK]; this sets `draws`
};

// Replaces the array of this name, from the numbers of the call. Throws kInvalidArgument for numbers that do not fit.
void make_random(Lab& lab, Arguments& arguments, const std::string& name, RandomKind kind);

}  // namespace oss::lab
