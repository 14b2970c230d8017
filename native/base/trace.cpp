#include "native/base/trace.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iomanip>
#include <limits>
#include <locale>
#include <new>
#include <sstream>
#include <utility>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"
#include "native/base/utf8.h"

namespace oss {
namespace {

// A crash of the process loses the events of the last half second.
constexpr auto kFlushInterval = std::chrono::milliseconds(500);
// About 600 events, so that writes are rare. A full buffer is written before the interval is over.
constexpr size_t kLargeBuffer = 64 << 10;

std::string json_string(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  while (!text.empty()) {
    const Utf8 character = utf8_begin(text);
    const uint8_t byte = uint8_t(text[0]);
    if (character.kind != Utf8::kWhole) {
      out += kReplacementCharacter;
    } else if (byte < 0x20) {
      out += {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      if (byte == '"' || byte == '\\') out += '\\';
      out += text.substr(0, character.length);
    }
    text.remove_prefix(character.length);
  }
  return out + '"';
}

std::string json_number(double value) {
  if (!std::isfinite(value)) return "null";
  std::ostringstream out;
  out.exceptions(std::ios::badbit);
  out.imbue(std::locale::classic());
  out << std::setprecision(std::numeric_limits<double>::max_digits10) << value;
  return out.str();
}

// A time with three decimals. It uses integers, because the C library would use the decimal point of the process's
// locale.
std::string json_us(double us) {
  constexpr double kLargest = 9e15;  // as nanoseconds it fits 64 bits
  const int64_t ns = std::isnan(us) ? 0 : std::llround(std::clamp(us, -kLargest, kLargest) * 1000);
  const uint64_t size = uint64_t(std::abs(ns));
  const std::string decimals = std::to_string(size % 1000);
  return (ns < 0 ? "-" : "") + std::to_string(size / 1000) + "." + std::string(3 - decimals.size(), '0') + decimals;
}

// The beginning of every event; more members and the closing brace follow.
std::string event_begin(const char* phase, const char* name) {
  return "{\"ph\":\"" + std::string(phase) + "\",\"pid\":" + std::to_string(getpid()) +
         ",\"name\":" + json_string(name);
}

std::string args_member(const std::string& args_json) { return args_json.empty() ? "" : ",\"args\":" + args_json; }

// The args that name the process or a track.
std::string name_args(std::string_view name) { return args_member(TraceArgs().add("name", name).json()); }

template <typename Body>
void leave_out_without_memory(const Body& body) {
  try {
    body();
  } catch (const std::bad_alloc&) {
  }
}

void complain(std::FILE* complaints, const std::string& path, const std::string& reason) {
  std::fprintf(complaints, "GPT_OSS_TRACE: cannot write %s: %s; tracing is off\n", path.c_str(), reason.c_str());
  std::fflush(complaints);
}

}  // namespace

TraceArgs& TraceArgs::add(std::string_view key, std::string_view value) { return add_raw(key, json_string(value)); }

TraceArgs& TraceArgs::add(std::string_view key, double value) { return add_raw(key, json_number(value)); }

TraceArgs& TraceArgs::add_raw(std::string_view key, std::string_view json) {
  if (!members_.empty()) members_ += ',';
  members_ += json_string(key);
  members_ += ':';
  members_ += json;
  return *this;
}

// Never deleted: a thread that still runs while the process exits may use it. Events after finish() are dropped.
std::optional<Error> Trace::problem_;
Trace* const Trace::process_ = [] {
  try {
    return Trace::open(std::getenv("GPT_OSS_TRACE"), stderr).release();
  } catch (const std::exception& error) {
    problem_ = as_error(error);
    return static_cast<Trace*>(nullptr);
  }
}();

namespace {

const struct FinishAtExit {
  ~FinishAtExit() {
    if (Trace* trace = Trace::get()) trace->finish();
  }
} finish_at_exit;

}  // namespace

std::unique_ptr<Trace> Trace::open(const char* path, std::FILE* complaints) {
  if (!path || !*path) return nullptr;
  std::FILE* file = std::fopen(path, "we");  // e: child processes do not inherit it
  if (!file) {
    throw Error(Code::kInvalidArgument,
                str("GPT_OSS_TRACE is ", quote(path), ", expected a file that can be written: ", std::strerror(errno)));
  }
  try {
    return std::unique_ptr<Trace>(new Trace(file, path, complaints));
  } catch (...) {  // for example when the system refuses the writer thread
    std::fclose(file);
    throw;
  }
}

Trace::Trace(std::FILE* file, std::string path, std::FILE* complaints)
    : file_(file),
      path_(std::move(path)),
      complaints_(complaints),
      buffer_("[\n" + event_begin("M", "process_name") + name_args("gpt-oss") + "}"),
      writer_("gpt-oss trace", [this] { write_until_finished(); }) {}

void Trace::complete(const char* track, const char* name, double start_us, double duration_us,
                     const std::string& args_json) noexcept {
  leave_out_without_memory([&] {
    append(track, event_begin("X", name) + ",\"ts\":" + json_us(start_us) + ",\"dur\":" + json_us(duration_us) +
                      args_member(args_json));
  });
}

void Trace::complete(const char* track, const char* name, double start_us, double duration_us,
                     const TraceArgs& args) noexcept {
  leave_out_without_memory([&] { complete(track, name, start_us, duration_us, args.json()); });
}

void Trace::instant(const char* track, const char* name, double at_us, const std::string& args_json) noexcept {
  leave_out_without_memory([&] {
    append(track, event_begin("i", name) + ",\"s\":\"t\",\"ts\":" + json_us(at_us) + args_member(args_json));
  });
}

double Trace::now_us() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A separator precedes each event and none follows. So the file lacks at most its closing bracket, which viewers
// accept.
void Trace::append(const char* track, const std::string& event) {
  bool large;
  {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    const auto known = std::find(tracks_.begin(), tracks_.end(), track);
    const std::string thread = ",\"tid\":" + std::to_string(known - tracks_.begin() + 1) + "}";
    std::string added;  // the whole event or nothing
    if (known == tracks_.end()) {
      added = ",\n" + event_begin("M", "thread_name") + name_args(track) + thread;
      tracks_.emplace_back(track);
    }
    buffer_ += added + ",\n" + event + thread;
    large = buffer_.size() >= kLargeBuffer;
  }
  if (large) wake_.notify_one();
}

void Trace::write_until_finished() {
  std::unique_lock lock(mutex_);
  for (bool last = false; !last;) {
    wake_.wait_for(lock, kFlushInterval, [&] { return finished_ || buffer_.size() >= kLargeBuffer; });
    last = finished_;
    const std::string text = std::exchange(buffer_, {});
    lock.unlock();
    const std::string_view end = last ? "\n]\n" : "";
    const bool written = std::fwrite(text.data(), 1, text.size(), file_) == text.size() &&
                         std::fwrite(end.data(), 1, end.size(), file_) == end.size() && std::fflush(file_) == 0;
    if (!written) complain(complaints_, path_, std::strerror(errno));
    lock.lock();
    if (!written) finished_ = last = true;
  }
  std::fclose(file_);
}

void Trace::finish() {
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
  }
  wake_.notify_one();
  writer_.join();
}

}  // namespace oss
