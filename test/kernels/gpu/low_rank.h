// Adapters with random factors, and a problem of one matrix's term on a GPU, in double.
#pragma once
#include <vector>

#include "test/kernels/gpu/values.h"
#include "test/kernels/term.h"

namespace oss::test {

// The adapters of a step's tokens.
struct StepAdapters {
  std::vector<std::vector<Term>> terms;  // of each adapter, by number
  std::vector<int> of_token;             // indexes into `terms`; -1: none

  // nullptr: none
  const Term* term(int token, int number) const {
    const int adapter = of_token[size_t(token)];
    return adapter < 0 ? nullptr : &terms[size_t(adapter)][size_t(number)];
  }
  // Of the tokens [first, first + count).
  StepAdapters part(int first, int count) const { return {terms, rows_of(of_token, 1, first, count)}; }
};

}  // namespace oss::test
