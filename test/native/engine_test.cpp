// The engine's thread, queue and KV pages on golden model a: a request gets the same tokens with other requests as
// alone.
#include "native/engine/engine.h"

#include <chrono>
#include <random>
#include <thread>

#include "native/base/json.h"
#include "native/grammar/constraint.h"
#include "test/native/engine_harness.h"

namespace oss {
namespace {

using namespace test;

std::vector<int32_t> alone(int seed, int length, int64_t max_tokens) {
  Harness harness;
  harness.submit(request(1, prompt_of(seed, length), max_tokens));
  harness.wait_for_ends(1);
  return harness.outcomes[1].tokens;
}

}  // namespace

TEST("engine: many requests at once each get the same tokens as alone") {
  Harness harness;
  const int lengths[] = {1, 5, 63, 64, 65, 130, 200};
  for (int i = 0; i < 7; ++i) harness.submit(request(i + 1, prompt_of(i, lengths[i]), 20));
  harness.wait_for_ends(7);
  for (int i = 0; i < 7; ++i) {
    CHECK_EQ(harness.outcomes[i + 1].tokens.size(), size_t(20));
    CHECK(harness.outcomes[i + 1].reason == FinishReason::kLength);
    CHECK(harness.outcomes[i + 1].tokens == alone(i, lengths[i], 20));
  }
  const EngineStats stats = harness.engine->stats();
  check_all_pages_free(stats);
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
    harness.submit(std::move(r));
    harness.wait_for_ends(1);
    results.push_back(harness.outcomes[1].logits);
  }
  Harness busy;
  for (int i = 0; i < 5; ++i) busy.submit(request(10 + i, prompt_of(i, 40), 30));
  Request r = request(1, prompt, 0);
  r.logits_last = 100;
  busy.submit(std::move(r));
  busy.wait_for_ends(6);
  results.push_back(busy.outcomes[1].logits);
  CHECK_EQ(results[0].size(), size_t(100 * 512));
  for (const auto& result : results) CHECK(result == results[0]);
}

TEST("engine: logits are the same bits when another request computed their prefix") {
  const std::vector<int32_t> prompt = prompt_of(4, 300);
  const auto logits_of = [&](Harness& harness, uint64_t id) {
    Request r = request(id, prompt, 0);
    r.logits_last = 20;
    harness.submit(std::move(r));
    harness.wait_for_ends(int(id));
    return harness.outcomes[id];
  };
  Harness harness;
  const Outcome cold = logits_of(harness, 1), warm = logits_of(harness, 2);
  CHECK_EQ(cold.cached_tokens, int64_t(0));
  CHECK_EQ(warm.cached_tokens, int64_t(256));
  CHECK(cold.logits == warm.logits);
}

TEST("engine: out of KV pages, the youngest waits and still gets its tokens") {
  EngineOptions options = small_options();
  options.context_length = 256;
  const Config model = Harness().engine->info().model;
  options.max_batch_tokens = 32;
  options.max_sequences = 4;
  options.kv_bytes =
      5 * (KvStorage::bytes_per_page(model, kKvF32, kKvFull) + KvStorage::bytes_per_page(model, kKvF32, kKvWindow));
  Harness harness(options);
  for (int i = 0; i < 4; ++i) harness.submit(request(i + 1, prompt_of(i, 60), 100));
  harness.wait_for_ends(4);
  for (int i = 0; i < 4; ++i) CHECK(harness.outcomes[i + 1].tokens == alone(i, 60, 100));
  const EngineStats stats = harness.engine->stats();
  CHECK(stats.preemptions > 0);
  check_all_pages_free(stats);
  CHECK_EQ(stats.pages[kKvFull].total, 5);
}

