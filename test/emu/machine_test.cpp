// Tests of the emulated machine around the blocks: streams, events, graphs, memory, refused launches, drivers and
// devices.
#include <cstring>

#include "kernels/cuda/launch.cuh"
#include "test/emu/emulated.h"

namespace oss::test {
namespace {

using cuda::dynamic_shared;
using cuda::launch;

// --- streams
// ------------------------------------------------------------------------------------------------------------

__global__ void add_kernel(int* value, const int* addend) { *value += *addend; }

TEST("emu: streams run when the host waits, and events order them") {
  with_emulated([](CudaDevice& device) {
    const cuda::Module& m = device.module;
    DeviceArray<int> value(device, std::vector<int>{1}), addend(device, std::vector<int>{10});
    cuda::Stream other = nullptr;
    void *event = nullptr, *never = nullptr;
    CHECK_EQ(m.create_stream(&other), 0);
    CHECK_EQ(m.create_event(&event), 0);
    CHECK_EQ(m.create_event(&never), 0);
    void* pinned = nullptr;
    CHECK_EQ(m.allocate_pinned(&pinned, 4), 0);
    int* number = static_cast<int*>(pinned);

    // Overwritten before the copy runs, so the copy reads the later number.
    *number = 100;
    CHECK_EQ(m.copy(addend.data(), number, 4, device.stream), 0);
    *number = 1000;
    CHECK_EQ(launch(add_kernel, {.grid = 1, .block = 1, .stream = device.stream}, value.data(), addend.data()), 0);
    CHECK_EQ(*value.data(), 1);  // device memory is host memory, and nothing has run
    CHECK_EQ(m.record_event(event, device.stream), 0);
    CHECK_EQ(m.fill(value.data(), 0, 4, device.stream), 0);  // after the event
    CHECK_EQ(cudaStreamWaitEvent(static_cast<cudaStream_t>(other), static_cast<cudaEvent_t>(event), 0), 0);
    CHECK_EQ(m.copy(number, value.data(), 4, other), 0);
    CHECK_EQ(*number, 1000);
    CHECK_EQ(m.synchronize(other), 0);
    CHECK_EQ(*number, 1001);
    CHECK_EQ(*value.data(), 1001);
    float ms = -1;
    CHECK_EQ(m.elapsed(event, event, &ms), 0);
    CHECK_EQ(ms, 0.0f);
    CHECK_EQ(m.record_event(event, device.stream), 0);
    CHECK_EQ(m.elapsed(event, event, &ms), int(cudaErrorNotReady));
    CHECK_EQ(m.await_event(event), 0);
    CHECK_EQ(*value.data(), 0);
    CHECK_EQ(m.await_event(never), 0);
    CHECK_EQ(cudaStreamWaitEvent(static_cast<cudaStream_t>(device.stream), static_cast<cudaEvent_t>(never), 0), 0);

    CHECK_EQ(m.release_pinned(pinned), 0);
    CHECK_EQ(m.destroy_event(event), 0);
    CHECK_EQ(m.destroy_event(never), 0);
    CHECK_EQ(m.destroy_event(event), int(cudaErrorInvalidResourceHandle));
    CHECK_EQ(m.destroy_stream(other), 0);
    CHECK_EQ(m.synchronize(other), int(cudaErrorInvalidResourceHandle));
    CHECK_EQ(m.copy(value.data(), addend.data(), 5, device.stream), int(cudaErrorInvalidValue));
  });
}

TEST("emu: a graph replays its launches on the current contents of memory") {
  with_emulated([](CudaDevice& device) {
    const cuda::Module& m = device.module;
    DeviceArray<int> value(device, std::vector<int>{0}), addend(device, std::vector<int>{3});
    const cuda::Launch how = {.grid = 1, .block = 1, .stream = device.stream};
    void* graph = nullptr;
    CHECK_EQ(m.begin_capture(device.stream), 0);
    CHECK_EQ(launch(add_kernel, how, value.data(), addend.data()), 0);
    CHECK_EQ(launch(add_kernel, how, value.data(), addend.data()), 0);
    CHECK_EQ(m.end_capture(device.stream, &graph), 0);
    CHECK_EQ(value.read()[0], 0);
    CHECK_EQ(m.launch_graph(graph, device.stream), 0);
    CHECK_EQ(value.read()[0], 6);
    addend.write(std::vector<int>{100});
    CHECK_EQ(m.launch_graph(graph, device.stream), 0);
    CHECK_EQ(m.launch_graph(graph, device.stream), 0);
    CHECK_EQ(m.destroy_graph(graph), 0);  // queued operations still run
    CHECK_EQ(value.read()[0], 406);
    CHECK_EQ(m.launch_graph(graph, device.stream), int(cudaErrorInvalidValue));

    // A call that recording does not allow invalidates the recording.
    void* memory = nullptr;
    CHECK_EQ(m.begin_capture(device.stream), 0);
    CHECK_EQ(m.allocate(&memory, 16), int(cudaErrorStreamCaptureUnsupported));
    CHECK_EQ(m.end_capture(device.stream, &graph), int(cudaErrorStreamCaptureInvalidated));
    CHECK_EQ(m.begin_capture(device.stream), 0);
    CHECK_EQ(m.synchronize(device.stream), int(cudaErrorStreamCaptureUnsupported));
    CHECK_EQ(m.end_capture(device.stream, &graph), int(cudaErrorStreamCaptureInvalidated));
    CHECK_EQ(m.end_capture(device.stream, &graph), int(cudaErrorStreamCaptureUnmatched));
    CHECK_EQ(m.synchronize(device.stream), 0);
  });
}

// --- the machine
// --------------------------------------------------------------------------------------------------------

TEST("emu: memory is limited, and its use is counted") {
  const size_t before = emu::bytes_in_use();
  emu::set_machine({.memory_bytes = before + 1000});
  {
    CudaDevice device(*gptoss_cuda_module(), "emulated");
    void *first = nullptr, *second = nullptr;
    CHECK_EQ(device.module.allocate(&first, 600), 0);
    CHECK_EQ(device.module.allocate(&second, 401), int(cudaErrorMemoryAllocation));
    size_t free_bytes = 0, total = 0;
    CHECK_EQ(device.module.memory_info(&free_bytes, &total), 0);
    CHECK_EQ(free_bytes, size_t(400));
    CHECK_EQ(emu::bytes_in_use(), before + 600);
    CHECK_EQ(device.module.allocate(&second, 400), 0);
    CHECK_EQ(device.module.release(second), 0);
    CHECK_EQ(device.module.release(first), 0);
    CHECK_EQ(device.module.release(first), int(cudaErrorInvalidValue));
    CHECK_EQ(emu::bytes_in_use(), before);
  }
  emu::reset();
}

TEST("emu: a planned failure of a launch fails the device") {
  with_emulated([](CudaDevice& device) {
    const cuda::Module& m = device.module;
    DeviceArray<int> value(device, std::vector<int>{0}), addend(device, std::vector<int>{1});
    const cuda::Launch how = {.grid = 1, .block = 1, .stream = device.stream};
    emu::fail_launch(2, cudaErrorIllegalAddress);
    for (int i = 0; i < 3; ++i) CHECK_EQ(launch(add_kernel, how, value.data(), addend.data()), 0);
    CHECK_EQ(m.synchronize(device.stream), int(cudaErrorIllegalAddress));
    CHECK_EQ(*value.data(), 1);
    void* memory = nullptr;
    CHECK_EQ(m.allocate(&memory, 16), int(cudaErrorIllegalAddress));
    CHECK_EQ(launch(add_kernel, how, value.data(), addend.data()), int(cudaErrorIllegalAddress));
    emu::reset();
    CHECK_EQ(m.synchronize(device.stream), 0);
  });
}

__global__ void nothing_kernel() {}

TEST("emu: invalid launches are refused") {
  with_emulated([](CudaDevice& device) {
    const auto status = [&](cuda::Launch how) {
      how.stream = device.stream;
      return launch(nothing_kernel, how);
    };
    CHECK_EQ(status({.grid = 1, .block = 1024, .shared = 163 << 10}), 0);
    CHECK_EQ(status({.grid = 1, .block = 1, .shared = (227 << 10) + 1}), int(cudaErrorInvalidValue));
    CHECK_EQ(status({.grid = 1, .block = 1025}), int(cudaErrorInvalidConfiguration));
    CHECK_EQ(status({.grid = dim3(1, 65536), .block = 1}), int(cudaErrorInvalidConfiguration));
    CHECK_EQ(status({.grid = dim3(0, 65536), .block = 1}), 0);  // a step without work
    CHECK_EQ(device.module.synchronize(device.stream), 0);
  });
}

__global__ void consent_kernel() {}

TEST("emu: much shared memory needs the kernel's attribute") {
  with_emulated([](CudaDevice& device) {
    cudaLaunchConfig_t config{};
    config.gridDim = 1;
    config.blockDim = 1;
    config.stream = static_cast<cudaStream_t>(device.stream);
    config.dynamicSmemBytes = 48 << 10;
    CHECK_EQ(int(cudaLaunchKernelEx(&config, consent_kernel)), 0);
    config.dynamicSmemBytes += 1;
    CHECK_EQ(int(cudaLaunchKernelEx(&config, consent_kernel)), int(cudaErrorInvalidValue));
  });
}

__global__ void raised_kernel() {}

// Two engines on one device launch the same kernels, each in a separate thread.
TEST("cuda launch: a kernel keeps the largest limit of shared memory that was set") {
  with_emulated([](CudaDevice& device) {
    for (const size_t shared : {size_t(100) << 10, size_t(60) << 10, size_t(10)}) {
      CHECK_EQ(launch(raised_kernel, {.grid = 1, .block = 1, .shared = shared, .stream = device.stream}), 0);
      cudaFuncAttributes attributes{};
      CHECK_EQ(int(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(raised_kernel))), 0);
      CHECK_EQ(attributes.maxDynamicSharedSizeBytes, 100 << 10);
    }
    CHECK_EQ(device.module.synchronize(device.stream), 0);
  });
}

TEST("emu: machines without a driver, with an old one, with old and several devices") {
  const cuda::Module& m = *gptoss_cuda_module();
  int driver = -1, runtime = -1, count = -1;
  emu::set_machine({.devices = 0});
  CHECK_EQ(m.versions(&driver, &runtime), 0);
  CHECK_EQ(driver, 0);
  CHECK_EQ(m.device_count(&count), int(cudaErrorInsufficientDriver));
  emu::set_machine({.old_driver = true});
  CHECK_EQ(m.versions(&driver, &runtime), 0);
  CHECK(driver > 0 && driver < runtime);
  CHECK_EQ(m.device_count(&count), int(cudaErrorInsufficientDriver));
  emu::set_machine({.compute_major = 7, .compute_minor = 5});
  CHECK_EQ(m.device_count(&count), 0);
  CHECK_EQ(count, 1);
  CHECK_EQ(m.probe(), int(cudaErrorNoKernelImageForDevice));
  emu::set_machine({.devices = 2});
  CHECK_EQ(m.device_count(&count), 0);
  CHECK_EQ(count, 2);
  CHECK_EQ(m.use_device(2), int(cudaErrorInvalidDevice));
  CHECK_EQ(m.use_device(1), 0);
  void* memory = nullptr;
  CHECK_EQ(m.allocate(&memory, 64), 0);
  CHECK_EQ(emu::bytes_in_use(1), size_t(64));
  CHECK_EQ(m.release(memory), 0);
  cuda::DeviceProperties properties{};
  CHECK_EQ(m.device_properties(1, &properties), 0);
  CHECK_EQ(std::string(properties.name), std::string("Emulated GPU"));
  CHECK_EQ(properties.compute_major, 9);
  emu::reset();
}

}  // namespace
}  // namespace oss::test
