// All ways in which CUDA can be present or missing, on the emulated machine and on variations of it.
#include "native/backend/cuda/cuda_module.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "test/emu/machine.h"
#include "test/native/check.h"

namespace oss::test {
namespace {

// The emulated module instead of the library; a case replaces functions to make another machine.
struct InPlace {
  cuda::Module module = *gptoss_cuda_module();
  InPlace() {
    unsetenv("CUDA_VISIBLE_DEVICES");
    emu::reset();
    set_cuda_module_for_tests(&module);
  }
  ~InPlace() {
    set_cuda_module_for_tests(nullptr);
    emu::reset();
  }
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void check_absent(CudaState state, const std::string& detail) {
  const CudaPresence found = cuda_presence();
  CHECK_EQ(int(found.state), int(state));
  CHECK_EQ(found.detail, detail);
  CHECK_THROWS(Code::kUnsupported, "backend \"cuda\" cannot be used: " + detail, cuda_device("cuda"));
}

TEST("cuda_module: a device") {
  InPlace in;
  const CudaPresence found = cuda_presence();
  CHECK(found.state == CudaState::kAvailable);
  CHECK_EQ(found.devices.size(), size_t(1));
  const cuda::DeviceProperties& properties = found.devices.at(0).properties;
  CHECK_EQ(found.detail,
           str("cuda:0 ", properties.name, " (4 GiB, compute capability 9.0); driver for CUDA ", found.driver));
  CHECK(contains(found.driver, "."));
  CHECK_EQ(cuda_device("cuda"), 0);
  CHECK_EQ(cuda_device("cuda:0"), 0);
  CHECK(&cuda_module() == &in.module);
}

TEST("cuda_module: several devices") {
  InPlace in;
  emu::set_machine({.devices = 3});
  CHECK(contains(cuda_presence().detail, "cuda:0-2 "));
  CHECK_EQ(cuda_device("cuda"), 0);
  CHECK_EQ(cuda_device("cuda:2"), 2);
  CHECK_THROWS(Code::kInvalidArgument, "backend \"cuda:3\": there are 3 CUDA devices, \"cuda:0\" to \"cuda:2\"",
               cuda_device("cuda:3"));
  emu::set_machine({.devices = 1});
  CHECK_THROWS(Code::kInvalidArgument, "backend \"cuda:1\": there is one CUDA device, \"cuda:0\"",
               cuda_device("cuda:1"));
}

TEST("cuda_module: names that are not a device") {
  InPlace in;
  for (const char* name : {"cuda:", "cuda:x", "cuda:-1", "cuda:1 ", "cuda:0x1", "cuda:99999999999", "cudaX1", "cud"})
    CHECK_THROWS(Code::kInvalidArgument, "expected \"cuda\" or \"cuda:N\" for backend", cuda_device(name));
}

TEST("cuda_module: no driver") {
  InPlace in;
  emu::set_machine({.devices = 0});
  check_absent(CudaState::kNoDriver,
               "no NVIDIA driver on this machine; in a container, start it with the GPUs (docker run --gpus all)");
  CHECK_EQ(cuda_presence().driver, std::string());
}

TEST("cuda_module: a driver that is too old") {
  InPlace in;
  emu::set_machine({.old_driver = true});
  CHECK(cuda_presence().state == CudaState::kDriverTooOld);
  in.module.versions = [](int* driver, int* runtime) { return *driver = 12020, *runtime = 13000, 0; };
  check_absent(CudaState::kDriverTooOld,
               "the NVIDIA driver is too old: it supports CUDA 12.2, needed is release 580 or later (CUDA 13.0)");
  CHECK_EQ(cuda_presence().driver, std::string("12.2"));
  in.module.versions = [](int* driver, int* runtime) { return *driver = 13000, *runtime = 14000, 0; };
  check_absent(CudaState::kDriverTooOld,
               "the NVIDIA driver is too old: it supports CUDA 13.0, needed is one for CUDA 14");
}

TEST("cuda_module: a driver without a device") {
  InPlace in;
  in.module.device_count = [](int* count) { return *count = 0, 100; };  // cudaErrorNoDevice
  check_absent(CudaState::kNoDevice, "there is an NVIDIA driver but no GPU that this process may use (see nvidia-smi)");
  setenv("CUDA_VISIBLE_DEVICES", "7", 1);
  check_absent(CudaState::kNoDevice, "no GPU is visible: CUDA_VISIBLE_DEVICES is \"7\"");
  in.module.device_count = [](int* count) { return *count = 0; };
  setenv("CUDA_VISIBLE_DEVICES", "", 1);
  check_absent(CudaState::kNoDevice, "no GPU is visible: CUDA_VISIBLE_DEVICES is \"\"");
  unsetenv("CUDA_VISIBLE_DEVICES");
}

TEST("cuda_module: a device that the kernels were not compiled for") {
  InPlace in;
  in.module.architectures = "80;90a";
  emu::set_machine({.compute_major = 7, .compute_minor = 5});
  const std::string name = cuda_presence().devices.at(0).properties.name;
  check_absent(CudaState::kUnsupportedDevice,
               name + " has compute capability 7.5, and this build has kernels for 80, 90a");
  CHECK_THROWS(Code::kUnsupported, "backend \"cuda:0\" cannot be used: " + name + " has compute capability 7.5",
               cuda_device("cuda:0"));
  emu::set_machine({.devices = 2, .compute_major = 7, .compute_minor = 5});  // reported once
  check_absent(CudaState::kUnsupportedDevice,
               name + " has compute capability 7.5, and this build has kernels for 80, 90a");
}

TEST("cuda_module: an old device beside a new one") {
  InPlace in;
  in.module.architectures = "80;90a";
  in.module.device_count = [](int* count) { return *count = 2, 0; };
  in.module.device_properties = [](int device, cuda::DeviceProperties* out) {
    *out = {};
    std::strcpy(out->name, device == 0 ? "Old GPU" : "New GPU");
    out->compute_major = device == 0 ? 6 : 9;
    out->compute_minor = device == 0 ? 1 : 0;
    out->memory_bytes = uint64_t(141) << 30;
    return 0;
  };
  static int current;
  static int asked;
  asked = 0;
  in.module.use_device = [](int device) { return current = device, 0; };
  in.module.probe = [] { return ++asked, current == 0 ? 209 : 0; };  // cudaErrorNoKernelImageForDevice
  const CudaPresence found = cuda_presence();
  CHECK(found.state == CudaState::kAvailable);
  CHECK(contains(found.detail, "cuda:1 New GPU (141 GiB, compute capability 9.0); driver for CUDA "));
  CHECK_EQ(asked, 2);
  CHECK_EQ(current, 0);
  CHECK_EQ(cuda_device("cuda"), 1);
  CHECK_EQ(cuda_device("cuda:1"), 1);
  CHECK_THROWS(Code::kUnsupported, "backend \"cuda:0\" cannot be used: Old GPU has compute capability 6.1",
               cuda_device("cuda:0"));
}

TEST("cuda_module: equal devices are queried once") {
  InPlace in;
  emu::set_machine({.devices = 8});
  static int asked;
  asked = 0;
  in.module.probe = [] { return ++asked, 0; };
  CHECK_EQ(cuda_presence().devices.size(), size_t(8));
  CHECK_EQ(asked, 1);
}

TEST("cuda_module: a device in another process's exclusive use, and a driver that fails") {
  InPlace in;
  in.module.explain = [](cuda::Status) { return "all CUDA-capable devices are busy or unavailable"; };
  in.module.probe = [] { return 46; };
  const std::string name = cuda_presence().devices.at(0).properties.name;
  check_absent(CudaState::kFailed, name + " cannot be used: all CUDA-capable devices are busy or unavailable");
  in.module.device_properties = [](int, cuda::DeviceProperties*) { return 46; };
  check_absent(CudaState::kFailed, "cuda:0 cannot be used: all CUDA-capable devices are busy or unavailable");
  in.module.device_count = [](int*) { return 999; };
  check_absent(CudaState::kFailed, "CUDA does not start: all CUDA-capable devices are busy or unavailable");
  in.module.versions = [](int*, int*) { return 999; };
  check_absent(CudaState::kFailed, "CUDA does not start: all CUDA-capable devices are busy or unavailable");
}

TEST("cuda_module: a module of another version") {
  InPlace in;
  ++in.module.abi;
  const CudaPresence found = cuda_presence();
  CHECK(found.state == CudaState::kDamaged);
  CHECK(contains(found.detail, str("belongs to another version of this package (its interface is ",
                                   cuda::kModuleAbi + 1, ", needed is ", cuda::kModuleAbi, ")")));
  CHECK_THROWS(Code::kUnsupported, "backend \"cuda\" cannot be used: the CUDA module belongs to another version",
               cuda_module());
}

TEST("cuda_module: a missing or damaged file") {
  CudaState state{};
  std::string why;
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / str("gpt-oss-module-", getpid());
  const std::string file = (folder / "libgptoss_cuda.so").string();
  CHECK(open_cuda_module(file, state, why) == nullptr);
  CHECK(state == CudaState::kNotBuilt);
  CHECK_EQ(why, "there is no " + file);

  std::filesystem::create_directory(folder);
  std::ofstream(file) << "half of a download";
  CHECK(open_cuda_module(file, state, why) == nullptr);
  CHECK(state == CudaState::kDamaged);
  CHECK(contains(why, "the CUDA module does not load: " + file));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace oss::test
