// Adapters with random factors on a device.
#pragma once
#include <memory>

#include "test/kernels/cuda/values.h"
#include "test/kernels/gpu/low_rank.h"

namespace oss::test {

class DeviceAdapters {
 public:
  DeviceAdapters(CudaDevice& device, const StepAdapters& adapters, size_t sums)
      : sums_(device, sums * cuda::kMostLowRank) {
    std::vector<const cuda::LowRankTerm*> of_adapter, pointers;
    for (const std::vector<Term>& terms : adapters.terms) {
      std::vector<cuda::LowRankTerm> table;
      for (const Term& term : terms) {
        const auto on_device = [&](const std::vector<float>& values) {
          return factors_.emplace_back(std::make_unique<DeviceArray<uint16_t>>(device, to_bf16(values)))->data();
        };
        if (term.rank == 0) {
          table.push_back({});
        } else {
          const uint16_t* a = on_device(term.a);
          table.push_back({.a = a, .b = on_device(term.b), .rank = term.rank, .scale = term.scale});
        }
      }
      tables_.push_back(std::make_unique<DeviceArray<cuda::LowRankTerm>>(device, table));
      of_adapter.push_back(tables_.back()->data());
    }
    for (const int adapter : adapters.of_token) pointers.push_back(adapter < 0 ? nullptr : of_adapter[size_t(adapter)]);
    pointers_ = std::make_unique<DeviceArray<const cuda::LowRankTerm*>>(device, pointers);
  }
  cuda::LowRankStep step() const { return {pointers_->data(), sums_.data()}; }

 private:
  DeviceArray<float> sums_;
  std::vector<std::unique_ptr<DeviceArray<uint16_t>>> factors_;
  std::vector<std::unique_ptr<DeviceArray<cuda::LowRankTerm>>> tables_;
  std::unique_ptr<DeviceArray<const cuda::LowRankTerm*>> pointers_;
};

}  // namespace oss::test
