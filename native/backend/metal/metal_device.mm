// device.h with Apple's frameworks, macOS 14 or later. Compiled with -fobjc-arc.
//
// Buffers are shared and untracked: Metal orders nothing by itself. Within a command buffer the barriers of its one
// concurrent encoder do it, and between command buffers a fence, which each encoder waits for first and updates last.
//
// No exception passes a frame of Objective-C: a failure is noted where it happens, and Commands::wait() throws it.
#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <utility>

#include "native/backend/metal/device.h"
#include "native/base/error.h"
#include "native/base/str.h"

// The file of metal_library.S.
extern "C" const unsigned char oss_metal_library_begin[], oss_metal_library_end[];

namespace oss::metal {
namespace {

constexpr size_t kStructBytes = 4096;                                    // the most that setBytes takes
constexpr NSUInteger kSimdgroup = 32;                                    // threads, as the kernels assume
constexpr MTLResourceOptions kBufferOptions = MTLResourceStorageModeShared | MTLResourceHazardTrackingModeUntracked;
constexpr int kNewestFamily = 20;                                        // families after 10 do not exist yet

std::string text_of(NSString* text) {
  const char* bytes = text == nil ? nullptr : text.UTF8String;
  return bytes == nullptr ? std::string() : std::string(bytes);
}
std::string text_of(NSError* error) {
  return error == nil ? std::string("no reason is given") : text_of(error.localizedDescription);
}

// Why a command buffer failed, before the system's own words.
const char* reason_of(NSError* error) {
  if (error == nil || ![error.domain isEqualToString:MTLCommandBufferErrorDomain]) return "it stopped the work";
  switch (error.code) {
    case MTLCommandBufferErrorTimeout:
      return "the work took too long, and the system stopped it";
    case MTLCommandBufferErrorPageFault:
      return "a kernel accessed memory outside of its buffers";
    case MTLCommandBufferErrorAccessRevoked:
      return "after earlier failures the system lets this process no longer use it";
    case MTLCommandBufferErrorNotPermitted:
      return "the system does not let this process use it";
    case MTLCommandBufferErrorOutOfMemory:
      return "there is too little memory for it (sysctl iogpu.wired_limit_mb is the limit of all processes)";
    case MTLCommandBufferErrorInvalidResource:
      return "a kernel used a buffer that was freed";
    default:
      return "it stopped the work";
  }
}

// A buffer, and the addresses that are in it.
struct Entry {
  const char* begin;
  size_t bytes;
  id<MTLBuffer> buffer;
};

class AppleDevice final : public Device, public std::enable_shared_from_this<AppleDevice> {
 public:
  AppleDevice(id<MTLDevice> device, id<MTLCommandQueue> queue, id<MTLFence> fence, id<MTLLibrary> library,
              DeviceLimits limits)
      : device_(device), queue_(queue), fence_(fence), library_(library), limits_(std::move(limits)) {
    if (@available(macOS 15.0, *)) {
      MTLResidencySetDescriptor* of = [MTLResidencySetDescriptor new];
      of.label = @"gpt-oss";
      // Without a set, a command buffer keeps the buffers of its own dispatches resident.
      id<MTLResidencySet> set = [device_ newResidencySetWithDescriptor:of error:nil];
      if (set != nil) [queue_ addResidencySet:set];
      resident_ = set;
    }
  }
  ~AppleDevice() override {
    @autoreleasepool {
      if (@available(macOS 15.0, *)) {
        id<MTLResidencySet> set = resident_;
        if (set != nil) {
          [set endResidency];
          [queue_ removeResidencySet:set];
        }
      }
    }
  }

  const DeviceLimits& limits() const override { return limits_; }
  size_t page_bytes() const override { return size_t(NSPageSize()); }

  uint64_t allocated_bytes() const override {
    const std::shared_lock lock(mutex_);
    return used_bytes();
  }

  size_t bytes_from(const void* address) const override {
    const std::shared_lock lock(mutex_);
    const char* at = static_cast<const char*>(address);
    const Entry* in = entry_of(at, 0);
    return in == nullptr ? 0 : size_t(in->begin + in->bytes - at);
  }

