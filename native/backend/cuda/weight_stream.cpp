#include "native/backend/cuda/weight_stream.h"

#include <algorithm>
#include <cstring>

#include "kernels/common/dtype.h"
#include "native/base/machine.h"

namespace oss {

// One core reads 4 to 7 GB/s from the page cache; a PCIe 5 link takes 50.
constexpr int kMostThreads = 16;
// The bytes that a thread reads at once: a piece has 8 turns of 16 threads, so that the last one ends soon.
constexpr int64_t kReadBytes = 256 << 10;

WeightStream::WeightStream(std::shared_ptr<Gpu> gpu)
    : gpu_(gpu),
      pool_(std::min(kMostThreads, usable_threads().count), FewerThreads::kGoOn),
      slots_{Slot(gpu), Slot(gpu), Slot(gpu)} {}

WeightStream::Slot& WeightStream::next_slot(size_t pinned_bytes, size_t raw_bytes) {
  Slot& slot = slots_[next_];
  next_ = (next_ + 1) % int(std::size(slots_));
  slot.packed.await();
  if (slot.pinned.bytes() < pinned_bytes) {
    slot.pinned = Buffer();
    slot.pinned = gpu_->allocate_pinned(pinned_bytes, "loading weights");
  }
  if (slot.raw.bytes() < raw_bytes) {
    slot.raw = Buffer();
    slot.raw = gpu_->allocate(raw_bytes, "loading weights");
  }
  return slot;
}

void WeightStream::fill_slot(Slot& slot, size_t first, size_t bytes, const Fill& fill) {
  auto* pinned = slot.pinned.as<std::byte>();
  pool_.parallel_for(int64_t(bytes), kReadBytes, [&](int64_t begin, int64_t end, int) {
    fill(first + size_t(begin), first + size_t(end), pinned + begin);
  });
}

void WeightStream::send(const HostTensor& tensor, size_t first, size_t bytes,
                        const std::function<void(const void*)>& pack) {
  if (bytes == 0) return;
  Slot& slot = next_slot(tensor.synthetic ? 0 : bytes, bytes);
  if (tensor.synthetic) {
    synthesize(tensor, first, bytes, slot.raw.as<void>());
  } else {
    fill_slot(slot, first, bytes,
              [&](size_t begin, size_t end, std::byte* pinned) { tensor.read(begin, end - begin, pinned); });
    gpu_->copy(slot.raw.as<void>(), slot.pinned.as<void>(), bytes);
  }
  pack(slot.raw.as<void>());
  slot.packed.record();
}

void WeightStream::send(const HostTensor& tensor, void* to) {
  if (tensor.synthetic) {
    synthesize(tensor, 0, tensor.bytes, to);
    return;
  }
  send_pieces(tensor.bytes, to,
              [&](size_t begin, size_t end, std::byte* pinned) { tensor.read(begin, end - begin, pinned); });
}

void WeightStream::send_f32(const HostTensor& tensor, void* to) {
  if (tensor.dtype == DType::kF32) {
    send(tensor, to);
    return;
  }
  send_pieces(size_t(tensor.elements()) * sizeof(float), to, [&](size_t begin, size_t end, std::byte* pinned) {
    // Read into the upper half and widened from the front: no element is overwritten before it is read.
    const size_t raw_bytes = (end - begin) / 2;
    const std::byte* raw = pinned + raw_bytes;
    tensor.read(begin / 2, raw_bytes, pinned + raw_bytes);
    for (size_t i = 0; i < raw_bytes / sizeof(uint16_t); ++i) {
      uint16_t bits;
      std::memcpy(&bits, raw + i * sizeof(bits), sizeof(bits));
      const float value = bf16_to_f32(bits);
      std::memcpy(pinned + i * sizeof(value), &value, sizeof(value));
    }
  });
}

void WeightStream::send_pieces(size_t bytes, void* to, const Fill& fill) {
  for (size_t done = 0; done < bytes;) {
    const size_t piece = std::min(bytes - done, kPieceBytes);
    Slot& slot = next_slot(piece, 0);
    fill_slot(slot, done, piece, fill);
    gpu_->copy(static_cast<std::byte*>(to) + done, slot.pinned.as<void>(), piece);
    slot.packed.record();
    done += piece;
  }
}

void WeightStream::synthesize(const HostTensor& tensor, size_t first, size_t bytes, void* to) {
  const SyntheticSource& source = *tensor.synthetic;
  const size_t element = dtype_bytes(tensor.dtype);
  gpu_->check(gpu_->module.synthesize({.kind = source.kind,
                                       .key_lo = uint32_t(source.key),
                                       .key_hi = uint32_t(source.key >> 32),
                                       .first = first / element,
                                       .count = bytes / element,
                                       .scale = source.scale},
                                      to, gpu_->stream),
              "synthesize");
}

void WeightStream::finish() {
  gpu_->synchronize();
  for (Slot& slot : slots_) {
    slot.pinned = Buffer();
    slot.raw = Buffer();
  }
}

}  // namespace oss
