#include "native/base/trace.h"

#include <chrono>
#include <cmath>
#include <map>
#include <thread>

#include "native/base/json.h"
#include "test/native/checkpoint_files.h"

namespace oss {
namespace {

struct Event {
  std::string phase, track, name;
  double start_us = 0, duration_us = 0;
  Json args = Json(nullptr);
};

std::vector<Event> events_of(const std::string& text) {
  std::vector<Event> events;
  std::map<int64_t, std::string> tracks;
  const Json trace = parse_json(text, "trace");
  for (const Json& json : *trace.array()) {
    CHECK(json.find("pid")->integer());
    const std::string& name = *json.find("name")->string();
    if (name == "thread_name") tracks[*json.find("tid")->integer()] = *json.find("args")->find("name")->string();
    if (*json.find("ph")->string() == "M") continue;
    Event event{*json.find("ph")->string(), tracks.at(*json.find("tid")->integer()), name};
    event.start_us = json.find("ts")->number()->value;
    if (const Json* duration = json.find("dur")) event.duration_us = duration->number()->value;
    if (const Json* args = json.find("args")) event.args = *args;
    events.push_back(event);
  }
  return events;
}

TEST("trace: events on their tracks") {
  const test::TempFolder folder;
  const std::string path = folder / "trace.json";
  auto trace = Trace::open(path.c_str(), stderr);
  trace->complete("engine", "step", 1234567890123.4567, 0.25);
  trace->complete("device", "experts", 7, 1e4, TraceArgs().add("tokens", 3).json());
  trace->instant("engine", "published", -1.0005);
  trace->instant("js", "abort", 5, TraceArgs().add("id", uint64_t(1) << 63).json());
  trace->complete("js", "nonsense", std::nan(""), HUGE_VAL);
  trace.reset();

  const std::vector<Event> events = events_of(test::read_bytes(path));
  CHECK_EQ(events.size(), 5u);
  CHECK_EQ(events[0].phase + events[1].phase + events[2].phase + events[3].phase, "XXii");
  CHECK_EQ(events[0].track + " " + events[1].track + " " + events[2].track + " " + events[3].track,
           "engine device engine js");
  CHECK_EQ(events[0].name, "step");
  CHECK_EQ(events[0].start_us, 1234567890123.457);
  CHECK_EQ(events[0].duration_us, 0.25);
  CHECK(events[0].args.is_null());
  CHECK_EQ(events[1].start_us, 7.0);
  CHECK_EQ(events[1].duration_us, 1e4);
  CHECK_EQ(*events[1].args.find("tokens")->integer(), 3);
  CHECK_EQ(events[2].name, "published");
  CHECK(std::fabs(events[2].start_us + 1.0005) < 0.0006);
  CHECK_EQ(events[3].args.find("id")->number()->value, 0x1p63);
  CHECK_EQ(events[4].start_us, 0.0);
}

TEST("trace: text is escaped") {
  const std::string plain = "\"quoted\" \\ \n\t\x01\x7F é😀 ";
  const test::TempFolder folder;
  const std::string path = folder / "trace.json";
  auto trace = Trace::open(path.c_str(), stderr);
  TraceArgs args;
  args.add("text", plain + "\xC3 \xED\xA0\x80" + '\0')
      .add("a \"key\"", "value")
      .add("ratio", 0.1)
      .add("nothing", std::nan(""))
      .add("yes", true);
  trace->complete("tr\"ack", "na\nme", 1, 2, args.json());
  trace.reset();

  const std::vector<Event> events = events_of(test::read_bytes(path));
  CHECK_EQ(events.size(), 1u);
  CHECK_EQ(events[0].track, "tr\"ack");
  CHECK_EQ(events[0].name, "na\nme");
  const Json& parsed = events[0].args;
  CHECK_EQ(*parsed.find("text")->string(), plain + "\uFFFD \uFFFD\uFFFD\uFFFD" + '\0');
  CHECK_EQ(*parsed.find("a \"key\"")->string(), "value");
  CHECK_EQ(parsed.find("ratio")->number()->value, 0.1);
  CHECK(parsed.find("nothing")->is_null());
  CHECK_EQ(*parsed.find("yes")->integer(), 1);
}

TEST("trace: a span lasts as long as its scope; off, it does nothing") {
  const test::TempFolder folder;
  const std::string path = folder / "trace.json";
  auto trace = Trace::open(path.c_str(), stderr);
  const double before = Trace::now_us();
  {
    TraceSpan outer(trace.get(), "engine", "outer");
    outer.arg("kind", "prefill");
    outer.arg("tokens", size_t(512));
    TraceSpan inner(trace.get(), "engine", "inner");
    TraceSpan off(nullptr, "engine", "off");
    off.arg("tokens", 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  const double after = Trace::now_us();
  trace.reset();

  const std::vector<Event> events = events_of(test::read_bytes(path));
  CHECK_EQ(events.size(), 2u);
  const Event &inner = events[0], &outer = events[1];  // in the order of their ends
  CHECK_EQ(inner.name + " " + outer.name, "inner outer");
  CHECK(inner.duration_us >= 2000);
  constexpr double kRounding = 0.002;
  CHECK(before <= outer.start_us + kRounding && outer.start_us <= inner.start_us + kRounding);
  CHECK(inner.start_us + inner.duration_us <= outer.start_us + outer.duration_us + kRounding);
  CHECK(outer.start_us + outer.duration_us <= after + kRounding);
  CHECK_EQ(*outer.args.find("kind")->string(), "prefill");
  CHECK_EQ(*outer.args.find("tokens")->integer(), 512);
}

TEST("trace: many threads") {
  constexpr int kThreads = 4, kEvents = 3000;
  const test::TempFolder folder;
  const std::string path = folder / "trace.json";
  auto trace = Trace::open(path.c_str(), stderr);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&trace, t] {
      const std::string track = "thread " + std::to_string(t);
      for (int i = 0; i < kEvents; ++i)
        trace->complete(track.c_str(), "work", i, 1, TraceArgs().add("thread", t).json());
    });
  }
  for (std::thread& thread : threads) thread.join();
  trace.reset();