  void* allocate(size_t bytes) override {
    const size_t whole = whole_pages(bytes);
    if (bytes == 0 || whole < bytes || whole > limits_.buffer_bytes) return nullptr;
    @autoreleasepool {
      id<MTLBuffer> buffer = [device_ newBufferWithLength:whole options:kBufferOptions];  // zeros
      void* at = buffer == nil ? nullptr : buffer.contents;
      if (at != nullptr) add({static_cast<const char*>(at), whole, buffer});
      return at;
    }
  }

  bool wrap(const void* pages, size_t bytes) override {
    const size_t whole = whole_pages(bytes);
    if (bytes == 0 || whole < bytes || whole > limits_.buffer_bytes) return false;
    if (reinterpret_cast<size_t>(pages) % page_bytes() != 0) return false;
    @autoreleasepool {
      id<MTLBuffer> buffer = [device_ newBufferWithBytesNoCopy:const_cast<void*>(pages)
                                                        length:whole
                                                       options:kBufferOptions
                                                   deallocator:nil];
      if (buffer != nil) add({static_cast<const char*>(pages), whole, buffer});
      return buffer != nil;
    }
  }

  void release(const void* begin) override {
    @autoreleasepool {
      const std::unique_lock lock(mutex_);
      const auto found = std::ranges::find(entries_, static_cast<const char*>(begin), &Entry::begin);
      if (found == entries_.end()) return;
      if (@available(macOS 15.0, *)) {
        id<MTLResidencySet> set = resident_;
        [set removeAllocation:found->buffer];
        [set commit];  // before it, the set keeps the memory
      }
      bytes_ -= found->bytes;
      entries_.erase(found);
    }
  }

  bool make_resident() override {
    @autoreleasepool {
      const std::unique_lock lock(mutex_);
      if (used_bytes() > limits_.working_set_bytes) return false;
      if (@available(macOS 15.0, *)) {
        id<MTLResidencySet> set = resident_;
        [set commit];
        [set requestResidency];
      }
      return true;
    }
  }

  std::unique_ptr<Commands> commands() override;

  id<MTLCommandQueue> queue() const { return queue_; }
  id<MTLFence> fence() const { return fence_; }

  // The kernel as compiled for this GPU and this number of threads; null and `failure` when it cannot be.
  id<MTLComputePipelineState> pipeline(const char* kernel, uint32_t threads, std::string& failure) {
    const std::lock_guard lock(pipelines_mutex_);
    auto of_kernel = pipelines_.find(std::string_view(kernel));
    if (of_kernel == pipelines_.end()) of_kernel = pipelines_.try_emplace(std::string(kernel)).first;
    const auto found = of_kernel->second.find(threads);
    if (found != of_kernel->second.end()) return found->second;
    id<MTLComputePipelineState> made = make_pipeline(kernel, threads, failure);
    if (made != nil) of_kernel->second.emplace(threads, made);
    return made;
  }

  // Sets the arguments of a kernel; false and `failure` when one cannot be.
  bool bind(id<MTLComputeCommandEncoder> encoder, const Dispatch& dispatch, std::string& failure) const {
    const std::shared_lock lock(mutex_);
    NSUInteger index = 0;
    for (const Argument& argument : dispatch.arguments) {
      if (argument.kind == Argument::Kind::kBytes) {
        if (argument.bytes > kStructBytes) {
          failure = str(dispatch.kernel, ": ", argument.bytes, " bytes of arguments, more than ", kStructBytes);
          return false;
        }
        [encoder setBytes:argument.at length:argument.bytes atIndex:index++];
        continue;
      }
      const char* at = static_cast<const char*>(argument.at);
      const Entry* in = entry_of(at, argument.bytes);
      if (in == nullptr) {
        failure = str(dispatch.kernel, ": argument ", index, " is in no buffer");
        return false;
      }
      // No bytes at the end of a buffer: an offset must be inside of it.
      const NSUInteger offset = argument.bytes == 0 ? 0 : NSUInteger(at - in->begin);
      [encoder setBuffer:in->buffer offset:offset atIndex:index++];
    }
    return true;
  }

 private:
  size_t whole_pages(size_t bytes) const { return (bytes + page_bytes() - 1) / page_bytes() * page_bytes(); }

