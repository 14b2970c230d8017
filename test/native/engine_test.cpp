// The engine's thread, queue and KV pages on golden model a: whatever else happens, a request gets the tokens it would
// have got alone.
#include "native/engine/engine.h"

#include <chrono>
#include <map>

#include "test/native/check.h"

namespace oss {
namespace {

EngineOptions small_options() {
  EngineOptions options;
  options.context_length = 512;
  options.max_batch_tokens = 32;
  return options;
}

Request request(uint64_t id, std::vector<int32_t> prompt, int64_t max_tokens) {
  Request r;
  r.id = id;
  r.prompt = std::move(prompt);
  r.max_tokens = max_tokens;
  r.sampling.temperature = 0;
  r.sampling.top_p = 1;
  return r;
}

struct Outcome {
  std::vector<int32_t> tokens;
  std::vector<float> logits;
  int ends = 0;
  FinishReason reason = FinishReason::kStop;
  Code code = Code::kInternal;
  bool failed = false;
};

// An engine whose events are collected by request, and waited for.
class Harness {
 public:
  explicit Harness(EngineOptions options = small_options())
      : engine(std::make_unique<Engine>(test::source_path("test/golden/models/a"), options, [](const LoadProgress&) {},
                                        [] { return false; })) {
    engine->on_events([this] {
      std::lock_guard lock(mutex_);
      woken_ = true;
      changed_.notify_all();
    });
  }

  // Until `count` requests have ended (300 s at most: an emulator on a busy machine takes its time).
  void wait_for_ends(int count) {
    const auto deadline = Clock::now() + std::chrono::seconds(300);
    while (ended() < count && Clock::now() < deadline) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, std::chrono::milliseconds(50), [&] { return woken_; });
        woken_ = false;
      }
      collect();
    }
    CHECK_EQ(ended(), count);
  }

  void collect() {
    for (Event& event : engine->take_events()) {
      Outcome& outcome = outcomes[event.id];
      CHECK(outcome.ends == 0);  // nothing comes after the end
      if (event.kind == Event::Kind::kToken) outcome.tokens.push_back(event.token);
      if (event.kind == Event::Kind::kLogits) outcome.logits = std::move(event.logits);
      if (event.kind == Event::Kind::kDone) outcome.reason = event.reason;
      if (event.kind == Event::Kind::kError) {
        outcome.failed = true;
        outcome.code = event.code;
      }
      outcome.ends += event.kind == Event::Kind::kDone || event.kind == Event::Kind::kError;
    }
  }

  int ended() const {
    int count = 0;
    for (const auto& [id, outcome] : outcomes) count += outcome.ends;
    return count;
  }

  std::unique_ptr<Engine> engine;
  std::map<uint64_t, Outcome> outcomes;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

std::vector<int32_t> prompt_of(int seed, int length) {
  std::vector<int32_t> prompt;
  uint32_t state = uint32_t(seed) * 2654435761u + 1;
  for (int i = 0; i < length; ++i) {
    state = state * 1664525u + 1013904223u;
    prompt.push_back(int32_t((state >> 16) % 512));
  }
  return prompt;
}

std::vector<int32_t> alone(int seed, int length, int64_t max_tokens) {
  Harness harness;
  harness.engine->submit(request(1, prompt_of(seed, length), max_tokens));
  harness.wait_for_ends(1);
  return harness.outcomes[1].tokens;
}

}  // namespace

TEST("engine: many requests at once give each the tokens it gets alone") {
  Harness harness;
  const int lengths[] = {1, 5, 63, 64, 65, 130, 200};
  for (int i = 0; i < 7; ++i) harness.engine->submit(request(i + 1, prompt_of(i, lengths[i]), 20));
  harness.wait_for_ends(7);
  for (int i = 0; i < 7; ++i) {
    CHECK_EQ(harness.outcomes[i + 1].tokens.size(), size_t(20));
    CHECK(harness.outcomes[i + 1].reason == FinishReason::kLength);
    CHECK(harness.outcomes[i + 1].tokens == alone(i, lengths[i], 20));
  }
  const EngineStats stats = harness.engine->stats();
  CHECK_EQ(stats.pages_free, stats.pages_total);
  CHECK_EQ(stats.completion_tokens, uint64_t(140));
  CHECK_EQ(stats.running, 0);
}