  std::map<std::string, int> next;
  for (const Event& event : events_of(test::read_bytes(path))) {
    CHECK_EQ(event.track, "thread " + std::to_string(*event.args.find("thread")->integer()));
    CHECK_EQ(event.start_us, double(next[event.track]++));
  }
  CHECK_EQ(next.size(), size_t(kThreads));
  for (const auto& [track, count] : next) CHECK_EQ(count, kEvents);
}

TEST("trace: written while the process runs; after a crash only the last bracket is missing") {
  const test::TempFolder folder;
  const std::string path = folder / "trace.json";
  const auto trace = Trace::open(path.c_str(), stderr);
  for (int round = 0; round < 2; ++round) {
    const std::string name = "event " + std::to_string(round);
    trace->instant("engine", name.c_str(), round);
    const double deadline_us = Trace::now_us() + 20e6;  // it takes half a second
    while (test::read_bytes(path).find(name) == std::string::npos && Trace::now_us() < deadline_us) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    CHECK_EQ(events_of(test::read_bytes(path) + "]").size(), size_t(round) + 1);
  }
}

TEST("trace: finished twice, and events after the end are dropped") {
  const test::TempFolder folder;
  const std::string path = folder / "trace.json";
  auto trace = Trace::open(path.c_str(), stderr);
  trace->instant("engine", "first", 1);
  trace->finish();
  trace->instant("engine", "late", 2);
  trace->finish();
  trace.reset();
  CHECK_EQ(events_of(test::read_bytes(path)).size(), 1u);
}

TEST("trace: off without a path") {
  CHECK(Trace::open(nullptr, stderr) == nullptr);
  CHECK(Trace::open("", stderr) == nullptr);
}

TEST("trace: a file that cannot be written is an error that names the variable") {
  const test::TempFolder folder;
  const std::string path = folder / "missing/trace.json";
  CHECK_THROWS(Code::kInvalidArgument,
               "GPT_OSS_TRACE is \"" + path + "\", expected a file that can be written: No such file or directory",
               Trace::open(path.c_str(), stderr));
  CHECK_THROWS(Code::kInvalidArgument, "Is a directory", Trace::open("/", stderr));
}

#if defined(__linux__)
std::string contents(std::FILE* file) {
  std::string text;
  std::rewind(file);
  for (int byte; (byte = std::fgetc(file)) != EOF;) text += char(byte);
  return text;
}

TEST("trace: a full disk prints one line and turns tracing off") {
  std::FILE* complaints = std::tmpfile();
  auto trace = Trace::open("/dev/full", complaints);
  for (int i = 0; i < 100000; ++i) trace->instant("engine", "event", i);
  trace.reset();
  CHECK_EQ(contents(complaints), "GPT_OSS_TRACE: cannot write /dev/full: No space left on device; tracing is off\n");
  std::fclose(complaints);
}
#endif

}  // namespace
}  // namespace oss
