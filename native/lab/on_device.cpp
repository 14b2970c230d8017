#include "native/lab/on_device.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/common/dtype.h"
#include "native/base/error.h"
#include "native/base/str.h"

namespace oss::lab {

// --- arrays on the host ----------------------------------------------------------------------------------------------

void bring_to_host(Lab& lab, Array& array) {
  if (array.device == nullptr) return;
  array.host = lab.read(*array.device);
  array.device = nullptr;
}

static HostTensor as_tensor(const Array& array) {
  HostTensor tensor;
  tensor.dtype = array.dtype;
  tensor.shape = {int64_t(array.elements)};
  tensor.bytes = array.bytes();
  tensor.synthetic = array.synthetic;
  return tensor;
}

std::vector<std::byte> bytes_on_host(Lab& lab, const Array& array) {
  if (array.device != nullptr) return lab.read(*array.device);
  if (!array.synthetic) return array.host;
  std::vector<std::byte> bytes(array.bytes());
  as_tensor(array).read(0, bytes.size(), bytes.data());
  return bytes;
}

void read_floats(Lab& lab, const Array& from, size_t first, std::span<float> to) {
  if (to.empty()) return;  // then there is no memory to copy from
  const size_t element = dtype_bytes(from.dtype);
  std::vector<std::byte> bytes(to.size() * element);
  if (from.synthetic) {
    as_tensor(from).read(first * element, bytes.size(), bytes.data());
  } else if (from.device != nullptr) {
    const std::vector<std::byte> all = lab.read(*from.device);
    std::memcpy(bytes.data(), all.data() + first * element, bytes.size());
  } else {
    std::memcpy(bytes.data(), from.host.data() + first * element, bytes.size());
  }
  if (from.dtype == DType::kF32) {
    std::memcpy(to.data(), bytes.data(), bytes.size());
    return;
  }
  for (size_t i = 0; i < to.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, bytes.data() + i * sizeof(bits), sizeof(bits));
    to[i] = bf16_to_f32(bits);
  }
}

std::vector<float> read_floats(Lab& lab, const Array& from) {
  std::vector<float> values(from.elements);
  read_floats(lab, from, 0, values);
  return values;
}

std::vector<int32_t> read_integers(Lab& lab, const Array& from) {
  std::vector<int32_t> values(from.elements);
  if (values.empty()) return values;
  if (from.device != nullptr) {
    std::memcpy(values.data(), lab.read(*from.device).data(), from.bytes());
  } else {
    std::memcpy(values.data(), from.host.data(), from.bytes());
  }
  return values;
}

// --- operands --------------------------------------------------------------------------------------------------------

void* OnDevice::room(size_t bytes) {
  lab_.check_room(bytes, "an array of the operation");
  buffers_.push_back(backend_.allocate((std::max<size_t>(bytes, 64) + 3) / 4 * 4, "an operation of the lab"));
  return buffers_.back().as<void>();
}

float* OnDevice::upload(std::span<const float> values) {
  float* at = floats(values.size());
  if (!values.empty()) backend_.write(values, at);
  return at;
}

int32_t* OnDevice::upload(std::span<const int32_t> values) {
  return reinterpret_cast<int32_t*>(upload(std::span(reinterpret_cast<const float*>(values.data()), values.size())));
}

const float* OnDevice::input(const Array& array) {
  if (array.device == nullptr || array.dtype != DType::kF32) return upload(read_floats(lab_, array));
  held_.push_back(array.device);
  return array.device->buffer.as<float>();
}

const int32_t* OnDevice::integers(const Array& array) {
  if (array.device == nullptr) return upload(read_integers(lab_, array));
  held_.push_back(array.device);
  return array.device->buffer.as<int32_t>();
}

Operand OnDevice::operand(const Array& array, bool low) {
  const bool wide = backend_.sizes().operand_bytes() == sizeof(float);
  if (array.device != nullptr && !(low && !wide) && (array.dtype == DType::kF32) == wide) {
    held_.push_back(array.device);
    return {array.device->buffer.as<void>()};
  }
  const std::vector<float> values = read_floats(lab_, array);
  if (wide) return {upload(values)};
  // Two bf16 in each float32 that is written.
  std::vector<float> high((values.size() + 1) / 2), rest(high.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t bits = f32_to_bf16(values[i]);
    const uint16_t error = f32_to_bf16(values[i] - bf16_to_f32(bits));
    std::memcpy(reinterpret_cast<std::byte*>(high.data()) + 2 * i, &bits, sizeof(bits));
    std::memcpy(reinterpret_cast<std::byte*>(rest.data()) + 2 * i, &error, sizeof(error));
  }
  return {upload(high), low && backend_.sizes().operands_have_low() ? upload(rest) : nullptr};
}

// --- results ---------------------------------------------------------------------------------------------------------

