#include "native/backend/cuda/cuda_module.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <iomanip>
#include <mutex>

#include "native/backend/cuda/cuda_error.h"
#include "native/base/error.h"
#include "native/base/str.h"

#ifndef OSS_CUDA_ABSENT
#error "the build says why it has no CUDA module, or \"\""
#endif

namespace oss {
namespace {

// Values of cudaError_t, defined here because the build does not need its header.
constexpr cuda::Status kSuccess = 0, kInsufficientDriver = 35, kInvalidDeviceFunction = 98, kErrorNoDevice = 100,
                       kNoKernelImage = 209, kUnsupportedPtx = 222;

std::atomic<const cuda::Module*> put_in_place{nullptr};

std::mutex elsewhere_mutex;
std::string elsewhere;  // the file in the package of the module; empty when that package is not installed

struct Opened {
  const cuda::Module* module = nullptr;
  CudaState state = CudaState::kAvailable;
  std::string why;
};

// The folder of the addon, or of the test executable: the binary into which this code is linked.
std::filesystem::path own_folder() {
  static const char here = 0;
  Dl_info info{};
  std::filesystem::path file = dladdr(&here, &info) != 0 ? info.dli_fname : "";
  if (!file.has_parent_path()) file = std::filesystem::read_symlink("/proc/self/exe");
  return std::filesystem::absolute(file).parent_path();
}

bool same_version(const cuda::Module& module, const std::string& name, Opened& opened) {
  if (module.abi == cuda::kModuleAbi) return true;
  opened = {nullptr, CudaState::kDamaged,
            str(name, " belongs to another version of this package (its interface is ", module.abi, ", needed is ",
                cuda::kModuleAbi, "): install or build both together")};
  return false;
}

Opened open_file(const std::string& file) {
  Opened opened;
  if (!std::filesystem::exists(file)) {
    opened.state = CudaState::kNotBuilt;
    opened.why = str("there is no ", file);
    return opened;
  }
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* entry = library == nullptr ? nullptr : dlsym(library, "gptoss_cuda_module");
  if (entry == nullptr) {
    opened.state = CudaState::kDamaged;
    opened.why = str("the CUDA module does not load: ", dlerror());
    return opened;
  }
  const cuda::Module* module = reinterpret_cast<decltype(&gptoss_cuda_module)>(entry)();
  if (same_version(*module, file, opened)) opened.module = module;
  return opened;
}

Opened open() {
  Opened opened;
  if (const cuda::Module* module = put_in_place) {
    if (same_version(*module, "the CUDA module", opened)) opened.module = module;
    return opened;
  }
  static const Opened beside = [] {
    constexpr std::string_view kAbsent =
        OSS_CUDA_ABSENT;  // why this build has no module; tests put an emulated one there
    Opened found = open_file((own_folder() / "libgptoss_cuda.so").string());
    if (found.state != CudaState::kNotBuilt) return found;
    const std::lock_guard lock(elsewhere_mutex);
    if (!elsewhere.empty()) return open_file(elsewhere);
    found.why = kAbsent.empty() ? str(found.why, ", and the package of the CUDA module is not installed")
                                : str("not in this build (", kAbsent, ")");
    return found;
  }();
  return beside;
}

std::string version_text(int version) { return str(version / 1000, ".", version % 1000 / 10); }

// The first driver release that supports a CUDA version; later minor versions run on it too.
std::string driver_needed(int runtime) {
  const int major = runtime / 1000;
  const int release = major == 12 ? 525 : major == 13 ? 580 : 0;
  return release == 0 ? str("one for CUDA ", major) : str("release ", release, " or later (CUDA ", major, ".0)");
}

std::string device_text(const CudaDevice& device) {
  const auto& of = device.properties;
  return str(of.name, " (", std::fixed, std::setprecision(0), double(of.memory_bytes) / (1 << 30),
             " GiB, compute capability ", of.compute_major, ".", of.compute_minor, ")");
}

// Joins equal neighbours: "cuda:0-7 NVIDIA H200 (140 GiB, compute capability 9.0)".
std::string devices_text(const std::vector<CudaDevice>& devices) {
  std::string text;
  for (size_t i = 0, next = 0; i < devices.size(); i = next) {
    if (!devices[next++].problem.empty()) continue;
    const std::string what = device_text(devices[i]);
    while (next < devices.size() && devices[next].problem.empty() && device_text(devices[next]) == what) ++next;
    if (!text.empty()) text += ", ";
    text += str("cuda:", devices[i].index);
    if (next - i > 1) text += str("-", devices[next - 1].index);
    text += str(" ", what);
  }
  return text;
}

std::string listed(std::string architectures) {
  for (size_t at; (at = architectures.find(';')) != std::string::npos;) architectures.replace(at, 1, ", ");
  return architectures;
}

// The reason why the module's kernels do not run on this device; empty when they do.
std::string problem_of(const cuda::Module& module, const CudaDevice& device, bool& unsupported) {
  cuda::Status status = module.use_device(device.index);
  if (status == kSuccess) status = module.probe();
  unsupported = status == kNoKernelImage || status == kInvalidDeviceFunction || status == kUnsupportedPtx;
  const auto& of = device.properties;
  if (status == kSuccess) return "";
  if (unsupported)
    return str(of.name, " has compute capability ", of.compute_major, ".", of.compute_minor,
               ", and this build has kernels for ", listed(module.architectures));
  return str(of.name, " cannot be used: ", cuda_error_text(module, status));
}

CudaPresence absent(CudaState state, const std::string& detail, const std::string& driver = "") {
  return {state, detail, {}, driver};
}

}  // namespace

const cuda::Module* open_cuda_module(const std::string& file, CudaState& state, std::string& why) {
  const Opened opened = open_file(file);
  state = opened.state;
  why = opened.why;
  return opened.module;
}

void set_cuda_module_file(const std::string& file) {
  const std::lock_guard lock(elsewhere_mutex);
  elsewhere = file;
}

void set_cuda_module_for_tests(const cuda::Module* module) { put_in_place = module; }

const cuda::Module& cuda_module() {
  const Opened opened = open();
  if (opened.module == nullptr)
    throw Error(Code::kUnsupported, str("backend \"cuda\" cannot be used: ", opened.why), "backend");
  return *opened.module;
}

CudaPresence cuda_presence() {
  const Opened opened = open();
  if (opened.module == nullptr) return absent(opened.state, opened.why);
  const cuda::Module& module = *opened.module;

  int driver = 0, runtime = 0, count = 0;
  if (const cuda::Status status = module.versions(&driver, &runtime); status != kSuccess)
    return absent(CudaState::kFailed, str("CUDA does not start: ", module.explain(status)));
  if (driver == 0)
    return absent(CudaState::kNoDriver,
                  "no NVIDIA driver on this machine; in a container, start it with the GPUs (docker run --gpus all)");
  const std::string version = version_text(driver);
  const cuda::Status counted = module.device_count(&count);
  if (counted == kInsufficientDriver || driver / 1000 < runtime / 1000)
    return absent(
        CudaState::kDriverTooOld,
        str("the NVIDIA driver is too old: it supports CUDA ", version, ", needed is ", driver_needed(runtime)),
        version);
  if (counted == kErrorNoDevice || (counted == kSuccess && count == 0)) {
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    return absent(CudaState::kNoDevice,
                  visible != nullptr
                      ? str("no GPU is visible: CUDA_VISIBLE_DEVICES is \"", visible, "\"")
                      : "there is an NVIDIA driver but no GPU that this process may use (see nvidia-smi)",
                  version);
  }
  if (counted != kSuccess)
    return absent(CudaState::kFailed, str("CUDA does not start: ", module.explain(counted)), version);

  CudaPresence found = absent(CudaState::kFailed, "", version);
  bool all_unsupported = true;
  for (int index = 0; index < count; ++index) {
    CudaDevice device{index, {}, ""};
    if (const cuda::Status status = module.device_properties(index, &device.properties); status != kSuccess) {
      device.problem = str("cuda:", index, " cannot be used: ", cuda_error_text(module, status));
      all_unsupported = false;
    } else {
      // The check starts CUDA on the device and takes memory there, so equal devices are checked once.
      const auto& of = device.properties;
      const auto same = std::ranges::find_if(found.devices, [&](const CudaDevice& earlier) {
        return earlier.properties.compute_major == of.compute_major &&
               earlier.properties.compute_minor == of.compute_minor;
      });
      bool unsupported = false;
      device.problem = same == found.devices.end() ? problem_of(module, device, unsupported) : same->problem;
      all_unsupported = all_unsupported && (same != found.devices.end() || unsupported);
    }
    found.devices.push_back(device);
  }
  module.use_device(0);

  if (const std::string usable = devices_text(found.devices); !usable.empty()) {
    found.state = CudaState::kAvailable;
    found.detail = str(usable, "; driver for CUDA ", version);
  } else {
    found.state = all_unsupported ? CudaState::kUnsupportedDevice : CudaState::kFailed;
    for (const CudaDevice& device : found.devices) {
      if (found.detail.find(device.problem) != std::string::npos) continue;
      found.detail += (found.detail.empty() ? "" : "; ") + device.problem;
    }
  }
  return found;
}

int cuda_device(std::string_view backend) {
  const std::string_view number = backend.substr(std::min(backend.size(), std::string_view("cuda:").size()));
  int index = -1;
  if (backend != "cuda") {
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
    if (!backend.starts_with("cuda:") || error != std::errc() || end != number.data() + number.size() || index < 0)
      throw Error(Code::kInvalidArgument,
                  str("expected \"cuda\" or \"cuda:N\" for backend but received \"", backend, "\""), "backend");
  }
  const CudaPresence found = cuda_presence();
  const auto refuse = [&](const std::string& why) {
    return Error(Code::kUnsupported, str("backend \"", backend, "\" cannot be used: ", why), "backend");
  };
  if (found.devices.empty()) throw refuse(found.detail);
  if (index < 0) {
    const auto usable =
        std::ranges::find_if(found.devices, [](const CudaDevice& device) { return device.problem.empty(); });
    if (usable == found.devices.end()) throw refuse(found.detail);
    return usable->index;
  }
  const size_t count = found.devices.size();
  if (size_t(index) >= count)
    throw Error(Code::kInvalidArgument,
                str("backend \"", backend, "\": there ",
                    count == 1 ? "is one CUDA device, \"cuda:0\""
                               : str("are ", count, " CUDA devices, \"cuda:0\" to \"cuda:", count - 1, "\"")),
                "backend");
  if (const std::string& problem = found.devices[size_t(index)].problem; !problem.empty()) throw refuse(problem);
  return index;
}

}  // namespace oss
