// Streams, and the events that order them. Operations run only when the host waits for them.
#include <chrono>

#include "test/emu/runtime.h"

namespace oss::emu {
namespace {

struct EventState {
  uint64_t queued = 0, done = 0;  // records
  cudaStream_t stream = nullptr;  // of the last record
  std::chrono::steady_clock::time_point at;
};

// Runs queued operations, all of them or until `enough`. After a fault operations are skipped, but events are recorded.
template <typename Enough>
void run(cudaStream_t stream, Enough enough) {
  Device& on = state().devices[stream->device];
  while (!stream->operations.empty() && !enough()) {
    const Queued operation = std::move(stream->operations.front());
    stream->operations.pop_front();
    const bool before_early_start = !stream->operations.empty() && stream->operations.front().starts_early;
    const cudaError_t error = operation.run(before_early_start);
    if (error != cudaSuccess && on.fault == cudaSuccess) on.fault = error;
  }
}
void run(cudaStream_t stream) {
  run(stream, [] { return false; });
}

}  // namespace

cudaStream_t find_stream(cudaStream_t stream) {
  if (stream == nullptr) {
    device().default_stream.device = current_device;
    return &device().default_stream;
  }
  return state().streams.count(stream) != 0 ? stream : nullptr;
}

void run_device(int index) {
  run(&state().devices[index].default_stream);
  for (cudaStream_t stream : state().streams) {
    if (stream->device == index) run(stream);
  }
}

void queue(cudaStream_t stream, Queued operation) {
  if (stream->capture != nullptr) {
    stream->capture->operations.push_back(std::move(operation));
  } else {
    stream->operations.push_back(std::move(operation));
  }
}

}  // namespace oss::emu

using namespace oss::emu;

struct CUevent_st {
  std::shared_ptr<EventState> state;
};

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  *stream = new CUstream_st{};
  (*stream)->device = current_device;
  state().streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(state().mutex);
  if (state().streams.count(stream) == 0) return remember(cudaErrorInvalidResourceHandle);
  run(stream);
  const cudaError_t fault = state().devices[stream->device].fault;
  state().streams.erase(stream);
  delete stream;
  return remember(fault);
}
cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  const cudaStream_t stream = find_stream(handle);
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    stream->capture_error = cudaErrorStreamCaptureInvalidated;
    return remember(cudaErrorStreamCaptureUnsupported);
  }
  run(stream);
  return remember(state().devices[stream->device].fault);
}
cudaError_t cudaDeviceSynchronize() {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  if (const cudaError_t error = forbid_while_capturing()) return remember(error);
  run_device(current_device);
  return remember(device().fault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  *event = new CUevent_st{std::make_shared<EventState>()};
  state().events.insert(*event);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Lock lock(state().mutex);
  if (state().events.erase(event) == 0) return remember(cudaErrorInvalidResourceHandle);
  delete event;
  return remember(device_error());
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  const cudaStream_t stream = find_stream(handle);
  if (stream == nullptr || state().events.count(event) == 0) return remember(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    stream->capture_error = cudaErrorStreamCaptureInvalidated;
    return remember(fail(cudaErrorNotSupported, "events within a captured graph are not emulated"));
  }
  event->state->stream = stream;
  queue(stream, [event = event->state, record = ++event->state->queued] {
    event->done = record;
    event->at = std::chrono::steady_clock::now();
    return cudaSuccess;
  });
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  const cudaStream_t stream = find_stream(handle);
  if (stream == nullptr || state().events.count(event) == 0) return remember(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    stream->capture_error = cudaErrorStreamCaptureInvalidated;
    return remember(cudaErrorStreamCaptureIsolation);
  }
  // The wait covers only records up to now.
  queue(stream, [event = event->state, record = event->state->queued, other = event->state->stream] {
    if (event->done < record && state().streams.count(other) != 0) run(other, [&] { return event->done >= record; });
    return cudaSuccess;
  });
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  if (state().events.count(event) == 0) return remember(cudaErrorInvalidResourceHandle);
  EventState& of = *event->state;
  if (of.done == of.queued) return cudaSuccess;
  const uint64_t record = of.queued;
  run(of.stream, [&] { return of.done >= record; });
  return remember(device().fault);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  const Lock lock(state().mutex);
  if (const cudaError_t error = device_error()) return remember(error);
  if (state().events.count(from) == 0 || state().events.count(to) == 0) return remember(cudaErrorInvalidResourceHandle);
  if (from->state->queued == 0 || to->state->queued == 0) return remember(cudaErrorInvalidResourceHandle);
  if (from->state->done != from->state->queued || to->state->done != to->state->queued) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(to->state->at - from->state->at).count();
  return cudaSuccess;
}