  // The system counts what others of this process allocate, too.
  uint64_t used_bytes() const { return std::max<uint64_t>(bytes_, device_.currentAllocatedSize); }

  void add(Entry entry) {
    const std::unique_lock lock(mutex_);
    if (@available(macOS 15.0, *)) {
      id<MTLResidencySet> set = resident_;
      [set addAllocation:entry.buffer];
    }
    bytes_ += entry.bytes;
    entries_.insert(std::ranges::upper_bound(entries_, entry.begin, {}, &Entry::begin), std::move(entry));
  }

  // The buffer in which [at, at + bytes) lies. Wrapped ranges can overlap.
  const Entry* entry_of(const char* at, size_t bytes) const {
    auto after = std::ranges::upper_bound(entries_, at, {}, &Entry::begin);
    while (after != entries_.begin()) {
      const Entry& one = *--after;
      if (at + bytes <= one.begin + one.bytes) return &one;
    }
    return nullptr;
  }

  id<MTLComputePipelineState> make_pipeline(const char* kernel, uint32_t threads, std::string& failure) const {
    id<MTLFunction> function = [library_ newFunctionWithName:@(kernel)];
    if (function == nil) {
      failure = str("there is no kernel ", kernel);
      return nil;
    }
    MTLComputePipelineDescriptor* of = [MTLComputePipelineDescriptor new];
    of.label = @(kernel);
    of.computeFunction = function;
    of.threadGroupSizeIsMultipleOfThreadExecutionWidth = YES;
    of.maxTotalThreadsPerThreadgroup = threads;  // so the compiler takes no more registers than fit
    NSError* error = nil;
    id<MTLComputePipelineState> made = [device_ newComputePipelineStateWithDescriptor:of
                                                                              options:MTLPipelineOptionNone
                                                                           reflection:nil
                                                                                error:&error];
    if (made == nil) {
      failure = str(kernel, ": it does not compile for this GPU: ", text_of(error));
    } else if (made.maxTotalThreadsPerThreadgroup < threads) {
      failure = str(kernel, ": a threadgroup has ", threads, " threads, this GPU runs ",
                    made.maxTotalThreadsPerThreadgroup, " of this kernel");
    } else if (made.threadExecutionWidth != kSimdgroup) {
      failure = str(kernel, ": a simdgroup of this GPU has ", made.threadExecutionWidth, " threads, not ", kSimdgroup);
    } else {
      return made;
    }
    return nil;
  }

  const id<MTLDevice> device_;
  const id<MTLCommandQueue> queue_;
  const id<MTLFence> fence_;
  const id<MTLLibrary> library_;
  const DeviceLimits limits_;
  id resident_ = nil;  // id<MTLResidencySet>, from macOS 15 on

  mutable std::shared_mutex mutex_;
  std::vector<Entry> entries_;  // by address
  uint64_t bytes_ = 0;          // of all entries