TEST("engine: logits are the same bits in any chunking, and beside other requests") {
  const std::vector<int32_t> prompt = prompt_of(3, 150);
  std::vector<std::vector<float>> results;
  for (const int chunk : {1, 7, 64, 256}) {
    EngineOptions options = small_options();
    options.max_sequences = 1;
    options.max_batch_tokens = chunk;
    Harness harness(options);
    Request r = request(1, prompt, 0);
    r.logits_last = 100;
    harness.engine->submit(std::move(r));
    harness.wait_for_ends(1);
    results.push_back(harness.outcomes[1].logits);
  }
  Harness busy;
  for (int i = 0; i < 5; ++i) busy.engine->submit(request(10 + i, prompt_of(i, 40), 30));
  Request r = request(1, prompt, 0);
  r.logits_last = 100;
  busy.engine->submit(std::move(r));
  busy.wait_for_ends(6);
  results.push_back(busy.outcomes[1].logits);
  CHECK_EQ(results[0].size(), size_t(100 * 512));
  for (const auto& result : results) CHECK(result == results[0]);
}

TEST("engine: out of KV pages, the youngest waits and still gets its tokens") {
  EngineOptions options = small_options();
  options.context_length = 256;
  options.kv_bytes = 5 * KvStorage::bytes_per_page(Harness().engine->info().model);
  Harness harness(options);
  for (int i = 0; i < 4; ++i) harness.engine->submit(request(i + 1, prompt_of(i, 60), 100));
  harness.wait_for_ends(4);
  for (int i = 0; i < 4; ++i) CHECK(harness.outcomes[i + 1].tokens == alone(i, 60, 100));
  const EngineStats stats = harness.engine->stats();
  CHECK(stats.preemptions > 0);
  CHECK_EQ(stats.pages_free, 5);
}

TEST("engine: a cancelled request ends as cancelled, waiting or running, and disturbs nobody") {
  EngineOptions options = small_options();
  options.max_sequences = 2;
  Harness harness(options);
  for (int i = 0; i < 4; ++i) harness.engine->submit(request(i + 1, prompt_of(i, 30), 200));
  harness.engine->cancel(2);
  harness.engine->cancel(4);
  harness.engine->cancel(99);  // nobody
  harness.wait_for_ends(4);
  CHECK(harness.outcomes[2].reason == FinishReason::kCancelled);
  CHECK(harness.outcomes[4].reason == FinishReason::kCancelled);
  CHECK(harness.outcomes[1].tokens == alone(0, 30, 200));
  CHECK(harness.outcomes[3].tokens == alone(2, 30, 200));
  CHECK_EQ(harness.engine->stats().pages_free, harness.engine->stats().pages_total);
}

TEST("engine: close() in the middle of a step rejects what runs, and later calls") {
  Harness harness;
  harness.engine->submit(request(1, prompt_of(1, 400), 100));
  harness.engine->submit(request(2, prompt_of(2, 10), 100));
  harness.engine->close();
  harness.engine->close();
  harness.wait_for_ends(2);
  for (const int id : {1, 2}) {
    CHECK(harness.outcomes[id].failed);
    CHECK(harness.outcomes[id].code == Code::kClosed);
  }
  CHECK_THROWS(Code::kClosed, "closed", harness.engine->submit(request(3, {1}, 1)));
}

TEST("engine: refusals name the limit") {
  EngineOptions options = small_options();
  options.max_queue = 2;
  options.max_sequences = 1;
  Harness harness(options);
  Engine& engine = *harness.engine;
  CHECK_THROWS(Code::kInvalidArgument, "no tokens", engine.submit(request(1, {}, 1)));
  CHECK_THROWS(Code::kInvalidArgument, "512 at index 1", engine.submit(request(1, {0, 512}, 1)));
  CHECK_THROWS(Code::kInvalidArgument, "-1 at index 0", engine.submit(request(1, {-1}, 1)));
  CHECK_THROWS(Code::kContextOverflow, "512 tokens", engine.submit(request(1, prompt_of(1, 512), 1)));
  engine.submit(request(1, prompt_of(1, 511), 400));  // one token of room is left
  int refused = 0;
  for (int id = 2; id < 20; ++id) {
    try {
      engine.submit(request(id, prompt_of(id, 300), 100));
    } catch (const Error& error) {
      CHECK(error.code() == Code::kQueueFull);
      ++refused;
    }
  }
  CHECK(refused > 0);
  harness.wait_for_ends(19 - refused);
  CHECK_EQ(harness.outcomes[1].tokens.size(), size_t(1));
  CHECK(harness.outcomes[1].reason == FinishReason::kLength);
}

TEST("engine: a KV cache too small for the context that was asked for is refused with numbers") {
  EngineOptions options = small_options();
  options.kv_bytes = 1000;
  CHECK_THROWS(Code::kOutOfMemory, "512 tokens", Harness{options});
  options.context_length = 1 << 20;
  CHECK_THROWS(Code::kInvalidArgument, "131072", Harness{options});
}

TEST("engine: a load that is cancelled throws and leaves nothing") {
  int polls = 0;
  CHECK_THROWS(Code::kCancelled, "cancel",
               Engine(test::source_path("test/golden/models/a"), small_options(), [](const LoadProgress&) {},
                      [&] { return ++polls > 2; }));
}

}  // namespace oss
