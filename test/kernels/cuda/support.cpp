#include "test/kernels/cuda/support.h"

#include <dlfcn.h>

#include "test/emu/machine.h"

namespace oss::test {

CudaDevice::CudaDevice(const cuda::Module& module_, std::string name_) : module(module_), name(std::move(name_)) {
  check(module.use_device(0), "use_device");
  check(module.create_stream(&stream), "create_stream");
}

CudaDevice::~CudaDevice() { module.destroy_stream(stream); }

void CudaDevice::check(cuda::Status status, const char* what) const {
  if (status == 0) return;
  const std::string fault = &module == gptoss_cuda_module() ? emu::last_fault() : "";
  throw Error(Code::kDevice, str(name, ": ", what, ": ", module.explain(status), fault.empty() ? "" : ": ", fault));
}

// The module for GPUs is beside the test executable, if it was built.
static const cuda::Module* real_module() {
  static const cuda::Module* const module = []() -> const cuda::Module* {
    Dl_info executable{};
    if (dladdr(reinterpret_cast<const void*>(&real_module), &executable) == 0) return nullptr;
    std::string path = executable.dli_fname;
    path = path.substr(0, path.find_last_of('/') + 1) + "libgptoss_cuda.so";
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return nullptr;
    const auto entry = reinterpret_cast<const cuda::Module* (*)()>(dlsym(library, "gptoss_cuda_module"));
    return entry == nullptr || entry()->abi != cuda::kModuleAbi ? nullptr : entry();
  }();
  return module;
}

void for_each_cuda_device(const std::function<void(CudaDevice&)>& body) {
  for (const unsigned seed : {0u, 1u}) {
    if (gpu_only) break;
    emu::reset();
    emu::set_schedule_seed(seed);
    CudaDevice device(*gptoss_cuda_module(), seed == 0 ? "emulated" : "emulated, shuffled");
    body(device);
  }
  emu::reset();
  int count = 0;
  cuda::DeviceProperties properties{};
  const cuda::Module* module = real_module();
  if (module == nullptr || module->device_count(&count) != 0 || count == 0 || module->use_device(0) != 0 ||
      module->probe() != 0 || module->device_properties(0, &properties) != 0) {
    if (gpu_only) throw Error(Code::kUnsupported, "there is no GPU here that the CUDA module runs on");
    return;
  }
  CudaDevice device(*module, properties.name);
  body(device);
}

}  // namespace oss::test