void* OnDevice::place(Arguments& arguments, const char* name, Kind kind, DType dtype, size_t elements) {
  std::shared_ptr<DeviceArray> own;
  if (arguments.has(name)) {
    const Array& given = arguments.array(name, {dtype}, {{{"elements", int64_t(elements)}}});
    if (given.device == nullptr) {
      throw Error(Code::kInvalidArgument, str("expected ", name, ", a result, to be a buffer of the device"), name);
    }
    own = given.device;
  }
  void* at = own != nullptr ? own->buffer.as<void>() : room(elements * dtype_bytes(dtype));
  if (own == nullptr) {  // what a kernel does not write is NaN
    const std::vector<float> poison((elements * dtype_bytes(dtype) + 3) / 4, std::bit_cast<float>(0xFFFFFFFFu));
    if (!poison.empty()) backend_.write(poison, static_cast<float*>(at));
  }
  results_.push_back({name, kind, at, elements, std::move(own)});
  return at;
}

float* OnDevice::result(Arguments& arguments, const char* name, const Shape& shape, const Array* from) {
  auto* at = static_cast<float*>(place(arguments, name, Kind::kFloats, DType::kF32, shape.elements()));
  if (from != nullptr) backend_.write(read_floats(lab_, *from), at);
  return at;
}

int32_t* OnDevice::integer_result(Arguments& arguments, const char* name, const Shape& shape) {
  return static_cast<int32_t*>(place(arguments, name, Kind::kIntegers, DType::kI32, shape.elements()));
}

Operand OnDevice::operand_result(Arguments& arguments, const char* name, const Shape& shape) {
  const DType dtype = backend_.sizes().operand_bytes() == sizeof(float) ? DType::kF32 : DType::kBF16;
  return {place(arguments, name, Kind::kOperand, dtype, shape.elements())};
}

Outputs OnDevice::outputs() {
  Outputs out;
  for (const Result& result : results_) {
    const bool wide = result.kind != Kind::kOperand || backend_.sizes().operand_bytes() == sizeof(float);
    if (result.device != nullptr) {
      out[result.name] = {
          .dtype = result.device->dtype, .elements = result.elements, .host = {}, .device = result.device};
      continue;
    }
    std::vector<float> words(wide ? result.elements : (result.elements + 1) / 2);
    if (!words.empty()) backend_.read(static_cast<const float*>(result.at), words);
    if (result.kind == Kind::kIntegers) {
      out[result.name] = array_of(DType::kI32, std::span(reinterpret_cast<const int32_t*>(words.data()), words.size()));
      continue;
    }
    if (!wide) {
      std::vector<float> values(result.elements);
      for (size_t i = 0; i < values.size(); ++i) {
        uint16_t bits;
        std::memcpy(&bits, reinterpret_cast<const std::byte*>(words.data()) + 2 * i, sizeof(bits));
        values[i] = bf16_to_f32(bits);
      }
      words = std::move(values);
    }
    out[result.name] = array_of(DType::kF32, std::span<const float>(words));
  }
  return out;
}

// --- steps -----------------------------------------------------------------------------------------------------------

void OnDevice::make_step(int tokens, int rows) {
  StepArrays of;
  const bool sequences = tokens <= kMostSequences;
  of.max_pages = sequences ? 1 : (tokens + kPageTokens - 1) / kPageTokens;
  for (int t = 0; t < tokens; ++t) {
    of.tokens.push_back(0);
    of.positions.push_back(sequences ? 0 : t);
    of.sequence.push_back(sequences ? t : 0);
  }
  const int pages = (sequences ? tokens : 1) * of.max_pages;
  for (int page = 0; page < pages; ++page) of.table.push_back(page);
  for (int r = 0; r < rows; ++r) of.rows.push_back(r);
  set_step(std::move(of));
}

void OnDevice::set_step(StepArrays of) {
  arrays_ = std::move(of);
  const int tokens = int(arrays_.positions.size()), sequences = int(arrays_.table.size()) / arrays_.max_pages;
  if (arrays_.tokens.empty()) arrays_.tokens.assign(size_t(tokens), 0);
  if (arrays_.rope.empty()) arrays_.rope.assign(size_t(tokens) * kHeadDim, 0);
  step = {.num_tokens = tokens,
          .num_sequences = sequences,
          .num_rows = int(arrays_.rows.size()),
          .tokens = arrays_.tokens,
          .positions = arrays_.positions,
          .sequence = arrays_.sequence,
          .block_tables = {arrays_.table, arrays_.table},
          .max_pages = arrays_.max_pages,
          .rope = arrays_.rope,
          .logit_tokens = arrays_.rows,
          .adapters = {}};
  // A device plans its memory from these; an operation sets those that it has.
  limits = {.tokens = std::max(tokens, 1),
            .sequences = std::max(sequences, 1),
            .rows = std::max(step.num_rows, 1),
            .max_pages = arrays_.max_pages,
            .hidden = 32,
            .intermediate = 32,
            .heads = 1,
            .kv_heads = 1,
            .head_dim = kHeadDim,
            .experts = 1,
            .top_k = 1,
            .vocab = 32,
            .window = 0};
}

}  // namespace oss::lab
