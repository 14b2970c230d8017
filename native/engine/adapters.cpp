#include "native/engine/adapters.h"

#include <algorithm>
#include <iomanip>
#include <utility>

#include "native/adapters/serve.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss {

// table_bytes: besides the factors.
static AdapterInfo info_of(const AdapterOption& option, const Adapter& adapter, uint64_t table_bytes) {
  AdapterInfo info = {.name = option.name,
                      .path = option.path,
                      .scale = option.scale,
                      .merged = option.merge,
                      .rank = adapter.rank,
                      .bytes = option.merge ? 0 : adapter.bytes() + table_bytes};
  for (const auto& [weight, all] : adapter.targets) {
    for (const LowRankFactors& factors : all) info.matrices += !factors.empty();
  }
  return info;
}

std::vector<AdapterInfo> merge_adapters(const std::vector<AdapterOption>& options, Checkpoint& checkpoint,
                                        const std::function<bool()>& cancelled, MeasureMerge measure) {
  std::vector<AdapterInfo> merged;
  for (const AdapterOption& option : options) {
    if (!option.merge) continue;
    const auto adapter = read_adapter(option.path, option.scale, checkpoint.config);
    AdapterInfo info = info_of(option, *adapter, 0);
    info.error = merge_adapter(adapter, checkpoint.tensors, cancelled, measure);
    checkpoint.merged = (checkpoint.merged ^ adapter->fingerprint()) * 0x9E3779B97F4A7C15u;
    checkpoint.files.push_back(adapter->file.mapping);
    merged.push_back(std::move(info));
  }
  return merged;
}

std::vector<ReadAdapter> read_named_adapters(const std::vector<AdapterOption>& options, const Config& config) {
  std::vector<ReadAdapter> read;
  for (const AdapterOption& option : options) {
    if (option.merge) continue;
    read.push_back({option, read_adapter(option.path, option.scale, config)});
  }
  return read;
}

uint64_t bytes_of(const std::vector<ReadAdapter>& adapters, const Config& config, const BackendSizes& sizes) {
  uint64_t bytes = 0;
  for (const ReadAdapter& read : adapters) {
    bytes += read.adapter->bytes() + sizes.adapter_table_bytes(config.num_layers, config.num_experts);
  }
  return bytes;
}

void NamedAdapters::refuse_taken(const std::string& name) const {
  if (adapters_.contains(name))
    throw Error(Code::kInvalidArgument, str("an adapter with the name ", quote(name), " is loaded; unload it first"),
                "name");
}

Error NamedAdapters::unknown(const std::string& name) const {
  std::string known;
  for (const auto& [each, named] : adapters_) known += str(known.empty() ? "" : ", ", quote(each));
  return Error(Code::kInvalidArgument,
               str("no adapter with the name ", quote(name), " is loaded; ",
                   known.empty() ? "there are none" : str("there are ", known)),
               "adapter");
}

AdapterInfo NamedAdapters::add(const ReadAdapter& read, const Config& config) {
  const auto& [option, adapter] = read;
  std::shared_ptr<const AdapterWeights> host = serve_adapter(*adapter, config);
  adapter->file.mapping->check_unchanged();
  Named named = {info_of(option, *adapter, table_bytes_), {hold_(std::move(host))}};
  std::lock_guard lock(mutex_);
  if (closed_) throw Error(Code::kClosed, "the engine was closed while the adapter was read");
  refuse_taken(option.name);
  named.chosen.number = ++last_;
  std::erase_if(held_, [](const Held& held) { return held.weights.expired(); });
  held_.push_back({named.chosen.weights, named.info.bytes});
  return adapters_.emplace(option.name, std::move(named)).first->second.info;
}

AdapterInfo NamedAdapters::load(const AdapterOption& option, const Config& config, const DeviceMemory& memory) {
  std::lock_guard one_at_a_time(loading_);
  {
    std::lock_guard lock(mutex_);
    refuse_taken(option.name);
  }
  const ReadAdapter read = {option, read_adapter(option.path, option.scale, config)};
  expect_room(option, read.adapter->bytes() + table_bytes_, memory);
  return add(read, config);
}

static std::string megabytes(uint64_t bytes) { return str(std::setprecision(12), double(bytes / 10'000) / 100, " MB"); }

// Memory that is promised but missing would end the process later.
void NamedAdapters::expect_room(const AdapterOption& option, uint64_t bytes, const DeviceMemory& memory) const {
  const uint64_t taken = this->bytes(), most = most_bytes_;
  if (bytes > most - std::min(most, taken)) {
    throw Error(
        Code::kOutOfMemory,
        str("adapter ", quote(option.name), " takes ", megabytes(bytes), ", and adapters can take ", megabytes(most),
            " beside the engine, of which ", megabytes(taken), " are taken: unload one, or lower kvCache.bytes"),
        "name");
  }
  if (bytes > memory.free_bytes) {
    throw Error(Code::kOutOfMemory,
                str("adapter ", quote(option.name), " takes ", megabytes(bytes), ", and free is ",
                    megabytes(memory.free_bytes), " (", memory.why, "): free some"),
                "name");
  }
}

uint64_t NamedAdapters::bytes() const {
  std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const Held& held : held_) bytes += held.weights.expired() ? 0 : held.bytes;
  return bytes;
}

void NamedAdapters::unload(const std::string& name) {
  std::lock_guard lock(mutex_);
  if (adapters_.erase(name) == 0) throw unknown(name);
}

NamedAdapters::Chosen NamedAdapters::find(const std::string& name) const {
  std::lock_guard lock(mutex_);
  const auto at = adapters_.find(name);
  if (at == adapters_.end()) throw unknown(name);
  return at->second.chosen;
}

std::vector<AdapterInfo> NamedAdapters::list() const {
  std::lock_guard lock(mutex_);
  std::vector<AdapterInfo> out;
  for (const auto& [name, named] : adapters_) out.push_back(named.info);
  return out;
}

void NamedAdapters::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  adapters_.clear();
}

}  // namespace oss
