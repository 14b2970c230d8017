// The adapters of an engine: merged ones, which every request has, and named ones, which a request can choose.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "native/adapters/adapter.h"
#include "native/adapters/merge.h"
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
                                        const std::function<bool()>& cancelled);

// Any thread.
class NamedAdapters {
 public:
  // Each number is of one adapter, and is not used again: the cache keeps the adapters' pages apart by it.
  struct Chosen {
    std::shared_ptr<const AdapterWeights> weights;
    uint64_t number = 0;
  };

  // Reads an adapter under a name. Throws kInvalidArgument when the name is taken, and as read_adapter does.
  AdapterInfo load(const AdapterOption& option, const Config& config);
  // Requests that run with the adapter keep it until they end. Throws kInvalidArgument for an unknown name.
  void unload(const std::string& name);
  // Throws kInvalidArgument for an unknown name, and lists the known ones.
  Chosen find(const std::string& name) const;
  std::vector<AdapterInfo> list() const;  // sorted by name
  void clear();

 private:
  struct Named {
    AdapterInfo info;
    Chosen chosen;
  };
  void refuse_taken(const std::string& name) const;
  Error unknown(const std::string& name) const;

  mutable std::mutex mutex_;
  std::map<std::string, Named> adapters_;
  uint64_t last_ = 0;
};

}  // namespace oss
