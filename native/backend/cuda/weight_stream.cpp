#include "native/backend/cuda/weight_stream.h"

#include <algorithm>
#include <cstring>

namespace oss {

// One core copies 10 GB/s or so out of the page cache, a PCIe 5 link takes 50.
constexpr int kMostThreads = 8;

WeightStream::WeightStream(std::shared_ptr<Gpu> gpu)
    : gpu_(gpu), pool_(std::min(kMostThreads, default_threads())), slots_{Slot(gpu), Slot(gpu)} {}

WeightStream::Slot& WeightStream::next_slot(size_t pinned_bytes, size_t raw_bytes) {
  Slot& slot = slots_[next_];
  next_ = 1 - next_;
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

void WeightStream::copy_to_pinned(const std::byte* from, size_t bytes, std::byte* to) {
  pool_.parallel_for(int64_t(bytes), 1 << 20, [&](int64_t begin, int64_t end, int) {
    std::memcpy(to + begin, from + begin, size_t(end - begin));
  });
}

void WeightStream::send(const HostTensor& tensor, size_t first, size_t bytes,
                        const std::function<void(const void*)>& pack) {
  if (bytes == 0) return;
  Slot& slot = next_slot(tensor.synthetic ? 0 : bytes, bytes);
  if (tensor.synthetic) {
    synthesize(tensor, first, bytes, slot.raw.as<void>());
  } else {
    copy_to_pinned(tensor.data + first, bytes, slot.pinned.as<std::byte>());
    gpu_->copy(slot.raw.as<void>(), slot.pinned.as<void>(), bytes);
  }
  pack(slot.raw.as<void>());
  slot.packed.record();
}

void WeightStream::send(const HostTensor& tensor, void* to) {
  if (tensor.synthetic) {
    synthesize(tensor, 0, tensor.bytes, to);
  } else {
    send(tensor.data, tensor.bytes, to);
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

void WeightStream::send(const void* from, size_t bytes, void* to) {
  for (size_t done = 0; done < bytes;) {
    const size_t piece = std::min(bytes - done, kPieceBytes);
    Slot& slot = next_slot(piece, 0);
    copy_to_pinned(static_cast<const std::byte*>(from) + done, piece, slot.pinned.as<std::byte>());
    gpu_->copy(static_cast<std::byte*>(to) + done, slot.pinned.as<void>(), piece);
    slot.packed.record();
    done += piece;
  }
}

void WeightStream::finish() {
  gpu_->synchronize();
  for (Slot& slot : slots_) {
    slot.pinned = Buffer();
    slot.raw = Buffer();
  }
}

}  // namespace oss
