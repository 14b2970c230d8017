// The backends in the sources. One that cannot run here reports why.
#pragma once
#include <memory>

#include "native/backend/backend.h"

namespace oss {

BackendStatus cpu_status();
BackendStatus cuda_status();
BackendStatus metal_status();

PlannedDevice planned_cpu(const BackendOptions& options, const std::string& isa);
PlannedDevice planned_cuda(const BackendOptions& options);
PlannedDevice planned_metal(const BackendOptions& options);

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);
std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options);
std::unique_ptr<Backend> make_metal_backend(const BackendOptions& options);

}  // namespace oss
