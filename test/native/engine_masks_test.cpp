// Constraints with slow masks: masks are made beside the steps, and the tokens of other requests do not depend on them.
#include <atomic>
#include <new>
#include <thread>

#include "native/base/str.h"
#include "native/engine/job_thread.h"
#include "native/grammar/json_text.h"
#include "test/native/engine_harness.h"

namespace oss::test {
namespace {

std::vector<int32_t> prompt_of(int seed) { return {5 + seed, 6, 7 + seed, 8}; }

// Each of its masks takes more than a step's budget for masks.
const char* const kSlow = "[ -~]*[a-m .,][ -~]{14}";

Request constrained(uint64_t id, const std::string& regex, int64_t max_tokens = 12) {
  Request r = request(id, prompt_of(int(id)), max_tokens);
  r.sampling.temperature = 1;
  r.stop_tokens = {200002};
  r.constraint_text = R"({"kind":"text","format":{"type":"regex","pattern":)" + grammar::json_string(regex) + "}}";
  return r;
}

EngineOptions options() {
  EngineOptions options = small_options();
  options.kv_bytes = 16u << 20;
  return options;
}

// The full vocabulary, whose masks take far longer.
std::vector<int32_t> alone(const Request& request) {
  Harness harness(options(), "synthetic:wide");
  harness.submit(Request(request));
  harness.wait_for_ends(1);
  return harness.outcomes[request.id].tokens;
}

TEST("engine masks: slow, quick and no constraints together give the same tokens as alone") {
  const Request requests[] = {constrained(1, kSlow), constrained(2, kSlow),
                              constrained(3, "[a-z]{3,9}( [a-z]{3,9}){2}"), request(4, prompt_of(4), 40)};
  Harness harness(options(), "synthetic:wide");
  for (const Request& one : requests) harness.submit(Request(one));
  harness.wait_for_ends(4);
  for (const Request& one : requests) {
    if (harness.outcomes[one.id].failed)
      test::fail(__FILE__, __LINE__, str(one.id, ": ", harness.outcomes[one.id].message));
    CHECK(harness.outcomes[one.id].tokens == alone(one));
  }
  const EngineStats stats = harness.engine->stats();
  CHECK_EQ(stats.grammars, 2);
  CHECK(stats.grammar_bytes > 100'000 && stats.grammar_bytes < (160u << 20));
  harness.engine->close();
  CHECK_EQ(harness.engine->stats().grammar_bytes, uint64_t(0));
}

TEST("engine masks: choices of one slow constraint end within it") {
  Harness harness(options(), "synthetic:wide");
  Request r = constrained(1, "(ab|a|b| ){40}[a-m]{0,40}", 60);
  r.choices = 3;
  harness.submit(std::move(r));
  harness.wait_for_ends(3);
  for (const uint64_t id : {1, 1001, 2001}) CHECK_EQ(harness.outcomes[id].tokens.back(), 200002);
}

TEST("engine masks: a text that the limit ends is cut, one that ends by itself is not") {
  // Random weights write one letter after another, and seldom stop by themselves.
  Harness harness(options(), "synthetic:wide");
  int cut = 0, whole = 0;
  for (uint64_t id = 1; id <= 24; ++id) {
    Request plenty = constrained(id, "([a-z]{1,12} ?){1,6}", 200);
    plenty.sampling.seed_lo = unsigned(id);
    harness.submit(Request(plenty));
    harness.wait_for_ends(int(2 * id - 1));
    const auto free = harness.outcomes[id];
    CHECK(free.reason == FinishReason::kStop);

    Request little = plenty;
    little.id = id + 100;
    little.max_tokens = 8;
    harness.submit(std::move(little));
    harness.wait_for_ends(int(2 * id));
    const auto& held = harness.outcomes[id + 100];
    CHECK(held.tokens.size() <= 8 && held.tokens.back() == 200002);
    if (free.tokens.size() <= 8) {
      ++whole;
      CHECK(held.reason == FinishReason::kStop && held.tokens == free.tokens);
    } else {
      ++cut;
      CHECK(held.reason == FinishReason::kLength);
    }
  }
  CHECK(cut > 0 && whole > 0);
}

TEST("engine masks: each choice tells for itself whether the limit ended it") {
  Harness harness(options(), "synthetic:wide");
  Request r = constrained(1, "yes|[a-z]{1,400}", 6);
  r.choices = 8;
  harness.submit(std::move(r));
  harness.wait_for_ends(8);
  for (uint64_t choice = 0; choice < 8; ++choice) {
    const auto& outcome = harness.outcomes[1 + 1000 * choice];
    CHECK_EQ(outcome.tokens.back(), 200002);
    // Within the limit there is room for each letter but the last one.
    CHECK((outcome.reason == FinishReason::kLength) == (outcome.tokens.size() == 6));
  }
}

TEST("engine masks: a stop string ends a text with stop, also where the limit was about to end it") {
  Harness harness(options(), "synthetic:wide");
  Request r = constrained(1, "[a-z]{1,400}done", 4);
  r.stop_strings = make_stop_strings({"done"});
  harness.submit(std::move(r));
  harness.wait_for_ends(1);
  CHECK(harness.outcomes[1].reason == FinishReason::kStop);
}

TEST("engine masks: a pattern that takes too long ends its own request, and the error names it") {
  Harness harness(options(), "synthetic:wide");
  harness.submit(constrained(1, ".*[a-mA-M .,].{2000}", 400));
  harness.submit(request(2, prompt_of(2), 30));
  harness.wait_for_ends(2);
  CHECK(harness.outcomes[1].failed && harness.outcomes[1].code == Code::kUnsupported);
  CHECK(harness.outcomes[1].message.find("ways open") != std::string::npos);
  CHECK_EQ(harness.outcomes[2].tokens.size(), size_t(30));
}

TEST("engine masks: a request is cancelled, its client leaves, the engine closes while its mask is made") {
  Harness harness(options(), "synthetic:wide");
  const uint64_t other = harness.engine->connect([] {});
  Request theirs = constrained(1, kSlow, 400);
  theirs.client = other;
  harness.engine->submit(std::move(theirs));
  for (const uint64_t id : {1, 2, 3}) harness.submit(constrained(id, str(kSlow, id), 400));
  while (harness.engine->stats().running < 4) std::this_thread::yield();
  harness.engine->disconnect(other);
  harness.engine->cancel(harness.client, 2);
  harness.wait_for_ends(1);
  CHECK(harness.outcomes[2].reason == FinishReason::kCancelled);
  while (harness.engine->stats().running > 2) std::this_thread::yield();
  harness.engine->close();
  harness.collect();
  CHECK_EQ(harness.ended(), 3);
}

// Records its name at each part.
struct Noted : Job {
  Noted(std::string& all, char name, int parts) : notes(all), letter(name), left(parts) {}
  bool work() override {
    notes += letter;
    if (letter == 'm' && notes.size() < 4) throw std::bad_alloc();
    return --left == 0;
  }
  std::string& notes;
  const char letter;
  int left;
};

// Ends when the others have ended.
struct Last : Job {
  explicit Last(std::atomic<bool>& flag) : done(flag) {}
  bool work() override { return done = ++turns == 4; }
  std::atomic<bool>& done;
  int turns = 0;
};

// Holds the thread until it is released, so that other jobs are queued when they begin.
struct Gate : Job {
  bool work() override {
    while (!open && !cancelled) std::this_thread::yield();
    return true;
  }
  std::atomic<bool> open{false};
};

TEST("job thread: jobs take turns, and run again after memory was refused") {
  std::string notes;
  std::atomic<bool> done{false};
  JobThread thread("test");
  const auto gate = std::make_shared<Gate>();
  const auto cancelled = std::make_shared<Noted>(notes, 'x', 3);
  thread.add(gate);
  thread.add(std::make_shared<Noted>(notes, 'a', 3));
  thread.add(cancelled);
  thread.add(std::make_shared<Noted>(notes, 'b', 1));
  thread.add(std::make_shared<Noted>(notes, 'm', 1));
  cancelled->cancelled = true;
  thread.add(std::make_shared<Last>(done));
  gate->open = true;
  while (!done) std::this_thread::yield();
  thread.stop();
  CHECK_EQ(notes, "abmama");
}

TEST("job thread: jobs that remain when it stops are cancelled") {
  std::string notes;
  JobThread thread("test");
  const auto gate = std::make_shared<Gate>();
  const auto left = std::make_shared<Noted>(notes, 'a', 1);
  thread.add(gate);
  thread.add(left);
  thread.stop();
  CHECK(gate->cancelled && left->cancelled && notes.empty());
  thread.add(std::make_shared<Noted>(notes, 'b', 1));
  thread.stop();
  CHECK(notes.empty());
}

}  // namespace
}  // namespace oss::test
