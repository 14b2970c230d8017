// The adapters of an engine: merged ones, which every request has, and named ones, which a request can choose.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "native/adapters/adapter.h"
#include "native/adapters/merge.h"
#include "native/backend/backend.h"
#include "native/backend/low_rank.h"
#include "native/base/error.h"
#include "native/checkpoint/checkpoint.h"

namespace oss {

// An adapter to load with the model.
struct AdapterOption {
  std::string name, path;
  float scale = 1;
  bool merge = false;
};

struct AdapterInfo {
  std::string name, path;
  float scale = 1;
  bool merged = false;
  int rank = 0;        // the greatest
  int matrices = 0;    // that it changes, an expert's matrix counted as one
  uint64_t bytes = 0;  // in memory; 0 when merged
  MergeError error{};  // of merged experts
};

// Merges the adapters whose option says so, in order, into the tensors of the checkpoint. Throws as read_adapter and
// merge_adapter do.
std::vector<AdapterInfo> merge_adapters(const std::vector<AdapterOption>& options, Checkpoint& checkpoint,
                                        const std::function<bool()>& cancelled, MeasureMerge measure);

// An adapter that requests will choose, read and checked. It takes no memory of its own yet.
struct ReadAdapter {
  AdapterOption option;
  std::shared_ptr<const Adapter> adapter;
};
// Those whose option does not merge them. Throws as read_adapter does.
std::vector<ReadAdapter> read_named_adapters(const std::vector<AdapterOption>& options, const Config& config);
// In the memory of a backend.
uint64_t bytes_of(const std::vector<ReadAdapter>& adapters, const Config& config, const BackendSizes& sizes);

// Any thread.
class NamedAdapters {
 public:
  // Takes an adapter in host memory to where steps read it, as Backend::hold_adapter() does.
  using Hold = std::function<std::shared_ptr<const AdapterWeights>(std::shared_ptr<const AdapterWeights>)>;

  // Each number is of one adapter, and is not used again: the cache keeps the adapters' pages apart by it.
  struct Chosen {
    std::shared_ptr<const AdapterWeights> weights;
    uint64_t number = 0;
  };

  // Where adapters are held, and the bytes that each takes there besides its factors. Called before any is added.
  void hold_with(Hold hold, uint64_t table_bytes) {
    hold_ = std::move(hold);
    table_bytes_ = table_bytes;
  }
  // The most bytes that load() lets all adapters take.
  void limit(uint64_t most_bytes) { most_bytes_ = most_bytes; }
  // Adds an adapter whose memory is planned. Throws kInvalidArgument when the name is taken, and what Hold throws.
  AdapterInfo add(const ReadAdapter& read, const Config& config);
  // Reads an adapter under a name. Throws kInvalidArgument when the name is taken, as read_adapter does, kOutOfMemory
  // when it would take more than the limit, or than `memory` has free, and kClosed when close() comes before its end.
  AdapterInfo load(const AdapterOption& option, const Config& config, const DeviceMemory& memory);
  // Of all adapters, and of those that requests keep after unload().
  uint64_t bytes() const;
  // Requests that run with the adapter keep it until they end. Throws kInvalidArgument for an unknown name.
  void unload(const std::string& name);
  // Throws kInvalidArgument for an unknown name, and lists the known ones.
  Chosen find(const std::string& name) const;
  std::vector<AdapterInfo> list() const;  // sorted by name
  void close();                           // forgets all, and takes no more

 private:
  struct Named {
    AdapterInfo info;
    Chosen chosen;
  };
  void refuse_taken(const std::string& name) const;
  void expect_room(const AdapterOption& option, uint64_t bytes, const DeviceMemory& memory) const;
  Error unknown(const std::string& name) const;

  struct Held {
    std::weak_ptr<const AdapterWeights> weights;
    uint64_t bytes;
  };

  Hold hold_ = [](std::shared_ptr<const AdapterWeights> host) { return host; };
  uint64_t table_bytes_ = 0;
  std::mutex loading_;  // one adapter is loaded at a time, so that two do not take the same room
  std::atomic<uint64_t> most_bytes_ = 0;
  mutable std::mutex mutex_;  // guards the members below
  std::map<std::string, Named> adapters_;
  std::vector<Held> held_;
  uint64_t last_ = 0;
  bool closed_ = false;
};

}  // namespace oss
