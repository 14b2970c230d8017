// One block of a kernel. Its threads are fibers of the calling OS thread. They switch only at a barrier or a warp-wide
// operation. Device code reaches this through include/cuda_runtime.h and include/kernels/cuda/ptx.
#pragma once
#include <cstddef>
#include <functional>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <vector>

namespace oss::emu {

using Where = std::source_location;

constexpr int kWarpLanes = 32;
constexpr unsigned kWholeWarp = 0xFFFFFFFFu;
constexpr int kPoison = 0xCD;  // -4e8 as float or bf16, negative as an index

struct Index {
  unsigned x = 1, y = 1, z = 1;
  size_t count() const { return size_t(x) * y * z; }
};

struct Grid {
  Index blocks, threads;
  size_t shared_bytes = 0;  // dynamic
};

struct Thread {
  Index index;
  unsigned lane;
};
struct RunningBlock {
  const Grid* grid;
  Index index;
  unsigned char* dynamic_shared;
};
// The running thread and its block. All devices share them, because the runtime runs one launch at a time.
extern constinit Thread* current;
extern constinit RunningBlock running_block;

// --- for device code
// --------------------------------------------------------------------------------------------------

void barrier(Where);
int barrier_sum(int value, Where);  // over all threads that have not ended

// All lanes of `mask` that have not ended meet. The last of them performs `operation` for all, on the operands of all.
using Operation = void (*)(void* const* operands, unsigned lanes, const Where&);
void collective(unsigned mask, Operation operation, void* operand, Where);

// A thread's copies of 16 bytes to shared memory. Each destination is poisoned at once and written only when the thread
// waits for the copy's group. So a kernel that reads too early, or still needs the old data, computes wrong results.
void async_copy(void* to, const void* from, bool valid, Where);
void async_commit();
void async_wait(int pending);

// Turns the warp's copies that no lane has committed into a round of a barrier of copies: see below.
void async_tell(void* barrier, Where);

// Copies of runs that complete on a barrier: one lane begins them, a whole warp waits for them. They too are poisoned
// at once and written by the wait. Waiting without copies, or for a wrong number of bytes, is a fault: it would never
// end.
void init_copies(void* barrier, Where);
void begin_copies(void* barrier, unsigned bytes, Where);
void copy_run(void* barrier, void* to, const void* from, unsigned bytes, Where);
void wait_copies(void* barrier, unsigned odd, Where);
void prefetch_run(const void* from, unsigned bytes, Where);

// Programmatic dependent launch: a thread waits for the previous launch; a block lets the next one begin.
void dependency_wait(Where);
void dependency_launch(Where);

constexpr int kIllegalAddress = 700, kMisalignedAddress = 716, kLaunchFailure = 719;  // of cudaError_t
[[noreturn]] void fault(int status, const char* what, Where);  // `what` must be valid until the program ends
inline void check_aligned(const void* address, size_t bytes, Where where) {
  if (reinterpret_cast<size_t>(address) % bytes != 0) fault(kMisalignedAddress, "misaligned address", where);
}

// --- for the runtime
// ----------------------------------------------------------------------------------------------------

// The bytes of each argument of a kernel.
using Arguments = std::vector<std::span<const unsigned char>>;

struct Fault {
  int status;
  std::string text;
};

enum class Part {
  kAll,
  kBeforeWait,  // each thread ends where it waits for the previous launch, and must get there
};

// Runs all blocks. Seed 0 keeps threads and blocks in order; each other seed shuffles both differently.
std::optional<Fault> run_grid(const Grid&, const std::function<void()>& kernel, unsigned seed, Part = Part::kAll);

}  // namespace oss::emu
