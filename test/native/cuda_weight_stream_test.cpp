// Weights on their way to the device: every byte arrives, every failure of the file is a clear error, and no memory for
// loading is kept.
#include "native/backend/cuda/weight_stream.h"

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "kernels/common/dtype.h"
#include "native/backend/cuda/cuda_module.h"
#include "native/base/mapped_file.h"
#include "test/emu/machine.h"
#include "test/kernels/cuda/support.h"
#include "test/native/checkpoint_files.h"
#include "test/native/engine_harness.h"
#include "test/native/faulty_reads.h"

namespace oss {
namespace {

using namespace test;

// A module that counts its pinned blocks; the other functions are `real`'s.
const cuda::Module* real = nullptr;
int pinned_blocks = 0;

cuda::Module counting(const cuda::Module& module) {
  real = &module;
  pinned_blocks = 0;
  cuda::Module counted = module;
  counted.allocate_pinned = [](void** memory, size_t bytes) {
    ++pinned_blocks;
    return real->allocate_pinned(memory, bytes);
  };
  counted.release_pinned = [](void* memory) {
    --pinned_blocks;
    return real->release_pinned(memory);
  };
  return counted;
}

void for_each_stream(const std::function<void(test::CudaDevice&, const std::shared_ptr<Gpu>&)>& body) {
  for_each_cuda_device([&](test::CudaDevice& device) {
    const cuda::Module module = counting(device.module);
    body(device, std::make_shared<Gpu>(module, 0));
    CHECK_EQ(pinned_blocks, 0);
  });
}

std::string noise(size_t bytes) {
  std::string text(bytes, '\0');
  uint32_t state = 1;
  for (char& byte : text) byte = char((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

// A file and tensors in it.
struct File {
  TempFolder folder;
  std::string bytes;
  std::shared_ptr<const MappedFile> mapping;

  explicit File(size_t size) : bytes(noise(size)) {
    write_bytes(path(), bytes);
    mapping = MappedFile::open(path());
  }
  std::string path() const { return folder / "file"; }
  HostTensor tensor(size_t first, size_t elements, DType dtype = DType::kU8) const {
    HostTensor tensor{.name = "t", .file = path(), .dtype = dtype, .shape = {int64_t(elements)}};
    tensor.data = mapping->data() + first;
    tensor.bytes = elements * dtype_bytes(dtype);
    tensor.mapping = mapping.get();
    return tensor;
  }
};

void check_bytes(DeviceArray<uint8_t>& array, size_t at, std::string_view want, const std::string& what) {
  const std::vector<uint8_t> got = array.read();
  if (std::memcmp(got.data() + at, want.data(), want.size()) != 0) fail(__FILE__, __LINE__, what + " did not arrive");
}

}  // namespace

TEST("cuda weight_stream: tensors of every size arrive byte for byte, from any place in the file") {
  constexpr size_t kRead = 256 << 10, kPiece = WeightStream::kPieceBytes;
  const File file(kPiece + kRead + 4099);
  for_each_stream([&](test::CudaDevice& device, const std::shared_ptr<Gpu>& gpu) {
    for (const size_t bytes : {size_t(1), size_t(4095), size_t(4097), kRead - 1, kRead, kRead + 1, kPiece + 77}) {
      WeightStream stream(gpu);
      DeviceArray<uint8_t> to(device, bytes);
      stream.send(file.tensor(4001, bytes), to.data());
      stream.finish();
      check_bytes(to, 0, std::string_view(file.bytes).substr(4001, bytes), str(bytes, " bytes"));
    }
  });
}

TEST("cuda weight_stream: many tensors, small and large, straight and packed, take turns in the slots") {
  constexpr size_t kLarge = (8 << 20) + 5, kSmall = 1001, kRounds = 5;
  const File file(kRounds * (kLarge + 4 * kSmall));
  for_each_stream([&](test::CudaDevice& device, const std::shared_ptr<Gpu>& gpu) {
    WeightStream stream(gpu);
    DeviceArray<uint8_t> to(device, file.bytes.size());
    size_t at = 0;
    for (size_t round = 0; round < kRounds; ++round) {
      const HostTensor large = file.tensor(at, kLarge);
      for (size_t first = 0; first < kLarge; first += kLarge / 3) {  // the last piece is of two bytes
        const size_t piece = std::min(kLarge / 3, kLarge - first);
        uint8_t* here = to.data() + at + first;
        stream.send(large, first, piece, [&, here, piece](const void* raw) { gpu->copy(here, raw, piece); });
      }
      at += kLarge;
      for (int i = 0; i < 4; ++i, at += kSmall) stream.send(file.tensor(at, kSmall), to.data() + at);
    }
    stream.send(file.tensor(0, 0), to.data());
    stream.finish();
    check_bytes(to, 0, file.bytes, "all");
  });
}

TEST("cuda weight_stream: BF16 becomes F32 on the way, and F32 is unchanged") {
  constexpr size_t kMost = 200'001;  // more than one thread reads at once
  const File file(4 * kMost + 2);
  for_each_stream([&](test::CudaDevice& device, const std::shared_ptr<Gpu>& gpu) {
    for (const size_t size : {size_t(1), size_t(3), size_t(65'535), size_t(65'536), size_t(65'537), kMost}) {
      WeightStream stream(gpu);
      DeviceArray<float> widened(device, size), same(device, size);
      stream.send_f32(file.tensor(2, size, DType::kBF16), widened.data());
      stream.send_f32(file.tensor(0, size, DType::kF32), same.data());
      stream.finish();
      std::vector<uint16_t> bits(size);
      std::memcpy(bits.data(), file.bytes.data() + 2, size * sizeof(uint16_t));
      std::vector<float> want(size);
      std::transform(bits.begin(), bits.end(), want.begin(), [](uint16_t one) { return bf16_to_f32(one); });
      CHECK_EQ(std::memcmp(widened.read().data(), want.data(), size * sizeof(float)), 0);
      CHECK_EQ(std::memcmp(same.read().data(), file.bytes.data(), size * sizeof(float)), 0);
    }
  });
}

TEST("cuda weight_stream: a read that fails on any thread is the sender's exception, and nothing leaks") {
  const File file(2 << 20);
  for_each_stream([&](test::CudaDevice& device, const std::shared_ptr<Gpu>& gpu) {
    WeightStream stream(gpu);
    DeviceArray<uint8_t> to(device, file.bytes.size());
    const HostTensor tensor = file.tensor(0, file.bytes.size());
    {
      const FaultyReads faults({.fails_at = 1'500'000, .error = EIO});
      CHECK_THROWS(Code::kModelNotFound, "Input/output error", stream.send(tensor, to.data()));
      CHECK_THROWS(Code::kModelNotFound, file.path(),
                   stream.send(tensor, 0, tensor.bytes, [](const void*) { fail(__FILE__, __LINE__, "packed"); }));
    }
    stream.send(tensor, to.data());
    stream.finish();
    check_bytes(to, 0, file.bytes, "what was sent after the failure");
    stream.send(tensor, to.data());  // and freed without finish()
  });
}

// --- whole models ---------------------------------------------------------------------------------------------------------

namespace {

EngineOptions options() {
  EngineOptions options = small_options();
  options.backend = "cuda";
  options.kv_bytes = 4 << 20;
  return options;
}

// A copy of golden model a in a folder, so that its file can be damaged while an engine loads it.
struct CopiedModel {
  TempFolder folder;
  CopiedModel() {
    for (const auto& entry : std::filesystem::directory_iterator(golden_model("a"))) {
      std::filesystem::copy_file(entry.path(), folder / entry.path().filename().string());
    }
  }
  std::string weights() const { return folder / "model.safetensors"; }
};

void for_each_module(const std::function<void(bool emulated)>& body) {
  for_each_cuda_device([&](test::CudaDevice& device) {
    if (device.name == "emulated, shuffled") return;
    const cuda::Module module = counting(device.module);
    {
      const ModuleInUse used(module);
      body(device.name == "emulated");
    }
    CHECK_EQ(pinned_blocks, 0);
  });
}

std::vector<float> logits(Harness& harness) {
  Request r = request(1, std::vector<int32_t>(20, 7), 0);
  r.logits_last = 3;
  harness.submit(std::move(r));
  harness.wait_for_ends(1);
  return harness.outcomes[1].logits;
}

// Loads golden model a. `disturb` is called when its headers have been read, but none of its weights.
void load(const CopiedModel& model, const std::function<void()>& disturb) {
  Engine(
      model.folder.path(), options(),
      [&](const LoadProgress& progress) {
        if (std::string_view(progress.phase) == "open") disturb();
      },
      [] { return false; });
}

}  // namespace

TEST("cuda weight_stream: a model that is read in small pieces is the same model") {
  for_each_module([](bool) {
    std::vector<float> want;
    {
      Harness harness(options());
      want = logits(harness);
    }
    std::unique_ptr<Harness> harness;
    {
      const FaultyReads faults({.most_bytes = 1003, .interrupted = true});
      harness = std::make_unique<Harness>(options());
      CHECK(faults.calls() > 1000);
    }
    CHECK(logits(*harness) == want);
  });
}

TEST("cuda weight_stream: scales that the kernels cannot decode are refused") {
  for_each_module([](bool emulated) {
    StoredModel model = read_golden_model("a");
    for (const int scale : {128, 129}) {
      const TempFolder folder;
      model.tensor("model.layers.1.mlp.experts.down_proj_scales").bytes[3] = char(scale);
      model.write(folder.path());
      const auto load = [&] { Engine(folder.path(), options(), [](const LoadProgress&) {}, [] { return false; }); };
      if (scale == 128) {
        load();
      } else {
        CHECK_THROWS(Code::kUnsupported, "takes MXFP4 scales up to 2 (byte 128), found byte 129", load());
      }
    }
    if (emulated) CHECK_EQ(emu::bytes_in_use(), size_t(0));
  });
}

TEST("cuda weight_stream: a file cut during a load is MODEL_FORMAT, a disk error is reported, all memory is freed") {
  for_each_module([](bool emulated) {
    const CopiedModel model;
    const auto size = std::filesystem::file_size(model.weights());
    CHECK_THROWS(Code::kModelFormat, str(model.weights(), " ends at byte "),
                 load(model, [&] { std::filesystem::resize_file(model.weights(), size / 2); }));
    if (emulated) CHECK_EQ(emu::bytes_in_use(), size_t(0));
    CHECK_EQ(pinned_blocks, 0);

    const CopiedModel other;
    std::unique_ptr<FaultyReads> faults;
    CHECK_THROWS(Code::kModelNotFound, str("cannot read ", other.weights(), ": Input/output error"), load(other, [&] {
                   faults = std::make_unique<FaultyReads>(FaultyReads::Faults{.fails_at = size / 2, .error = EIO});
                 }));
    if (emulated) CHECK_EQ(emu::bytes_in_use(), size_t(0));
    CHECK_EQ(pinned_blocks, 0);
  });
}

TEST("cuda weight_stream: a model that is moved or removed during a load still loads") {
  for_each_module([](bool) {
    const CopiedModel model;
    load(model, [&] { std::filesystem::remove_all(model.folder.path()); });
  });
}

TEST("cuda weight_stream: pinned memory for loading exists only while loading") {
  for_each_module([](bool) {
    int while_loading = 0, ready = 0;
    const Engine engine(
        golden_model("a"), options(),
        [&](const LoadProgress& progress) {
          const std::string_view phase = progress.phase;
          if (phase == "pack" && progress.loaded_bytes > 0) while_loading = std::max(while_loading, pinned_blocks);
          if (phase == "ready") ready = pinned_blocks;
        },
        [] { return false; });
    CHECK_EQ(while_loading - ready, 3);
  });
}

TEST("cuda weight_stream: a cancelled load frees its pinned memory") {
  for_each_module([](bool emulated) {
    bool halfway = false;
    CHECK_THROWS(Code::kCancelled, "cancel",
                 Engine(
                     golden_model("a"), options(),
                     [&](const LoadProgress& progress) {
                       halfway = halfway || (std::string_view(progress.phase) == "pack" && progress.loaded_bytes > 0);
                     },
                     [&] { return halfway; }));
    CHECK(halfway);
    CHECK_EQ(pinned_blocks, 0);
    if (emulated) CHECK_EQ(emu::bytes_in_use(), size_t(0));
  });
}

}  // namespace oss
