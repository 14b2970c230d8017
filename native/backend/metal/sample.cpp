#include "kernels/metal/sample.h"

#include <algorithm>

#include "native/backend/metal/operations.h"
#include "native/base/error.h"

namespace oss::metal {
namespace {

// Rows go through the scratch memory in portions: a row takes 4 MB, and eight of them fill any GPU.
constexpr int kPortion = 8;

int slices_of(int vocab) { return (vocab + kSampleSlice - 1) / kSampleSlice; }

struct Scratch {
  SampleBest* best;   // [rows, slices]
  SampleSums* sums;   // [rows, slices]
  uint64_t* top;      // [rows, slices, kMaxTopLogprobs]
  uint64_t* keys;     // [rows, slices, kSampleSlice] sorted in each slice
  uint64_t* weights;  // [rows, slices, kSampleSlice] running sums in each slice
  float* adjusted;    // [rows, vocab]
  size_t bytes;
};

Scratch scratch_of(int rows, int vocab, void* base) {
  const size_t slices = size_t(rows) * size_t(slices_of(vocab));
  Scratch s{};
  const auto part = [&]<typename T>(T*& pointer, size_t count) {
    pointer = reinterpret_cast<T*>(static_cast<char*>(base) + s.bytes);
    s.bytes += (count * sizeof(T) + 255) / 256 * 256;
  };
  part(s.best, slices);
  part(s.sums, slices);
  part(s.top, slices * kMaxTopLogprobs);
  part(s.keys, slices * kSampleSlice);
  part(s.weights, slices * kSampleSlice);
  part(s.adjusted, size_t(rows) * size_t(vocab));
  return s;
}

// A list, or other memory in place of one that is empty.
template <typename T>
Argument reads_list(const T* at, size_t count, const SampleRow* instead) {
  return count > 0 ? reads(at, count) : reads(instead, 1);
}

}  // namespace

size_t sample_scratch_bytes(int rows, int vocab) { return scratch_of(std::min(rows, kPortion), vocab, nullptr).bytes; }

void sample(Encoder& encoder, int rows, int vocab, const float* logits, const SampleInputs& in, void* scratch,
            SampleResult* out) {
  if (vocab > kSampleMaxVocab) throw Error(Code::kInternal, "a vocabulary of more than 2^18 tokens");
  const SampleLaunch launch = {.vocab = vocab, .slices = slices_of(vocab)};
  const size_t num_logits = in.logit_rows * size_t(vocab);
  for (int first = 0; first < rows; first += kPortion) {
    const int count = std::min(rows - first, kPortion);
    const size_t slices = size_t(count) * size_t(launch.slices), adjusted = size_t(count) * size_t(vocab);
    const Scratch s = scratch_of(count, vocab, scratch);
    const Groups each_slice = {uint32_t(launch.slices), uint32_t(count)};
    const Argument parameters = reads(in.parameters + first, size_t(count));
    const Argument allowed = reads_list(in.allowed, in.allowed_count, in.parameters + first);
    encoder.dispatch("sample_read", each_slice, kSampleThreads,
                     {bytes_of(launch), parameters, reads_list(in.seen, in.seen_count, in.parameters + first),
                      reads_list(in.bias, in.bias_count, in.parameters + first), allowed, reads(logits, num_logits),
                      writes(s.best, slices), writes(s.top, slices * kMaxTopLogprobs), writes(s.adjusted, adjusted)});
    encoder.dispatch(
        "sample_weigh", each_slice, kSampleThreads,
        {bytes_of(launch), parameters, reads(logits, num_logits), reads(s.adjusted, adjusted), reads(s.best, slices),
         writes(s.sums, slices), writes(s.keys, slices * kSampleSlice), writes(s.weights, slices * kSampleSlice)});
    encoder.dispatch("sample_choose", {uint32_t(count)}, kSampleThreads,
                     {bytes_of(launch), parameters, allowed, reads(logits, num_logits), reads(s.adjusted, adjusted),
                      reads(s.best, slices), reads(s.top, slices * kMaxTopLogprobs), reads(s.sums, slices),
                      reads(s.keys, slices * kSampleSlice), reads(s.weights, slices * kSampleSlice),
                      writes(out + first, size_t(count))});
  }
}

}  // namespace oss::metal
