#include "native/lab/lab.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "native/backend/cpu/choose_kernels.h"
#include "native/base/error.h"
#include "native/base/str.h"
#include "native/lab/operations.h"

namespace oss::lab {

// The option that a backend refuses, where its error names none: instruction sets and numerics can come from the
// environment, too. Empty: not known.
static std::string option_at_fault(const BackendOptions& options) {
  if (options.backend != "cpu" && options.backend != "auto") return "backend";
  const auto is_refused = [&](const char* numerics) {
    try {
      cpu::choose_kernels(numerics, options.isa);
      return false;
    } catch (const Error&) {
      return true;
    }
  };
  if (!options.isa.empty() && is_refused("exact")) return "isa";
  return is_refused(options.numerics.c_str()) ? "numerics" : "";
}

static std::unique_ptr<Backend> opened(const BackendOptions& options) {
  try {
    return make_backend(options);
  } catch (const Error& error) {
    const bool is_refusal = error.code() == Code::kInvalidArgument || error.code() == Code::kUnsupported;
    if (!is_refusal || !error.field().empty()) throw;
    throw Error(error.code(), error.what(), option_at_fault(options));
  }
}

Lab::Lab(const BackendOptions& options) : options_(options), backend_(opened(options)) {}
Lab::~Lab() = default;

const char* Lab::activations() const { return backend_->sizes().operand_bytes() == sizeof(float) ? "f32" : "bf16"; }

std::vector<std::string> Lab::operations() const {
  std::vector<std::string> names;
  for (const OperationKind& kind : operation_kinds()) {
    if (kind.has(*this)) names.emplace_back(kind.name);
  }
  return names;
}

// --- memory of callers -----------------------------------------------------------------------------------------------

std::shared_ptr<DeviceArray> Lab::create(DType dtype, size_t elements) {
  auto made = std::make_shared<DeviceArray>();
  made->dtype = dtype;
  made->elements = elements;
  made->of = backend_.get();
  // In whole words, as they are written.
  made->buffer = backend_->allocate((std::max<size_t>(made->bytes(), 4) + 3) / 4 * 4, "a buffer of the lab");
  return made;
}

void Lab::write(const DeviceArray& to, size_t first_byte, std::span<const std::byte> from) {
  if (from.empty()) return;
  // The device is written in words of four bytes, so the words at both ends keep their other bytes.
  const size_t begin = first_byte / 4 * 4, end = (first_byte + from.size() + 3) / 4 * 4;
  std::vector<float> words((end - begin) / 4);
  float* at = to.buffer.as<float>() + begin / 4;
  if (words.empty()) return;
  if (begin != first_byte || end != first_byte + from.size()) backend_->read(at, words);
  std::memcpy(reinterpret_cast<std::byte*>(words.data()) + (first_byte - begin), from.data(), from.size());
  backend_->write(words, at);
}

std::vector<std::byte> Lab::read(const DeviceArray& from) {
  std::vector<float> words((from.bytes() + 3) / 4);
  if (!words.empty()) backend_->read(from.buffer.as<float>(), words);
  std::vector<std::byte> bytes(from.bytes());
  if (!bytes.empty()) std::memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
}

// --- operations ------------------------------------------------------------------------------------------------------

std::unique_ptr<Operation> Lab::prepare(Arguments arguments, size_t cold_bytes) {
  for (auto& [name, array] : arguments.arrays) {
    if (array.device != nullptr && array.device->of != backend_.get())
      throw Error(Code::kInvalidArgument, str(name, " is a buffer of another lab"), name);
  }
  for (const OperationKind& kind : operation_kinds()) {
    if (arguments.operation != kind.name) continue;
    if (!kind.has(*this)) break;
    std::unique_ptr<Operation> operation = kind.make(*this, arguments, cold_bytes);
    arguments.check_all_taken();
    if (info().numerics != "fast") operation->work.on_bf16_unit = false;
    return operation;
  }
  std::string names;
  for (const std::string& name : operations()) names += str(names.empty() ? "" : ", ", name);
  throw Error(Code::kUnsupported,
              str("backend ", info().backend, " has no operation \"", arguments.operation, "\"; it has ", names));
}

void Lab::check_room(uint64_t bytes, const char* what) const {
  constexpr uint64_t kSmall = 64 << 20;
  if (bytes <= kSmall) return;
  const DeviceMemory memory = backend_->memory();
  if (bytes > memory.free_bytes) {
    throw Error(Code::kOutOfMemory,
                str(what, " would take ", bytes, " bytes; ", memory.free_bytes, " are ", memory.why));
  }
}

static bool same(const StepLimits& a, const StepLimits& b) {
  const auto all = [](const StepLimits& l) {
    return std::tuple(l.tokens, l.sequences, l.rows, l.max_pages, l.hidden, l.intermediate, l.heads, l.kv_heads,
                      l.head_dim, l.experts, l.top_k, l.vocab, l.window);
  };
  return all(a) == all(b);
}

void Lab::reserve(const StepLimits& wanted) {
  if (same(wanted, reserved_)) return;
  reserved_ = {};
  backend_->reserve_workspace(wanted);
  reserved_ = wanted;
}

double Lab::run(Operation& operation, size_t first_call, size_t calls, bool again) {
  reserve(operation.limits);
  backend_->begin(operation.step);
  const auto work = [&] {
    backend_->run(
        [&] {
          for (size_t i = 0; i < calls; ++i) operation.run(first_call + i);
        },
        false);
  };
  return backend_->timed(work, again && !operation.waits);
}

}  // namespace oss::lab
