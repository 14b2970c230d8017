// Records where time goes, on one time axis. GPT_OSS_TRACE=FILE writes the work of JavaScript, the engine thread and
// the device. The file is a Chrome trace (JSON array format) for chrome://tracing and ui.perfetto.dev.
//
//   TraceSpan span("engine", "step");   // to the end of the scope
//   span.arg("tokens", num_tokens);
#pragma once
#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "native/base/error.h"
#include "native/base/thread.h"

namespace oss {

// The arguments that a viewer shows for an event. Texts are escaped; invalid UTF-8 becomes U+FFFD.
class TraceArgs {
 public:
  TraceArgs& add(std::string_view key, std::string_view value);
  TraceArgs& add(std::string_view key, double value);  // null when not finite, because JSON has no such numbers
  TraceArgs& add(std::string_view key, std::integral auto value) { return add_raw(key, std::to_string(value)); }
  std::string json() const { return members_.empty() ? "" : "{" + members_ + "}"; }

 private:
  TraceArgs& add_raw(std::string_view key, std::string_view json);

  std::string members_;
};

// A track is a row of the viewer: "engine", "device", "js". Safe on any thread.
class Trace {
 public:
  // Null when GPT_OSS_TRACE is unset or its file cannot be written. Tracing then costs one test of a pointer.
  static Trace* get() { return process_; }
  // The problem with GPT_OSS_TRACE, if there is one.
  static const std::optional<Error>& problem() { return problem_; }

  // Starts the file; null without a path. Throws kInvalidArgument when the file cannot be written, kResourceLimit when
  // the system refuses its thread. A later problem is written to `complaints` as one line.
  static std::unique_ptr<Trace> open(const char* path, std::FILE* complaints);
  ~Trace() { finish(); }
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  // An event with a duration. It is dropped when there is no memory. `args_json` is an object from TraceArgs::json(),
  // or empty.
  void complete(const char* track, const char* name, double start_us, double duration_us,
                const std::string& args_json = "") noexcept;
  void complete(const char* track, const char* name, double start_us, double duration_us,
                const TraceArgs& args) noexcept;
  // An event at one moment.
  void instant(const char* track, const char* name, double at_us, const std::string& args_json = "") noexcept;

  // Microseconds of the steady clock, from the same zero as process.hrtime() on Linux.
  static double now_us();

  // Writes everything and closes the file; later events are dropped. Also runs when the process exits.
  void finish();

 private:
  Trace(std::FILE* file, std::string path, std::FILE* complaints);
  void append(const char* track, const std::string& event);
  void write_until_finished();

  static std::optional<Error> problem_;
  static Trace* const process_;

  // Only the writer thread touches the file while it runs.
  std::FILE* file_;
  const std::string path_;
  std::FILE* const complaints_;

  std::mutex mutex_;
  std::condition_variable wake_;  // wakes the writer: the buffer is large, or the trace ends
  std::string buffer_;            // not written yet
  std::vector<std::string> tracks_;
  bool finished_ = false;

  Thread writer_;
};

// A complete event from construction to destruction; does nothing when tracing is off. Track and name must outlive it.
class TraceSpan {
 public:
  TraceSpan(const char* track, const char* name) : TraceSpan(Trace::get(), track, name) {}
  TraceSpan(Trace* trace, const char* track, const char* name) : trace_(trace), track_(track), name_(name) {
    if (trace_) start_us_ = Trace::now_us();
  }
  ~TraceSpan() {
    if (trace_) trace_->complete(track_, name_, start_us_, Trace::now_us() - start_us_, args_);
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

  template <typename Value>
  void arg(std::string_view key, const Value& value) {
    if (!trace_) return;
    try {
      args_.add(key, value);
    } catch (const std::exception&) {  // tracing must not make the traced code fail
    }
  }

 private:
  Trace* const trace_;
  const char *track_, *name_;
  double start_us_ = 0;
  TraceArgs args_;
};

}  // namespace oss
