// Operations per second of int8 dot products in registers, with the best vector instruction that the compiler supports
// on this processor. This is the roof of a prefill with int8 activations.
//   c++ -O2 -march=native -pthread -I ../.. peak.cpp ../cpu/peaks.cpp -o peak && ./peak THREADS     prints one JSON object
// Matrix units (AMX) are faster and not measured.
#include <cstdio>
#include <cstdlib>

#include "bench/cpu/peaks.h"

int main(int count, char** arguments) {
  const int threads = count > 1 ? std::max(1, std::atoi(arguments[1])) : 1;
  const oss::bench::PeakLoop* loop = oss::bench::peak_loop(oss::bench::Unit::kInt8);
  if (loop == nullptr) {
    std::puts("null");
    return 0;
  }
  std::printf("{\"instruction\": \"%s\", \"operationsPerSecond\": %.4g}\n", loop->instruction,
              oss::bench::operations_per_second(*loop, threads, 0.1));
}
