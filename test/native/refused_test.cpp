// Refusals by the system at any place: the error names them, no resource leaks, and all other requests continue.
#include "native/base/refused.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <thread>

#include "native/backend/cpu/sample_row.h"
#include "native/base/bandwidth.h"
#include "native/base/text_file.h"
#include "native/base/thread_pool.h"
#include "native/checkpoint/checkpoint.h"
#include "native/grammar/constraint.h"
#include "test/native/checkpoint_files.h"
#include "test/native/engine_harness.h"
#include "test/native/refusals.h"

namespace oss::test {
namespace {

int count_entries(const char* folder) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) count += !entry.path().empty();
  return count;
}
int open_files() { return count_entries("/proc/self/fd"); }

// A joined thread leaves /proc a moment later.
bool has_threads(int expected) {
  for (int i = 0; i < 200 && count_entries("/proc/self/task") != expected; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return count_entries("/proc/self/task") == expected;
}

std::optional<Error> error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::exception& error) {
    return as_error(error);
  }
  return std::nullopt;
}

std::unique_ptr<Engine> load(const std::string& model, int threads) {
  EngineOptions options = small_options();
  options.backend = "cpu";
  options.threads = threads;
  options.kv_bytes = 8 << 20;
  return std::make_unique<Engine>(path_of(model), options, [](const LoadProgress&) {}, [] { return false; });
}

// Every place at the beginning, then in growing steps, for code with thousands of places that can fail.
int64_t next_place(int64_t place) { return place < 40 ? place + 1 : place + place / 9; }

}  // namespace