  std::mutex pipelines_mutex_;
  std::map<std::string, std::map<uint32_t, id<MTLComputePipelineState>>, std::less<>> pipelines_;
};

class AppleCommands final : public Commands {
 public:
  explicit AppleCommands(std::shared_ptr<AppleDevice> device) : device_(std::move(device)) {
    @autoreleasepool {
      // Buffers outlive the commands, as device.h demands, and pipelines live as long as the device.
      buffer_ = [device_->queue() commandBufferWithUnretainedReferences];
      encoder_ = [buffer_ computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
      if (encoder_ == nil) failure_ = "it takes no more command buffers";
      [encoder_ waitForFence:device_->fence()];
    }
  }
  ~AppleCommands() override {
    @autoreleasepool {
      if (committed_) {
        [buffer_ waitUntilCompleted];
      } else {
        [encoder_ endEncoding];  // Metal ends the process when an open encoder is freed
      }
    }
  }

  void dispatch(const Dispatch& one) override {
    if (!failure_.empty()) return;
    @autoreleasepool {
      id<MTLComputePipelineState> pipeline = device_->pipeline(one.kernel, one.threads, failure_);
      if (pipeline == nil) return;
      [encoder_ setComputePipelineState:pipeline];
      if (!device_->bind(encoder_, one, failure_)) return;
      [encoder_ dispatchThreadgroups:MTLSizeMake(one.groups.x, one.groups.y, one.groups.z)
               threadsPerThreadgroup:MTLSizeMake(one.threads, 1, 1)];
    }
  }

  void barrier() override { [encoder_ memoryBarrierWithScope:MTLBarrierScopeBuffers]; }

  void commit() override {
    if (!failure_.empty()) return;  // a part of the work would give wrong results; wait() throws
    @autoreleasepool {
      [encoder_ updateFence:device_->fence()];
      [encoder_ endEncoding];
      [buffer_ commit];
      committed_ = true;
    }
  }

  void wait() override {
    const std::lock_guard lock(waiting_);
    if (committed_) {
      @autoreleasepool {
        [buffer_ waitUntilCompleted];
        if (buffer_.status != MTLCommandBufferStatusCompleted && failure_.empty())
          failure_ = str(reason_of(buffer_.error), ": ", text_of(buffer_.error));
      }
    }
    if (!failure_.empty()) throw Error(Code::kDevice, str("the GPU failed: ", failure_));
  }

  double seconds() const override { return buffer_.GPUEndTime - buffer_.GPUStartTime; }

 private:
  const std::shared_ptr<AppleDevice> device_;
  id<MTLCommandBuffer> buffer_ = nil;
  id<MTLComputeCommandEncoder> encoder_ = nil;
  bool committed_ = false;
  std::mutex waiting_;
  std::string failure_;  // the first one; empty: none
};

std::unique_ptr<Commands> AppleDevice::commands() { return std::make_unique<AppleCommands>(shared_from_this()); }

// The newest family of Apple's GPUs whose features it has; 0 for a GPU of another maker.
int family_of(id<MTLDevice> device) {
  for (int n = kNewestFamily; n > 0; --n) {
    if ([device supportsFamily:MTLGPUFamily(MTLGPUFamilyApple1 + n - 1)]) return n;
  }
  return 0;
}

// The system's default device is null for a process without a session at the screen, over ssh for example.
id<MTLDevice> best_device() {
  id<MTLDevice> best = nil;
  for (id<MTLDevice> one in MTLCopyAllDevices()) {
    if (best == nil || family_of(one) > family_of(best)) best = one;
  }
  return best;
}

DeviceLimits limits_of(id<MTLDevice> device, NSOperatingSystemVersion macos) {
  return {.name = text_of(device.name),
          .family = family_of(device),
          .macos_major = int(macos.majorVersion),
          .macos_minor = int(macos.minorVersion),
          .working_set_bytes = device.recommendedMaxWorkingSetSize,
          .buffer_bytes = device.maxBufferLength,
          .memory_bytes = NSProcessInfo.processInfo.physicalMemory,
          .threadgroup_bytes = int(device.maxThreadgroupMemoryLength)};
}

}  // namespace

Found find_device() {
  @autoreleasepool {
    id<MTLDevice> device = best_device();
    if (device == nil) return {nullptr, "macOS shows no GPU to this process; an M1 or later is needed"};
    DeviceLimits limits = limits_of(device, NSProcessInfo.processInfo.operatingSystemVersion);
    const std::string reason = why_not(limits);
    if (!reason.empty()) return {nullptr, reason};

    const size_t bytes = size_t(oss_metal_library_end - oss_metal_library_begin);
    dispatch_data_t data =
        dispatch_data_create(oss_metal_library_begin, bytes, nullptr, DISPATCH_DATA_DESTRUCTOR_DEFAULT);  // a copy
    NSError* error = nil;
    id<MTLLibrary> library = [device newLibraryWithData:data error:&error];
    if (library == nil) return {nullptr, str("the kernels do not load: ", text_of(error))};
    id<MTLCommandQueue> queue = [device newCommandQueue];
    id<MTLFence> fence = [device newFence];
    if (queue == nil || fence == nil) return {nullptr, str("the GPU \"", limits.name, "\" takes no more work")};
    return {std::make_shared<AppleDevice>(device, queue, fence, library, std::move(limits)), ""};
  }
}

}  // namespace oss::metal
