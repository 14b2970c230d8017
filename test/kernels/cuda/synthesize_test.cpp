// The device makes the same bytes as the host: of every kind, at any offset, without writing past the end.
#include "kernels/common/synthetic.h"
#include "native/base/synthetic_tensor.h"
#include "test/kernels/cuda/support.h"

namespace oss::test {
namespace {

constexpr uint64_t kKey = 0x0123456789ABCDEFu;
constexpr size_t kGuard = 32;  // bytes behind the part that must stay as they were

void check_part(CudaDevice& device, int kind, float scale, uint64_t first, uint64_t count, size_t shift) {
  const uint64_t element = uint64_t(synthetic_element_bytes(kind)), bytes = count * element;
  DeviceArray<uint8_t> out(device, shift + bytes + kGuard);
  const cuda::SynthesizeArgs args = {.kind = kind,
                                     .key_lo = uint32_t(kKey),
                                     .key_hi = uint32_t(kKey >> 32),
                                     .first = first,
                                     .count = count,
                                     .scale = scale};
  device.check(device.module.synthesize(args, out.data() + shift, device.stream), "synthesize");
  HostTensor tensor;
  tensor.synthetic = {.kind = kind, .key = kKey, .scale = scale};
  std::vector<uint8_t> expected(out.size(), 0xCD);
  synthesize(tensor, first * element, bytes, expected.data() + shift);
  const std::vector<uint8_t> actual = out.read();
  if (actual == expected) return;
  size_t at = 0;
  while (actual[at] == expected[at]) ++at;
  fail(__FILE__, __LINE__,
       str(device.name, ": kind ", kind, ", elements ", first, " + ", count, ", shift ", shift, ": byte ", at,
           ": expected ", int(expected[at]), ", got ", int(actual[at])));
}

TEST("cuda synthesize: the host's bytes, any part of any kind") {
  for_each_cuda_device([](CudaDevice& device) {
    const std::pair<int, float> kinds[] = {
        {kSyntheticNormal, 0.0186f}, {kSyntheticNorm, 0.15f}, {kSyntheticCodes, 0.0f}, {kSyntheticScales, 0.0186f}};
    for (const auto& [kind, scale] : kinds) {
      for (const uint64_t first : {0, 1, 2, 3, 5, 7, 8, 4096, 4099}) {
        for (const uint64_t count : {0, 1, 7, 8, 16, 33}) check_part(device, kind, scale, first, count, 0);
        for (const size_t shift : {2, 8, 14}) check_part(device, kind, scale, first, 100, shift);
      }
      check_part(device, kind, scale, 12345, 10000, 0);             // more than one block
      check_part(device, kind, scale, uint64_t(5) << 32, 1000, 0);  // the 120b has tensors of more than 2^32 elements
    }
  });
}

}  // namespace
}  // namespace oss::test
