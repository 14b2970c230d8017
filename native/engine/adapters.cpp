#include "native/engine/adapters.h"

#include <utility>

#include "native/adapters/serve.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss {

static AdapterInfo info_of(const AdapterOption& option, const Adapter& adapter) {
  AdapterInfo info = {.name = option.name,
                      .path = option.path,
                      .scale = option.scale,
                      .merged = option.merge,
                      .rank = adapter.rank,
                      .bytes = option.merge ? 0 : adapter.bytes()};
  for (const auto& [weight, all] : adapter.targets) {
    for (const LowRankFactors& factors : all) info.matrices += !factors.empty();
  }
  return info;
}

std::vector<AdapterInfo> merge_adapters(const std::vector<AdapterOption>& options, Checkpoint& checkpoint,
                                        const std::function<bool()>& cancelled) {
  std::vector<AdapterInfo> merged;
  for (const AdapterOption& option : options) {
    if (!option.merge) continue;
    const auto adapter = read_adapter(option.path, option.scale, checkpoint.config);
    AdapterInfo info = info_of(option, *adapter);
    info.error = merge_adapter(adapter, checkpoint.tensors, cancelled);
    checkpoint.merged = (checkpoint.merged ^ adapter->fingerprint()) * 0x9E3779B97F4A7C15u;
    checkpoint.files.push_back(adapter->file.mapping);
    merged.push_back(std::move(info));
  }
  return merged;
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

AdapterInfo NamedAdapters::load(const AdapterOption& option, const Config& config) {
  {
    std::lock_guard lock(mutex_);
    refuse_taken(option.name);
  }
  const auto adapter = read_adapter(option.path, option.scale, config);
  Named named = {info_of(option, *adapter), {serve_adapter(*adapter, config)}};
  adapter->file.mapping->check_unchanged();
  std::lock_guard lock(mutex_);
  refuse_taken(option.name);  // another thread can have been faster
  named.chosen.number = ++last_;
  return adapters_.emplace(option.name, std::move(named)).first->second.info;
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

void NamedAdapters::clear() {
  std::lock_guard lock(mutex_);
  adapters_.clear();
}

}  // namespace oss