TEST("engine: a cancelled request ends as cancelled, waiting or running, without effect on others") {
  EngineOptions options = small_options();
  options.max_sequences = 2;
  Harness harness(options);
  for (int i = 0; i < 4; ++i) harness.submit(request(i + 1, prompt_of(i, 30), 200));
  harness.engine->cancel(harness.client, 2);
  harness.engine->cancel(harness.client, 4);
  harness.engine->cancel(harness.client, 99);  // an unknown request
  harness.wait_for_ends(4);
  CHECK(harness.outcomes[2].reason == FinishReason::kCancelled);
  CHECK(harness.outcomes[4].reason == FinishReason::kCancelled);
  CHECK(harness.outcomes[1].tokens == alone(0, 30, 200));
  CHECK(harness.outcomes[3].tokens == alone(2, 30, 200));
  check_all_pages_free(harness.engine->stats());
}

TEST("engine: close() in the middle of a step rejects what runs, and later calls") {
  Harness harness;
  harness.submit(request(1, prompt_of(1, 400), 100));
  harness.submit(request(2, prompt_of(2, 10), 100));
  harness.engine->close();
  harness.engine->close();
  harness.wait_for_ends(2);
  for (const int id : {1, 2}) {
    CHECK(harness.outcomes[id].failed);
    CHECK(harness.outcomes[id].code == Code::kClosed);
  }
  CHECK_THROWS(Code::kClosed, "closed", harness.submit(request(3, {1}, 1)));
}

