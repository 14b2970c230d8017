// Dense weights: floats and Q8 blocks of a file as BF16 or F32.
#include <cstring>
#include <utility>

#include "kernels/common/dtype.h"
#include "kernels/common/q8.h"
#include "native/base/error.h"
#include "native/base/float_values.h"
#include "native/base/json.h"
#include "native/base/read_units.h"
#include "native/base/str.h"
#include "native/base/tensor_source.h"
#include "native/checkpoint/converted_tensors.h"

namespace oss {
namespace {

constexpr uint64_t kChunk = 4096;  // values that are converted at a time, in the L1 cache

class ConvertedValues final : public TensorSource {
 public:
  ConvertedValues(StoredTensor stored, std::shared_ptr<Conversions> conversions)
      : stored_(std::move(stored)), conversions_(std::move(conversions)) {}

  void read(const HostTensor& tensor, uint64_t first, uint64_t bytes, void* to) const override {
    const size_t element = dtype_bytes(tensor.dtype);
    const uint64_t unit = stored_.packing == Packing::kQ8 ? kQ8Block : 1;
    std::vector<std::byte> raw(kChunk * sizeof(float));
    std::vector<float> values(kChunk);
    ConversionSum sum;
    read_units(first, bytes, unit * element, kChunk / unit, to, [&](uint64_t begin, uint64_t count, std::byte* out) {
      decode(begin, count, raw.data(), values.data());
      encode(tensor.dtype, values.data(), count * unit, out, sum);
    });
    if (conversions_ != nullptr) conversions_->add(Conversions::kDense, tensor.name, sum);
  }

  std::vector<const MappedFile*> files() const override { return {stored_.data.mapping}; }
  bool holds_q8() const override { return stored_.packing == Packing::kQ8; }

  bool read_q8(const HostTensor&, uint64_t first, uint64_t blocks, int8_t* codes, uint16_t* scales) const override {
    std::vector<std::byte> raw(kChunk / kQ8Block * kQ8BlockBytes);
    bool ours = true;
    for (uint64_t done = 0; done < blocks;) {
      const uint64_t count = std::min<uint64_t>(blocks - done, kChunk / kQ8Block);
      stored_.data.read((first + done) * kQ8BlockBytes, count * kQ8BlockBytes, raw.data());
      for (uint64_t b = 0; b < count; ++b, ++done) {
        const std::byte* block = raw.data() + b * kQ8BlockBytes;
        scales[done] = scale_of(block, first + done);
        ours = ours && (scales[done] & 0x8000u) == 0;
        std::memcpy(codes + done * kQ8Block, block + sizeof(uint16_t), kQ8Block);
      }
    }
    return ours;
  }

 private:
  // A scale that is no number would make all values of its row NaN.
  uint16_t scale_of(const std::byte* block, uint64_t index) const {
    uint16_t scale;
    std::memcpy(&scale, block, sizeof scale);
    if ((scale & 0x7C00u) == 0x7C00u)
      throw Error(Code::kModelFormat, str(stored_.data.file, ": tensor ", quote(stored_.data.name), ": block ", index,
                                          ": expected a finite Q8_0 scale, found ", f16_to_f32(scale)));
    return scale;
  }

  void decode(uint64_t first_unit, uint64_t count, std::byte* raw, float* values) const {
    if (stored_.packing == Packing::kQ8) {
      stored_.data.read(first_unit * kQ8BlockBytes, count * kQ8BlockBytes, raw);
      for (uint64_t b = 0; b < count; ++b, raw += kQ8BlockBytes) {
        const float scale = f16_to_f32(scale_of(raw, first_unit + b));
        for (int i = 0; i < kQ8Block; ++i) *values++ = float(int8_t(raw[int(sizeof(uint16_t)) + i])) * scale;
      }
      return;
    }
    const size_t bytes = dtype_bytes(stored_.data.dtype);
    stored_.data.read(first_unit * bytes, count * bytes, raw);
    for (uint64_t i = 0; i < count; ++i) values[i] = float_at(stored_.data.dtype, raw, i);
  }

  static void encode(DType dtype, const float* values, uint64_t count, std::byte* out, ConversionSum& sum) {
    if (dtype == DType::kF32) {
      std::memcpy(out, values, count * sizeof(float));
      return;
    }
    for (uint64_t i = 0; i < count; ++i) {
      const uint16_t rounded = f32_to_bf16(values[i]);
      std::memcpy(out + i * sizeof rounded, &rounded, sizeof rounded);
      sum.add(values[i], double(bf16_to_f32(rounded)) - double(values[i]));
    }
  }

  const StoredTensor stored_;
  const std::shared_ptr<Conversions> conversions_;
};

HostTensor converted(const StoredTensor& stored, DType dtype, std::shared_ptr<Conversions> conversions) {
  return made_tensor(stored, dtype, stored.data.shape,
                     std::make_shared<ConvertedValues>(stored, std::move(conversions)));
}

void expect_runnable(const StoredTensor& stored, bool runs, const char* expected) {
  if (runs) return;
  throw Error(Code::kUnsupported,
              str(stored.data.file, ": tensor ", quote(stored.data.name), ": expected ", expected, ", found ",
                  stored.data.stored_type(),
                  "; use the file of the release, such as gpt-oss-20b-mxfp4.gguf, or the safetensors files"));
}

bool is_plain(const StoredTensor& stored) { return stored.packing == Packing::kPlain && is_float(stored.data.dtype); }

}  // namespace

HostTensor converted_matrix(const StoredTensor& stored, const std::shared_ptr<Conversions>& conversions) {
  expect_runnable(stored, is_plain(stored) || stored.packing == Packing::kQ8,
                  "F32, F16, BF16 or Q8_0 for a dense weight");
  if (stored.data.dtype == DType::kBF16) return stored.data;
  return converted(stored, DType::kBF16, conversions);
}

HostTensor converted_vector(const StoredTensor& stored) {
  expect_runnable(stored, is_plain(stored), "F32, F16 or BF16 for a vector");
  if (stored.data.dtype == DType::kBF16 || stored.data.dtype == DType::kF32) return stored.data;
  return converted(stored, DType::kF32, nullptr);
}

}  // namespace oss
