// What an engine would take on a machine, and how many conversations would fit, from the headers of a checkpoint or from
// a config alone. It computes with the
// code that plans an engine here (memory_plan.h).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "native/backend/metal/step_plan.h"
#include "native/engine/memory_plan.h"

namespace oss {

struct PlanQuery {
  std::string model;          // as for open_headers() of checkpoint.h
  bool has_files = true;      // the weights are in files, so packed experts can be kept beside them
  EngineOptions options;      // backend: "cpu", "cuda", "cuda:N" or "metal"
  std::string isa = "";       // of the CPU; empty: what an engine would choose here
  uint64_t memory_bytes = 0;  // free for the engine; 0: what is free here
  // It fits when so many conversations (at most max_sequences) of this length run at once. 0: kLeastContext tokens, or
  // the model's context if that is less.
  int64_t wanted_context = 0;
  int wanted_conversations = 1;
};

constexpr int64_t kLeastContext = 4096;

// The conversations that fit with one type of cache.
struct KvCapacity {
  KvType type;
  std::vector<int> conversations;  // for each of ModelPlan::contexts
  int64_t longest_context;         // of the wanted conversations; 0: none
};

// The kernels of a step, where the backend can tell.
struct StepKernels {
  const char* step;  // "decode": one token after the wanted context; "prefill": the first batch of a prompt
  metal::PlannedStep shape;
  std::vector<metal::PlannedKernel> kernels;
};

struct ModelPlan {
  Config config;
  DeviceInfo device;  // without threads; without a name when the memory was given
  DeviceMemory memory;
  MemoryNeeds needs;
  uint64_t file_bytes = 0;  // of the weights' files; without files, of all tensors as OpenAI's files have them
  bool experts_in_file = false;
  bool fits = false;
  int64_t wanted_context = 0;
  int possible_conversations = 0;  // of the wanted context
  uint64_t wanted_bytes = 0;       // what must be free so that it fits
  // What an engine with these options plans; none: it refuses to load.
  std::optional<KvPlan> kv;
  uint64_t kv_bytes = 0;
  std::vector<int64_t> contexts;       // powers of two from kLeastContext on, then the model's own
  std::vector<KvCapacity> capacities;  // by type, for each one that the backend has
  std::vector<StepKernels> kernels;    // on Metal
};

// Throws what open_headers() and planned_device() throw; kUnsupported or kInvalidArgument for options; what an engine throws for its
// adapters; without
// memory_bytes, what make_backend() throws for a GPU.
ModelPlan plan_model(const PlanQuery& query);

}  // namespace oss