TEST("engine: refusals name the limit") {
  EngineOptions options = small_options();
  options.max_queue = 2;
  options.max_sequences = 1;
  Harness harness(options);
  CHECK_THROWS(Code::kInvalidArgument, "no tokens", harness.submit(request(1, {}, 1)));
  CHECK_THROWS(Code::kInvalidArgument, "512 at index 1", harness.submit(request(1, {0, 512}, 1)));
  CHECK_THROWS(Code::kInvalidArgument, "-1 at index 0", harness.submit(request(1, {-1}, 1)));
  CHECK_THROWS(Code::kContextOverflow, "512 tokens", harness.submit(request(1, prompt_of(1, 512), 1)));
  harness.submit(request(1, prompt_of(1, 511), 400));  // one token of room is left
  int refused = 0;
  for (int id = 2; id < 20; ++id) {
    try {
      harness.submit(request(id, prompt_of(id, 300), 100));
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

TEST("engine: a KV cache too small for the requested context is refused with numbers") {
  EngineOptions options = small_options();
  options.kv_bytes = 1000;
  CHECK_THROWS(Code::kOutOfMemory, "512 tokens", Harness{options});
  options.context_length = 1 << 20;
  CHECK_THROWS(Code::kInvalidArgument, "131072", Harness{options});
}

TEST("engine: a load that is cancelled throws and leaves nothing") {
  int polls = 0;
  CHECK_THROWS(Code::kCancelled, "cancel",
               Engine(
                   test::source_path("test/golden/models/a"), small_options(), [](const LoadProgress&) {},
                   [&] { return ++polls > 2; }));
}

TEST("engine: bf16 keys and values give the same bits, whatever else runs") {
  EngineOptions options = small_options();
  options.kv_type = kKvBF16;
  Harness solo(options), crowd(options);
  solo.submit(request(1, prompt_of(1, 200), 40));
  solo.wait_for_ends(1);
  for (int i = 0; i < 5; ++i) crowd.submit(request(i + 1, prompt_of(i + 1, 200 - i), 40));
  crowd.wait_for_ends(5);
  CHECK(solo.outcomes[1].tokens == crowd.outcomes[1].tokens);
}

TEST("engine: a conversation computes only its new tokens, with the same result") {
  Harness harness;
  std::vector<int32_t> conversation = prompt_of(1, 20);
  for (int turn = 1; turn <= 10; ++turn) {
    harness.submit(request(turn, conversation, 15));
    harness.wait_for_ends(turn);
    const Outcome& outcome = harness.outcomes[turn];
    if (turn > 1) CHECK(outcome.cached_tokens > int64_t(conversation.size()) - 10 - 1 - kPageTokens);
    Harness cold;
    cold.submit(request(1, conversation, 15));
    cold.wait_for_ends(1);
    CHECK(cold.outcomes[1].tokens == outcome.tokens);
    CHECK_EQ(cold.outcomes[1].cached_tokens, int64_t(0));
    conversation.insert(conversation.end(), outcome.tokens.begin(), outcome.tokens.end());
    const auto more = prompt_of(turn + 50, 10);
    conversation.insert(conversation.end(), more.begin(), more.end());
  }
  check_all_pages_free(harness.engine->stats());
}

TEST("engine: salts separate tenants, and without the prefix cache no pages are shared") {
  for (const bool prefix_cache : {true, false}) {
    EngineOptions options = small_options();
    options.prefix_cache = prefix_cache;
    Harness harness(options);
    int ends = 0;
    for (const char* salt : {"a", "b", "a"}) {
      Request r = request(++ends, prompt_of(1, 200), 3);
      r.salt = salt;
      harness.submit(std::move(r));
      harness.wait_for_ends(ends);
    }
    CHECK_EQ(harness.outcomes[2].cached_tokens, int64_t(0));
    CHECK_EQ(harness.outcomes[3].cached_tokens, int64_t(prefix_cache ? 192 : 0));
  }
}

TEST("engine: choices share the prompt and draw from separate streams") {
  Harness harness;
  Request r = request(1, prompt_of(1, 150), 20);
  r.choices = 3;
  r.sampling.temperature = 1;
  r.sampling.seed_lo = 7;
  Request first = r;
  first.id = 2;
  first.choices = 1;
  harness.submit(std::move(r));
  harness.wait_for_ends(3);
  harness.submit(std::move(first));
  harness.wait_for_ends(4);
  CHECK(harness.outcomes[1].tokens == harness.outcomes[2].tokens);
  CHECK(harness.outcomes[1].tokens != harness.outcomes[1001].tokens);
  CHECK(harness.outcomes[1001].tokens != harness.outcomes[2001].tokens);
  CHECK_EQ(harness.outcomes[1001].cached_tokens, int64_t(128));
  check_all_pages_free(harness.engine->stats());
}

TEST("engine: one choice of several is cancelled, and the others continue") {
  Harness harness;
  Request r = request(1, prompt_of(1, 40), 200);
  r.choices = 3;
  harness.submit(std::move(r));
  harness.engine->cancel_choice(harness.client, 1, 1);
  harness.wait_for_ends(3);
  CHECK(harness.outcomes[1001].reason == FinishReason::kCancelled);
  CHECK(harness.outcomes[1].reason == FinishReason::kLength);
  CHECK_EQ(harness.outcomes[1].tokens.size(), size_t(200));
  CHECK(harness.outcomes[2001].tokens == harness.outcomes[1].tokens);
  check_all_pages_free(harness.engine->stats());
}

TEST("engine: a script runs to its end, its stop token or the last token allowed, whatever the options") {
  Harness harness;
  Request r = request(1, prompt_of(1, 40), 10);
  r.choices = 3;
  r.min_tokens = 10;
  r.sampling.temperature = 1;
  r.sampling.frequency_penalty = 2;
  r.bias = {{7, -100}};
  r.stop_tokens = {9};
  r.author = script({{7, 7, 7}, {7, 9, 7}, std::vector<int32_t>(50, 7)}, 4, 1);
  harness.submit(std::move(r));
  harness.wait_for_ends(3);
  CHECK(harness.outcomes[1].tokens == (std::vector<int32_t>{7, 7, 7}));
  CHECK(harness.outcomes[1].reason == FinishReason::kStop);
  CHECK(harness.outcomes[1001].tokens == (std::vector<int32_t>{7, 9}));
  CHECK(harness.outcomes[1001].reason == FinishReason::kStop);
  CHECK(harness.outcomes[2001].tokens == std::vector<int32_t>(10, 7));
  CHECK(harness.outcomes[2001].reason == FinishReason::kLength);
  check_all_pages_free(harness.engine->stats());

  const auto refuse = [&](std::vector<std::vector<int32_t>> choices) {
    Request refused = request(9, prompt_of(1, 4), 4);
    refused.author = script(std::move(choices));
    harness.submit(std::move(refused));
  };
  CHECK_THROWS(Code::kInvalidArgument, "no choices", refuse({}));
  CHECK_THROWS(Code::kInvalidArgument, "no tokens", refuse({{1}, {}}));
  CHECK_THROWS(Code::kInvalidArgument, "token 512 of a script", refuse({{512}}));
}

TEST("engine: a stop string ends the text before it, a banned token is not drawn before min_tokens") {
  Harness harness;
  harness.submit(request(1, prompt_of(1, 30), 40));
  harness.wait_for_ends(1);
  const std::string whole = harness.outcomes[1].text;
  size_t at = whole.size() / 2;  // two ASCII characters, because a stop string has whole characters
  while (at + 2 < whole.size() && ((whole[at] | whole[at + 1]) & 0x80) != 0) ++at;
  const std::string stop = whole.substr(at, 2);
  Request r = request(2, prompt_of(1, 30), 40);
  r.stop_strings = make_stop_strings({stop});
  harness.submit(std::move(r));
  harness.wait_for_ends(2);
  CHECK_EQ(harness.outcomes[2].text, whole.substr(0, whole.find(stop)));
  CHECK(harness.outcomes[2].reason == FinishReason::kStop);

  const int32_t early = harness.outcomes[1].tokens[2];
  Request late = request(3, prompt_of(1, 30), 40);
  late.stop_tokens = {early};
  late.min_tokens = 10;
  harness.submit(std::move(late));
  harness.wait_for_ends(3);
  const std::vector<int32_t>& tokens = harness.outcomes[3].tokens;
  for (size_t i = 0; i < 10; ++i) CHECK(tokens[i] != early);
}

TEST("engine: a request whose client processes its logits delays no other, and gets the client's tokens") {
  Harness harness;
  Request r = request(1, prompt_of(1, 30), 10);
  r.processed = true;
  harness.submit(std::move(r));
  harness.submit(request(2, prompt_of(2, 30), 40));
  harness.wait_for_ends(2);
  const std::vector<int32_t>& tokens = harness.outcomes[1].tokens;
  for (size_t i = 1; i < tokens.size(); ++i) CHECK(tokens[i] >= tokens[i - 1]);
  CHECK_EQ(tokens.size(), size_t(10));
  CHECK(harness.outcomes[2].tokens == alone(2, 30, 40));
}

TEST("engine: a constraint that cannot continue ends all choices of its request, and no other request") {
  Harness harness(small_options(), "synthetic:tiny");
  const int32_t end = 510;
  const auto constrained = [&](uint64_t id, const char* format, int choices) {
    Request r = request(id, prompt_of(int(id), 9), 40);
    r.sampling.temperature = 1;
    r.choices = choices;
    r.stop_tokens = {end};
    r.constraint = grammar::compile_constraint(format, 512, {&end, 1});
    return r;
  };
  harness.submit(
      constrained(1, R"({"kind":"text","format":{"type":"regex","pattern":"[0-9]{9}(a?){5000}a{5000}"}})", 3));
  harness.submit(constrained(2, R"({"kind":"text","format":{"type":"json_object"}})", 3));
  harness.submit(request(3, prompt_of(3, 9), 20));
  harness.wait_for_ends(5);  // an error is reported once
  int failures = 0;
  for (const uint64_t id : {1, 1001, 2001}) {
    failures += harness.outcomes[id].failed && harness.outcomes[id].code == Code::kUnsupported;
  }
  CHECK_EQ(failures, 1);
  for (const uint64_t id : {2, 1002, 2002}) {
    CHECK(harness.outcomes[id].tokens.back() == end);
    CHECK(parse_json(harness.outcomes[id].text, "constrained").object() != nullptr);
  }
  CHECK_EQ(harness.outcomes[3].tokens.size(), size_t(20));
  check_all_pages_free(harness.engine->stats());
}

// A schema that takes a while to compile: its branches are compared in pairs. No schema is in the cache.
std::string large_constraint() {
  static int number = 0;
  std::string branches;
  for (int k = 0; k < 400; ++k) {
    branches += str(k > 0 ? "," : "", R"({\"type\":\"object\",\"required\":[\"k\"],\"properties\":{\"k\":{\"const\":)",
                    number * 1000 + k, "}}}");
  }
  ++number;
  return R"({"kind":"text","format":{"type":"json_schema","schema":"{\"oneOf\":[)" + branches + R"(]}"}})";
}

Request constrained(uint64_t id, std::string constraint, int choices = 1) {
  Request r = request(id, prompt_of(int(id), 9), 40);
  r.choices = choices;
  r.stop_tokens = {510};
  r.constraint_text = std::move(constraint);
  return r;
}

TEST("engine: constraints are compiled while others run; each request is accepted or refused once") {
  Harness harness(small_options(), "synthetic:tiny");
  harness.submit(constrained(1, large_constraint(), 2));
  harness.submit(constrained(2, R"({"kind":"text","format":{"type":"json_schema","schema":"{\"not\":{}}"}})", 2));
  harness.submit(constrained(
      3, R"({"kind":"text","format":{"type":"json_schema","schema":"{\"not\":{}}","unsupported":"relax"}})"));
  harness.submit(request(4, prompt_of(4, 9), 20));
  harness.wait_for_ends(5);
  CHECK_EQ(harness.outcomes[4].tokens.size(), size_t(20));
  CHECK_EQ(harness.outcomes[1].accepted, 1);
  CHECK(harness.outcomes[1].relaxed.empty());
  for (const uint64_t id : {1, 1001}) CHECK(parse_json(harness.outcomes[id].text, "constrained").find("k") != nullptr);
  const Outcome& refused = harness.outcomes[2].failed ? harness.outcomes[2] : harness.outcomes[1002];
  CHECK(refused.code == Code::kInvalidArgument && refused.accepted == 0);
  CHECK_EQ(harness.outcomes[3].accepted, 1);
  CHECK_EQ(harness.outcomes[3].relaxed.size(), size_t(1));
  CHECK(!harness.outcomes[3].relaxed[0].tool);
  check_all_pages_free(harness.engine->stats());
  CHECK_EQ(harness.engine->stats().blocked, 0);
}

TEST("engine: a request can be cancelled, its client leave and the engine close while its constraint is compiled") {
  Harness harness(small_options(), "synthetic:tiny");
  const uint64_t other = harness.engine->connect([] {});
  for (int id = 1; id <= 3; ++id) harness.submit(constrained(uint64_t(id), large_constraint()));
  Request r = constrained(1, large_constraint());
  r.client = other;
  harness.engine->submit(std::move(r));
  harness.engine->disconnect(other);
  harness.engine->cancel(harness.client, 3);
  while (harness.engine->stats().waiting > 2) std::this_thread::yield();
  harness.engine->close();
  harness.collect();
  CHECK(harness.outcomes[3].reason == FinishReason::kCancelled && !harness.outcomes[3].failed);
  CHECK_EQ(harness.ended(), 3);
  CHECK_THROWS(Code::kClosed, "closed", harness.submit(constrained(5, large_constraint())));
}

TEST("engine: paused choices wait, and continue with the same tokens") {
  EngineOptions options = small_options();
  options.max_sequences = 1;
  Harness harness(options);
  harness.submit(request(1, prompt_of(1, 30), 50));
  harness.engine->pause(harness.client, 1, 0, true);
  for (int id = 2; id < 5; ++id) harness.submit(request(id, prompt_of(id, 30), 5));
  harness.wait_for_ends(3);
  CHECK_EQ(harness.outcomes[1].ends, 0);
  harness.engine->pause(harness.client, 1, 0, false);
  harness.wait_for_ends(4);
  CHECK(harness.outcomes[1].tokens == alone(1, 30, 50));
}

TEST(
    "engine: requests whose clients are away leave queue and places to others; as many as the queue holds stand "
    "aside") {
  EngineOptions options = small_options();
  options.max_sequences = 1;
  options.max_queue = 2;
  Harness harness(options);
  const auto until = [&](const auto& holds) {
    while (!holds(harness.engine->stats())) std::this_thread::yield();
  };
  // Each loses its place to the next one, and the fourth runs. One more than the limit is aside.
  for (int id = 1; id <= 3; ++id) {
    Request r = request(uint64_t(id), prompt_of(id, 30), 20);
    r.processed = true;  // its first logits are with the client until collect()
    harness.submit(std::move(r));
    until([&](const EngineStats& stats) { return stats.blocked == id; });
  }
  harness.submit(request(4, prompt_of(4, 30), 5));
  until([](const EngineStats& stats) { return stats.completion_tokens == 5; });
  EngineStats stats = harness.engine->stats();
  CHECK(stats.waiting == 0 && stats.blocked == 2 && stats.aside == 2);
  // They continue when their clients are back, and lose nothing.
  harness.wait_for_ends(4);
  CHECK_EQ(harness.outcomes[4].tokens.size(), size_t(5));
  CHECK(harness.outcomes[1].failed && harness.outcomes[1].code == Code::kQueueFull);
  for (const uint64_t id : {2, 3}) CHECK_EQ(harness.outcomes[id].tokens.size(), size_t(20));
  CHECK_EQ(harness.engine->stats().aside, 0);
  check_all_pages_free(harness.engine->stats());
}

TEST("engine: a full queue accepts tenants with fewer places; the tenant with the most loses its newest request") {
  EngineOptions options = small_options();
  options.max_sequences = 1;
  options.max_queue = 4;
  Harness harness(options);
  const auto ask = [&](uint64_t id, const char* tenant) {
    Request r = request(id, prompt_of(int(id), 5), 2);
    r.tenant = tenant;
    if (id == 1) {
      r.max_tokens = 400;
      r.author = script({std::vector<int32_t>(400, 1)}, 1, 20);
    }
    harness.submit(std::move(r));
  };
  ask(1, "a");
  while (harness.engine->stats().running == 0) std::this_thread::yield();
  for (uint64_t id = 2; id <= 5; ++id) ask(id, "a");
  CHECK_THROWS(Code::kQueueFull, "the queue holds 4", ask(6, "a"));
  ask(7, "b");  // takes the place of 5
  ask(8, "b");  // takes the place of 4
  CHECK_THROWS(Code::kQueueFull, "the queue holds 4", ask(9, "b"));
  ask(10, "c");  // takes the place of the newest of a, 3: two tenants have two places each
  harness.wait_for_ends(3);
  for (const uint64_t id : {3, 4, 5})
    CHECK(harness.outcomes[id].failed && harness.outcomes[id].code == Code::kQueueFull);
  CHECK_EQ(harness.engine->stats().waiting, 4);
  harness.engine->cancel(harness.client, 1);
  harness.wait_for_ends(8);
  for (const uint64_t id : {2, 7, 8, 10}) CHECK_EQ(harness.outcomes[id].tokens.size(), size_t(2));
  CHECK_EQ(harness.engine->stats().waiting, 0);
}

TEST("engine: two clients get events of their own requests only; a client that leaves cancels its requests") {
  Harness harness;
  const uint64_t other = harness.engine->connect([] {});
  Request r = request(1, prompt_of(1, 30), 400);
  r.client = other;
  harness.engine->submit(std::move(r));
  harness.submit(request(1, prompt_of(2, 30), 20));
  harness.wait_for_ends(1);
  CHECK(harness.outcomes[1].tokens == alone(2, 30, 20));
  harness.engine->disconnect(other);
  harness.submit(request(2, prompt_of(3, 5), 1));
  harness.wait_for_ends(2);
  check_all_pages_free(harness.engine->stats());
  CHECK(harness.engine->take_events(other).empty());
}

// ThreadSanitizer slows every memory access; a race shows in the first loads or never.
#if defined(__SANITIZE_THREAD__)
constexpr unsigned kRandomLoads = 12;
#else
constexpr unsigned kRandomLoads = 100;
#endif
constexpr unsigned kFurtherLoads = 300;

// Random arrivals, lengths, shared beginnings, priorities, cancellations, page budgets, chunk sizes and pauses on a model of
// three layers with a window of 7.
static void run_random_loads(const std::string& numerics, unsigned first, unsigned loads) {
  std::map<std::vector<int32_t>, std::vector<int32_t>> alone_cache;
  Harness solo({.context_length = 512, .max_sequences = 1, .numerics = numerics}, "c");
  int solo_requests = 0;
  const auto expected = [&](const std::vector<int32_t>& prompt) {
    auto [at, is_new] = alone_cache.try_emplace(prompt);
    if (is_new) {
      Request r = request(uint64_t(++solo_requests), prompt, 40);
      r.salt = str(solo_requests);  // computed from the start
      solo.submit(std::move(r));
      solo.wait_for_ends(solo_requests);
      at->second = solo.outcomes[uint64_t(solo_requests)].tokens;
    }
    return at->second;
  };
  uint64_t preemptions = 0, cached = 0;
  for (unsigned round = first; round < first + loads; ++round) {
    std::mt19937 random{round};
    const auto pick = [&](int low, int high) { return low + int(random() % unsigned(high - low + 1)); };
    EngineOptions options;
    options.numerics = numerics;
    options.context_length = 320;
    options.max_sequences = pick(1, 6);
    options.max_batch_tokens = pick(1, 4) == 1 ? pick(1, 9) : pick(20, 200);
    options.threads = pick(1, 3);
    options.prefix_cache = pick(0, 3) > 0;
    const Config& model = solo.engine->info().model;
    options.kv_bytes = uint64_t(pick(7, 14)) * (KvStorage::bytes_per_page(model, kKvF32, kKvFull) +
                                                KvStorage::bytes_per_page(model, kKvF32, kKvWindow));
    Harness harness(options, "c");
    std::map<uint64_t, std::pair<std::vector<int32_t>, int64_t>> sent;
    std::vector<uint64_t> cancelled;
    const int requests = pick(2, 8);
    for (int id = 1; id <= requests; ++id) {
      std::vector<int32_t> prompt = prompt_of(pick(1, 3), pick(0, 2) == 0 ? pick(1, 60) : pick(64, 200));
      for (int32_t& token : prompt) token %= 300;
      const int64_t max_tokens = pick(1, 40);
      sent[uint64_t(id)] = {prompt, max_tokens};
      Request r = request(uint64_t(id), std::move(prompt), max_tokens);
      r.priority = pick(-1, 1);
      harness.submit(std::move(r));
      if (pick(0, 5) == 0) cancelled.push_back(uint64_t(pick(1, id)));
      if (!cancelled.empty() && pick(0, 1) == 0) harness.engine->cancel(harness.client, cancelled.back());
      if (pick(0, 4) == 0) harness.engine->pause(harness.client, uint64_t(id), 0, true);
      if (pick(0, 2) == 0) std::this_thread::sleep_for(std::chrono::microseconds(pick(0, 2000)));
    }
    for (int id = 1; id <= requests; ++id) harness.engine->pause(harness.client, uint64_t(id), 0, false);
    harness.wait_for_ends(requests);
    for (const auto& [id, what] : sent) {
      const Outcome& outcome = harness.outcomes[id];
      std::vector<int32_t> whole = expected(what.first);
      whole.resize(outcome.reason == FinishReason::kCancelled ? outcome.tokens.size() : size_t(what.second));
      CHECK(outcome.tokens == whole);
      cached += uint64_t(outcome.cached_tokens);
    }
    check_all_pages_free(harness.engine->stats());
    preemptions += harness.engine->stats().preemptions;
  }
  CHECK(preemptions > loads / 15);
  CHECK(cached > 16 * loads);
}

static void run_in_all_numerics(unsigned first, unsigned loads) {
  const bool fast = make_backend({"cpu"})->info().numerics == "fast";
  run_random_loads("exact", first, fast ? loads / 2 : loads);
  if (fast) run_random_loads("fast", first, loads / 2);
}

TEST("engine: random loads give each request the same tokens as alone, and end with every page free") {
  run_in_all_numerics(0, kRandomLoads);
}

TEST("engine: further random loads") { run_in_all_numerics(kRandomLoads, kFurtherLoads); }

}  // namespace oss
