// The few things that the Metal backend needs of a GPU: memory, kernels by name, and command buffers. metal_device.mm
// implements them with Apple's frameworks, test/emu/metal with an emulated GPU. No Apple headers.
//
// CPU and GPU share memory. So an address is the same to both: the backend works with addresses, and the device finds
// the buffer of each.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace oss::metal {

struct DeviceLimits {
  std::string name;  // "Apple M4 Pro"
  int family = 0;    // n of MTLGPUFamilyApple<n>: 7 = M1, 8 = M2, 9 = M3 and M4, 10 = M5
  int macos_major = 0, macos_minor = 0;
  uint64_t working_set_bytes = 0;  // recommendedMaxWorkingSetSize
  uint64_t buffer_bytes = 0;       // maxBufferLength
  uint64_t memory_bytes = 0;       // of the machine
  int threadgroup_bytes = 0;       // the most that a threadgroup may have
};

// One argument of a kernel, at the next index.
struct Argument {
  enum class Kind { kBytes, kRead, kWrite, kReadWrite };
  Kind kind;
  const void* at;  // the bytes of a struct, valid during the call; or an address in device memory
  size_t bytes;    // of the struct; or those that the kernel may access from `at` on
};

struct Groups {
  uint32_t x = 1, y = 1, z = 1;
  bool operator==(const Groups&) const = default;
};

struct Dispatch {
  const char* kernel;
  Groups groups;     // threadgroups
  uint32_t threads;  // of a threadgroup: a multiple of 32, at most 1024
  std::span<const Argument> arguments;
};

// One command buffer. Its dispatches run concurrently, except across a barrier. Command buffers of one device run in
// the order of their commits. The destructor waits for a committed one.
class Commands {
 public:
  virtual ~Commands() = default;
  virtual void dispatch(const Dispatch&) = 0;
  virtual void barrier() = 0;          // later dispatches begin after earlier ones, and see what they wrote
  virtual void commit() = 0;           // starts the work, and returns at once
  virtual void wait() = 0;             // throws kDevice when the work has failed; on any thread, and on several at once
  virtual double seconds() const = 0;  // that the GPU took; after wait()
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceLimits& limits() const = 0;
  // Of all buffers of this process, wrapped ones included.
  virtual uint64_t allocated_bytes() const = 0;

  // Memory that the GPU reads and writes, filled with zeros, in whole pages; null when there is none. May be called on
  // any thread, as release() may.
  virtual void* allocate(size_t bytes) = 0;
  // Makes memory of the caller readable without a copy: whole pages, which stay until release(). False when the system
  // refuses.
  virtual bool wrap(const void* pages, size_t bytes) = 0;
  // Frees what allocate() or wrap() made at `begin`. No command may use it any more.
  virtual void release(const void* begin) = 0;
  virtual size_t page_bytes() const = 0;
  // From an address in a buffer to the end of the buffer.
  virtual size_t bytes_from(const void* at) const = 0;
  // Keeps all buffers of now in the GPU's memory; false when they do not fit.
  virtual bool make_resident() = 0;

  virtual std::unique_ptr<Commands> commands() = 0;
};

// Why such a GPU cannot run the kernels; empty: it can.
std::string why_not(const DeviceLimits& limits);

// The GPU of this machine, or why there is none that can be used.
struct Found {
  std::shared_ptr<Device> device;  // null: none
  std::string reason;              // then: why
};
Found find_device();

}  // namespace oss::metal
