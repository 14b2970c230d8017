// The bytes of a synthetic tensor, defined in kernels/common/synthetic.h:
//   to[i] = byte first + i of the tensor, i < bytes
//
// Traffic: only the writes. A thread makes 16 bytes from two words (three if the part begins inside a word), in 40 to
// 120 integer instructions. The codes of experts, which are most of a model, are as fast as HBM.
#include "kernels/common/synthetic.h"
#include "kernels/cuda/launch.cuh"

namespace oss::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kThreadBytes = 16;

struct Part {
  uint64_t key, first, bytes;  // the key of the tensor and a range of its bytes
  float scale;
};

template <int kKind>
__global__ void synthesize_kernel(Part part, uint8_t* to /*[bytes]*/) {
  const uint64_t at = (uint64_t(blockIdx.x) * kThreads + threadIdx.x) * kThreadBytes;
  if (at >= part.bytes) return;
  const uint64_t word = (part.first + at) / 8u;
  const uint32_t skip = uint32_t(part.first % 8u) * 8u;  // bits of the first word that belong to earlier bytes
  uint64_t low = synthetic_word(kKind, part.key, word, part.scale);
  uint64_t high = synthetic_word(kKind, part.key, word + 1, part.scale);
  if (skip != 0) {
    const uint64_t next = synthetic_word(kKind, part.key, word + 2, part.scale);
    low = low >> skip | high << (64u - skip);
    high = high >> skip | next << (64u - skip);
  }
  uint8_t* out = to + at;
  if (at + kThreadBytes <= part.bytes && reinterpret_cast<uintptr_t>(to) % kThreadBytes == 0) {
    *reinterpret_cast<uint4*>(out) =
        make_uint4(uint32_t(low), uint32_t(low >> 32), uint32_t(high), uint32_t(high >> 32));
    return;
  }
  const int bytes = part.bytes - at < kThreadBytes ? int(part.bytes - at) : kThreadBytes;
  for (int i = 0; i < bytes; ++i) out[i] = uint8_t((i < 8 ? low : high) >> (8 * (i % 8)));
}

}  // namespace

Status synthesize(const SynthesizeArgs& args, void* to, Stream stream) {
  const uint64_t element = uint64_t(synthetic_element_bytes(args.kind));
  const Part part = {uint64_t(args.key_hi) << 32 | args.key_lo, args.first * element, args.count * element, args.scale};
  constexpr uint64_t kBlockBytes = kThreads * kThreadBytes;
  constexpr uint64_t kMostBlocks = 0x7FFFFFFFu;  // 8 TB
  const uint64_t blocks = (part.bytes + kBlockBytes - 1) / kBlockBytes;
  if (blocks > kMostBlocks) return cudaErrorInvalidValue;
  const Launch how = {.grid = unsigned(blocks), .block = kThreads, .stream = stream};
  auto* bytes = static_cast<uint8_t*>(to);
  switch (args.kind) {
    case kSyntheticNormal:
      return launch(synthesize_kernel<kSyntheticNormal>, how, part, bytes);
    case kSyntheticNorm:
      return launch(synthesize_kernel<kSyntheticNorm>, how, part, bytes);
    case kSyntheticCodes:
      return launch(synthesize_kernel<kSyntheticCodes>, how, part, bytes);
    case kSyntheticScales:
      return launch(synthesize_kernel<kSyntheticScales>, how, part, bytes);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace oss::cuda