TEST("refused: a pool without its k-th thread joins the others and names the possible number") {
  const int before = count_entries("/proc/self/task");
  for (int made = 0; made < 7; ++made) {
    const RefusedThreads refused({.first = made});
    CHECK_THROWS(Code::kResourceLimit, str("8 threads were wanted, and ", made, " could be made"), ThreadPool(8));
    CHECK_EQ(refused.refusals(), 1);
    CHECK(has_threads(before));
  }
  for (int made = 0; made <= 7; ++made) {
    const RefusedThreads refused({.first = made});
    ThreadPool pool(8, FewerThreads::kGoOn);
    CHECK_EQ(pool.size(), made + 1);
    std::atomic<int64_t> sum = 0;
    pool.parallel_for(1000, 10, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
    CHECK_EQ(sum.load(), 1000);
  }
  CHECK(has_threads(before));
}

TEST("refused: an engine whose k-th thread cannot be made") {
  const int before = count_entries("/proc/self/task");
  constexpr int kThreads = 5;  // four of the pool, and the engine's
  for (int made = 0; made < kThreads; ++made) {
    const RefusedThreads refused({.first = made});
    const char* what = made < kThreads - 1 ? "5 threads were wanted" : "a thread for gpt-oss engine";
    CHECK_THROWS(Code::kResourceLimit, what, load("synthetic:tiny", kThreads));
    CHECK(has_threads(before));
  }
  for (int made = 0;; ++made) {  // with the threads that check the scales
    const RefusedThreads refused({.first = made, .last = made + 1});
    const auto error = error_of([] { load("a", 3)->close(); });
    if (error && error->code() != Code::kResourceLimit) fail(__FILE__, __LINE__, str(made, ": ", error->what()));
    CHECK(has_threads(before));
    if (refused.refusals() > 0) continue;
    CHECK(!error);
    break;
  }
}

TEST("refused: the advised number of threads works") {
  const RefusedThreads refused({.first = 3});
  CHECK_THROWS(Code::kResourceLimit, "set threads to 3 or less", load("synthetic:tiny", 16));
  const RefusedThreads again({.first = 3});
  CHECK_EQ(load("synthetic:tiny", 3)->info().device.threads, 3);
}

TEST("refused: threads of a bandwidth measurement") {
  const std::vector<uint64_t> words(1 << 12, 1);
  const int before = count_entries("/proc/self/task");
  for (int made = 0; made < 4; ++made) {
    const RefusedThreads refused({.first = made});
    CHECK_THROWS(Code::kResourceLimit, "refuses a thread for gpt-oss reader", read_bandwidth(words, 4));
    CHECK(has_threads(before));
  }
}

TEST("refused: without a thread to build the vocabulary's trie, the first user builds it") {
  constexpr int kVocab = 4321;  // not used by any other test
  const int32_t end = 300;
  const RefusedThreads refused({});
  const auto constraint =
      grammar::compile_constraint(R"({"kind":"text","format":{"type":"json_object"}})", kVocab, {&end, 1});
  CHECK_EQ(refused.refusals(), 1);
  grammar::Matcher matcher(constraint);
  CHECK(grammar::allows(matcher.mask(100), '{') || grammar::allows(matcher.mask(100), 90));
}

TEST("refused: loading without the k-th piece of memory leaves nothing behind") {
  const int threads = count_entries("/proc/self/task"), files = open_files();
  for (const char* model : {"a", "c", "synthetic:tiny"}) {
    for (int64_t place = 0;; place = next_place(place)) {
      const RefusedMemory refused(Whose::kMine, {.first = place, .last = place + 1});
      const auto error = error_of([&] { load(model, 2)->close(); });
      // Only optional memory was refused; no other error may follow.
      if (error && error->code() != Code::kOutOfMemory)
        fail(__FILE__, __LINE__, str(model, " ", place, ": ", error->what()));
      if (refused.refusals() == 0) {
        CHECK(!error);
        break;
      }
    }
  }
  CHECK(has_threads(threads));
  CHECK_EQ(open_files(), files);
}

TEST("refused: loading without the k-th mapping names its purpose") {
  const int files = open_files();
  int failed = 0;
  for (const char* model : {"c", "synthetic:tiny"}) {
    for (int64_t place = 0;; ++place) {
      const RefusedMappings refused({.first = place, .last = place + 1});
      const auto error = error_of([&] { load(model, 2)->close(); });
      if (refused.refusals() == 0) {
        CHECK(!error);
        break;
      }
      CHECK(error && error->code() == Code::kOutOfMemory);
      if (error) CHECK(std::string(error->what()).find("cannot ") != std::string::npos);
      ++failed;
    }
  }
  CHECK(failed > 10);
  CHECK_EQ(open_files(), files);
}

TEST("refused: loading with too few files names the limit, wherever it is reached") {
  rlimit before{};
  CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int files = open_files();
  int failed = 0;
  for (rlim_t most = 3; most < 300; ++most) {
    rlimit few = before;
    few.rlim_cur = most;
    setrlimit(RLIMIT_NOFILE, &few);
    const auto error = error_of([] { load("c", 2)->close(); });
    setrlimit(RLIMIT_NOFILE, &before);
    if (!error) break;
    ++failed;
    if (error->code() != Code::kResourceLimit || std::string(error->what()).find("ulimit -n") == std::string::npos)
      fail(__FILE__, __LINE__, str(most, " files: ", code_name(error->code()), ": ", error->what()));
  }
  CHECK(failed > 3);
  CHECK_EQ(open_files(), files);
}

TEST("refused: a draw without the k-th piece of memory leaves the logits unchanged") {
  std::vector<float> logits;
  for (int i = 0; i < 5000; ++i) logits.push_back(float(i * 7919 % 5003) / 500);
  const std::vector<float> before = logits;
  const std::vector<SamplingContext::Seen> seen = {{5, 1}, {4000, 2}};
  const std::vector<SamplingContext::Bias> bias = {{5, 1.5f}, {77, -2.f}};
  std::vector<uint32_t> allowed((logits.size() + 31) / 32, 0x7fffffff);
  SamplingArgs args{};
  args.temperature = 1;
  args.top_p = 1;
  args.repetition_penalty = 1.2f;
  const SamplingContext context = {.seen = seen, .bias = bias, .top_logprobs = 3, .allowed = allowed};
  const std::function<void()> draw = [&] { sample_row(args, context, logits.data(), int(logits.size())); };
  int failures = 0;
  for (int64_t place = 0;; ++place) {
    const RefusedMemory refused(Whose::kMine, {.first = place, .last = place + 1});
    const auto error = error_of(draw);
    CHECK(logits == before);
    if (refused.refusals() == 0) break;
    CHECK(error && error->code() == Code::kOutOfMemory);
    ++failures;
  }
  CHECK(failures > 5);
}

namespace {

// Requests of every kind at once, and their results without refusals.
struct Crowd {
  static constexpr uint64_t kPlain = 1, kChoices = 2, kLogits = 3, kProcessed = 4, kConstrained = 5, kLong = 6,
                            kCompiled = 7, kScript = 8;

  // Each round has a constraint that was not compiled before, with the same meaning.
  static std::vector<Request> requests(int64_t round) {
    std::vector<Request> all;
    all.push_back(request(kPlain, prompt_of(1, 70), 12));
    Request choices = request(kChoices, prompt_of(2, 30), 10);
    choices.choices = 2;
    choices.top_logprobs = 3;
    choices.sampling.repetition_penalty = 1.1f;
    choices.bias = {{5, 1.5f}, {6, -2.f}};
    choices.stop_strings = make_stop_strings({"never to come"});
    all.push_back(std::move(choices));
    Request logits = request(kLogits, prompt_of(3, 90), 0);
    logits.logits_last = 70;
    all.push_back(std::move(logits));
    Request processed = request(kProcessed, prompt_of(4, 9), 4);
    processed.processed = true;
    all.push_back(std::move(processed));
    Request constrained = request(kConstrained, prompt_of(5, 20), 12);
    static const int32_t end = 299;
    constrained.constraint =
        grammar::compile_constraint(R"({"kind":"text","format":{"type":"json_object"}})", 512, {&end, 1});
    constrained.stop_tokens = {end};
    all.push_back(std::move(constrained));
    all.push_back(request(kLong, prompt_of(6, 200), 5));
    Request compiled = request(kCompiled, prompt_of(7, 20), 6);
    compiled.constraint_text =
        R"({"kind":"text","format":{"type":"choice","choices":["yes","no"]}})" + std::string(size_t(round), ' ');
    compiled.stop_tokens = {end};
    all.push_back(std::move(compiled));
    Request scripted = request(kScript, prompt_of(8, 10), 9);
    scripted.author = script({{7, 8, 9, 10, 11, 12, 13}}, 3);
    all.push_back(std::move(scripted));
    return all;
  }
};

bool is_over(const Harness& harness, const Request& request) {
  int ends = 0;
  for (int choice = 0; choice < request.choices; ++choice) {
    const auto at = harness.outcomes.find(request.id + 1000 * uint64_t(choice));
    if (at == harness.outcomes.end()) continue;
    if (at->second.failed) return true;
    ends += at->second.ends;
  }
  return ends == request.choices;
}

// Submits the requests, and waits until each has ended or the engine has ended. Returns false at a timeout.
bool run(Harness& harness, const std::vector<Request>& requests) {
  for (const Request& request : requests) {
    try {
      harness.submit(request);
    } catch (const Error& error) {  // an earlier request has ended it
      if (error.code() != Code::kClosed) throw;
    }
  }
  const auto deadline = Clock::now() + std::chrono::seconds(60);
  while (Clock::now() < deadline) {
    const bool ended = harness.engine->ending().has_value();
    harness.collect();
    const bool ending = harness.engine->stats().ended;  // soon
    if (ended || (!ending && std::ranges::all_of(requests, [&](const Request& r) { return is_over(harness, r); })))
      return true;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return false;
}

std::unique_ptr<Harness> harness_of_one_thread() {
  EngineOptions options = small_options();
  options.threads = 1;
  options.backend = "cpu";
  return std::make_unique<Harness>(options);
}

// Runs the crowd while calls [place, ...) of a kind are refused, for every place, until no call is refused.
template <typename MakeRefused>
void refuse_at_every_place(const char* what, bool isolates, const MakeRefused& refuse) {
  static int64_t round = 0;
  const std::unique_ptr<Harness> undisturbed = harness_of_one_thread();
  CHECK(run(*undisturbed, Crowd::requests(++round)));
  std::unique_ptr<Harness> harness;
  int64_t places = 0, isolated = 0, lost = 0;  // isolated: a request failed, and the engine went on
  for (int64_t place = 0;; place = next_place(place)) {
    if (harness == nullptr || harness->engine->ending()) harness = harness_of_one_thread();
    harness->outcomes.clear();
    bool reached = false;
    {
      const auto refused = refuse(place);
      if (!run(*harness, Crowd::requests(++round)))
        return fail(__FILE__, __LINE__, str(what, " ", place, ": a request never ended"));
      reached = refused->refusals() > 0;
    }
    ++places;
    const auto ending = harness->engine->ending();
    lost += ending.has_value();
    for (const auto& [id, outcome] : harness->outcomes) {
      if (outcome.failed) {
        isolated += !ending;
        if (outcome.code != Code::kOutOfMemory && outcome.code != Code::kDevice)
          fail(__FILE__, __LINE__,
               str(what, " ", place, ", request ", id, ": ", code_name(outcome.code), ": ", outcome.message));
      } else if (outcome.ends > 0) {
        const Outcome& expected = undisturbed->outcomes[id];
        if (outcome.tokens != expected.tokens || outcome.logits != expected.logits || outcome.text != expected.text)
          fail(__FILE__, __LINE__, str(what, " ", place, ", request ", id, " has other tokens, logits or text"));
        if (outcome.accepted != expected.accepted)
          fail(__FILE__, __LINE__,
               str(what, " ", place, ", request ", id, " was accepted ", outcome.accepted, " times"));
      }
    }
    if (ending) {
      CHECK_THROWS(Code::kClosed, "the engine has ended: ", harness->submit(request(9, prompt_of(1, 3), 1)));
    } else {
      // Later requests find a working engine with all pages.
      harness->outcomes.clear();
      CHECK(run(*harness, {request(Crowd::kPlain, prompt_of(1, 70), 12)}));
      CHECK(harness->outcomes[Crowd::kPlain].tokens == undisturbed->outcomes[Crowd::kPlain].tokens);
      check_all_pages_free(harness->engine->stats());
    }
    if (!reached) break;
  }
  CHECK(places > 5);
  CHECK((isolates ? isolated : lost) > 0);
}

}  // namespace

TEST("refused: a step without the k-th piece of memory fails one request and no other") {
  refuse_at_every_place("one allocation", true, [](int64_t place) {
    return std::make_unique<RefusedMemory>(Whose::kOthers, Refused{place, place + 1});
  });
}

TEST("refused: without any memory from the k-th piece on, the engine ends with an error") {
  refuse_at_every_place("all allocations", false, [](int64_t place) {
    return std::make_unique<RefusedMemory>(Whose::kOthers, Refused{.first = place});
  });
}

TEST("refused: the k-th mapping of a step") {
  // Each buffer grows to the largest step, so each place needs a fresh engine.
  const std::vector<Request> crowd = Crowd::requests(0);
  int64_t failures = 0;
  for (int64_t place = 0;; ++place) {
    const std::unique_ptr<Harness> harness = harness_of_one_thread();
    bool reached = false;
    {
      const RefusedMappings refused({place, place + 1});
      CHECK(run(*harness, crowd));
      reached = refused.refusals() > 0;
    }
    CHECK(!harness->engine->ending());  // a step may be refused, and its parts succeed
    for (const auto& [id, outcome] : harness->outcomes) failures += outcome.failed;
    harness->outcomes.clear();
    CHECK(run(*harness, {request(Crowd::kPlain, prompt_of(1, 70), 12)}));
    CHECK_EQ(harness->outcomes[Crowd::kPlain].tokens.size(), size_t(12));
    check_all_pages_free(harness->engine->stats());
    if (!reached) break;
  }
  CHECK_EQ(failures, 0);
}

TEST("refused: mappings that stay refused fail the requests that need them, and later ones run") {
  const std::unique_ptr<Harness> harness = harness_of_one_thread();
  CHECK(run(*harness, {request(1, prompt_of(1, 3), 3)}));  // its buffers are allocated
  {
    const RefusedMappings refused({});
    harness->outcomes.clear();
    CHECK(run(*harness, {request(2, prompt_of(2, 200), 3)}));
    CHECK(refused.refusals() > 0);
    CHECK(harness->outcomes[2].failed);
    CHECK(harness->outcomes[2].code == Code::kOutOfMemory);
    CHECK(!harness->engine->ending());
  }
  harness->outcomes.clear();
  CHECK(run(*harness, {request(4, prompt_of(2, 200), 3)}));
  CHECK_EQ(harness->outcomes[4].tokens.size(), size_t(3));
}

TEST("refused: errors name the limits that are set") {
  rlimit before{};
  CHECK_EQ(getrlimit(RLIMIT_AS, &before), 0);
  rlimit some = before;
  some.rlim_cur = std::min<rlim_t>(before.rlim_max, rlim_t(1) << 46);
  setrlimit(RLIMIT_AS, &some);
  CHECK(memory_limits().find("ulimit -v (RLIMIT_AS) is ") != std::string::npos);
  CHECK(thread_limits().find("ulimit -v (RLIMIT_AS) is ") != std::string::npos);
  CHECK(std::string(refused_memory(5, "x", ENOMEM).what())
            .starts_with("cannot allocate 5 bytes for x: Cannot allocate memory; ulimit -v"));
  setrlimit(RLIMIT_AS, &before);
  CHECK(refused_file("open", "/f", EMFILE).code() == Code::kResourceLimit);
  CHECK(refused_file("open", "/f", ENFILE).code() == Code::kResourceLimit);
  CHECK(refused_file("open", "/f", ENOMEM).code() == Code::kOutOfMemory);
  CHECK(refused_file("open", "/f", EACCES).code() == Code::kModelNotFound);
}

TEST("refused: a thread's stack size does not depend on ulimit -s") {
  size_t bytes = 0;
  Thread thread("stack", [&] {
#if defined(__APPLE__)
    bytes = pthread_get_stacksize_np(pthread_self());
#else
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstacksize(&attributes, &bytes);
    pthread_attr_destroy(&attributes);
#endif
  });
  thread.join();
  CHECK_EQ(bytes, size_t(2) << 20);
}

}  // namespace oss::test
