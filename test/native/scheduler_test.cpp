// The scheduler and the KV cache under random load, with a virtual clock. The fake model consists only of the memory of
// the pages. Its next token is a hash of the tokens it finds there, so a lost, mixed up or unwritten page changes a
// token.
#include "native/engine/scheduler.h"

#include <random>

#include "test/native/check.h"

namespace oss {
namespace {

constexpr int kWindow = 128;

int32_t next_token(uint64_t hash) { return int32_t((hash ^ hash >> 31) % 997); }
uint64_t extend(uint64_t hash, int32_t token) { return (hash ^ uint64_t(token + 1)) * 0x9E3779B97F4A7C15u; }

std::vector<int32_t> alone(std::vector<int32_t> tokens, int64_t count) {
  uint64_t hash = 1;
  for (const int32_t token : tokens) hash = extend(hash, token);
  std::vector<int32_t> out;
  for (int64_t i = 0; i < count; ++i) {
    out.push_back(next_token(hash));
    hash = extend(hash, out.back());
  }
  return out;
}

struct World {
  World(SchedulerLimits limits, std::array<int, kKvGroups> pages) : cache(pages, kWindow), scheduler(limits, cache) {
    for (int g = 0; g < kKvGroups; ++g) memory[g].assign(size_t(pages[g]), std::vector<int32_t>(kPageTokens, -1));
  }

  Sequence* add(std::vector<int32_t> prompt, int64_t max_tokens, int priority = 0, std::string salt = "",
                int choices = 1, std::string tenant = "") {
    Request request;
    request.id = ++last_id;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.priority = priority;
    request.salt = std::move(salt);
    request.tenant = std::move(tenant);
    request.choices = choices;
    request.sampling.repetition_penalty = 1;
    auto shared = std::make_shared<SharedRequest>(std::move(request));
    Sequence* first = nullptr;
    for (int choice = 0; choice < choices; ++choice) {
      auto sequence = std::make_unique<Sequence>(shared, choice, ++arrivals);
      sequence->submitted = now;
      if (first == nullptr) first = sequence.get();
      scheduler.add(std::move(sequence));
    }
    return first;
  }

  int32_t& at(int group, const Sequence& s, int64_t position) {
    const int32_t page = s.pages.table[group][size_t(position / kPageTokens)];
    if (page < 0) throw std::runtime_error(str("position ", position, " of group ", group, " has no page"));
    return memory[group][size_t(page)][size_t(position % kPageTokens)];
  }

  // One step of the fake model; false when nothing could run.
  bool step() {
    now += std::chrono::milliseconds(5);
    const std::vector<Scheduler::Part> parts = scheduler.plan(now);
    int64_t tokens = 0;
    std::vector<Sequence*> done;
    said_plan.clear();
    for (const auto& part : parts) {
      Sequence& s = *part.sequence;
      tokens += part.tokens;
      said_plan += str(said_plan.empty() ? "" : " ", s.request().id, ":", part.tokens, "/", part.rows);
      for (int64_t p = s.computed; p < s.computed + part.tokens; ++p) {
        for (int g = 0; g < kKvGroups; ++g) at(g, s, p) = s.tokens[size_t(p)];
      }
    }
    most_tokens = std::max(most_tokens, tokens);
    all_tokens += tokens;
    for (const auto& part : parts) {
      Sequence& s = *part.sequence;
      const int64_t end = s.computed + part.tokens;
      for (int64_t p = std::max<int64_t>(0, s.computed - kWindow + 1); p < end; ++p) {
        if (at(kKvWindow, s, p) != s.tokens[size_t(p)]) throw std::runtime_error("a window page holds something else");
      }
      uint64_t hash = 1;
      for (int64_t p = 0; p < end; ++p) hash = extend(hash, at(kKvFull, s, p));
      scheduler.advance(part);
      if (part.rows == 0) continue;
      s.tokens.push_back(next_token(hash));
      if (s.completion() >= s.request().max_tokens) done.push_back(&s);
    }
    for (Sequence* s : done) finish(s);
    return !parts.empty();
  }

  void finish(Sequence* s) {
    const std::vector<int32_t> said(s->tokens.begin() + std::ptrdiff_t(s->request().prompt.size()), s->tokens.end());
    CHECK(said == alone(s->request().prompt, s->completion()));
    finished.push_back({s->request().id, s->choice});
    finished_tenants += s->request().tenant;
    s->shared->prompt_is_known = true;
    scheduler.remove(s);
  }

  bool empty() const { return scheduler.num_running() + scheduler.num_waiting() == 0; }
  void check_no_leaks() const {
    for (const KvGroup g : {kKvFull, kKvWindow}) {
      CHECK_EQ(cache.stats(g).free, cache.stats(g).total);
      CHECK_EQ(cache.stats(g).shared, 0);
    }
  }

  KvCache cache;
  Scheduler scheduler;
  std::vector<std::vector<int32_t>> memory[kKvGroups];
  Clock::time_point now{};
  std::vector<std::pair<uint64_t, int>> finished;
  std::string finished_tenants;  // a letter each
  uint64_t last_id = 0, arrivals = 0;
  int64_t most_tokens = 0, all_tokens = 0;
  std::string said_plan;  // of the last step: "index of request:tokens/rows" of each part
};

std::vector<int32_t> words(int seed, int length) {
  std::mt19937 random{unsigned(seed)};
  std::vector<int32_t> out;
  for (int i = 0; i < length; ++i) out.push_back(int32_t(random() % 997));
  return out;
}

std::string step(World& world) {
  world.step();
  return world.said_plan;
}

}  // namespace

TEST("scheduler: decodes first, then prompts in the remaining room, oldest first") {
  World world({.max_sequences = 8, .max_tokens = 8, .max_rows = 8}, {64, 64});
  world.add(words(1, 3), 10);
  CHECK_EQ(step(world), "1:3/1");
  world.add(words(2, 20), 10);
  world.add(words(3, 5), 10);
  CHECK_EQ(step(world), "1:1/1 2:7/0");
  CHECK_EQ(step(world), "1:1/1 2:7/0");
  CHECK_EQ(step(world), "1:1/1 2:6/1 3:1/0");
}

TEST("scheduler: deep in a prompt, its chunks beside decodes become smaller") {
  World world({.max_sequences = 8, .max_tokens = 65, .max_rows = 8, .context_of_a_token = 64}, {128, 128});
  world.add(words(1, 3), 150);
  CHECK_EQ(step(world), "1:3/1");
  world.add(words(2, 1200), 3);
  CHECK_EQ(step(world), "1:1/1 2:64/0");
  CHECK_EQ(step(world), "1:1/1 2:32/0");  // each of them takes twice as long
  CHECK_EQ(step(world), "1:1/1 2:25/0");
  CHECK_EQ(step(world), "1:1/1 2:22/0");
  // At least a twelfth is computed at once.
  for (int i = 0; i < 100 && world.said_plan.find(" 2:5/0") == std::string::npos; ++i) world.step();
  CHECK_EQ(world.said_plan, "1:1/1 2:5/0");
  // The rest of the time goes to the next prompt.
  world.add(words(3, 100), 3);
  CHECK_EQ(step(world), "1:1/1 2:5/0 3:10/0");
  for (int i = 0; i < 2000 && !world.empty(); ++i) world.step();
  CHECK_EQ(world.finished.size(), size_t(3));
  world.check_no_leaks();
}

TEST("scheduler: without decodes, a prompt fills whole steps") {
  World world({.max_sequences = 8, .max_tokens = 64, .max_rows = 8, .context_of_a_token = 64}, {64, 64});
  world.add(words(1, 200), 5);
  for (const char* part : {"1:64/0", "1:64/0", "1:64/0", "1:8/1"}) CHECK_EQ(step(world), part);
}

TEST("scheduler: a step ahead has the next token of every sequence that can continue, whatever chooses that token") {
  World world({.max_sequences = 2, .max_tokens = 8, .max_rows = 8}, {64, 64});
  Sequence* first = world.add(words(1, 3), 10);
  Sequence* second = world.add(words(2, 2), 10);
  second->penalized = true;
  CHECK_EQ(step(world), "1:3/1 2:2/1");
  std::vector<Scheduler::Part> parts = world.scheduler.plan(world.now);
  const auto ahead = world.scheduler.plan_ahead(parts);
  CHECK_EQ(ahead.size(), size_t(2));
  for (size_t i = 0; i < 2; ++i) {
    CHECK_EQ(ahead[i].begin, parts[i].begin + 1);
    CHECK_EQ(ahead[i].drawn_row, int(i));
    CHECK(ahead[i].tokens == 1 && ahead[i].rows == 1);
  }
  first->processing = true;
  CHECK(world.scheduler.plan_ahead(parts).empty());
  first->processing = false;

  first->paused = true;
  CHECK(world.scheduler.plan_ahead(parts).empty());
  parts = world.scheduler.plan(world.now);
  CHECK(parts.size() == 1 && parts[0].sequence == second);
  CHECK_EQ(world.scheduler.plan_ahead(parts).size(), size_t(1));
  first->paused = false;
  CHECK(world.scheduler.plan_ahead(parts).empty());  // it continues in the step after this one

  parts = world.scheduler.plan(world.now);
  // A request waits for a place: the place is free when one of these ends, and not before.
  Sequence* third = world.add(words(3, 2), 10);
  CHECK_EQ(world.scheduler.plan_ahead(parts).size(), size_t(2));
  third->processing = true;  // it had a place, and its logits may come back now
  CHECK(world.scheduler.plan_ahead(parts).empty());
  third->processing = false;
  parts[0].sequence = nullptr;
  CHECK(world.scheduler.plan_ahead(parts).empty());
}

TEST("scheduler: no step ahead of an unfinished prompt or of a last token") {
  World world({.max_sequences = 2, .max_tokens = 8, .max_rows = 8}, {64, 64});
  world.add(words(1, 20), 10);
  CHECK(world.scheduler.plan_ahead(world.scheduler.plan(world.now)).empty());
  World short_world({.max_sequences = 2, .max_tokens = 8, .max_rows = 8}, {64, 64});
  short_world.add(words(1, 3), 1);
  short_world.add(words(2, 3), 2);
  const auto ahead = short_world.scheduler.plan_ahead(short_world.scheduler.plan(short_world.now));
  CHECK(ahead.size() == 1 && ahead[0].drawn_row == 1);
}

TEST("scheduler: many streams leave a new prompt a quarter of each step, and take turns") {
  World world({.max_sequences = 9, .max_tokens = 8, .max_rows = 9}, {64, 64});
  for (int i = 0; i < 8; ++i) world.add(words(i, 1), 50);
  for (int i = 0; i < 4; ++i) world.step();
  world.add(words(9, 30), 50);
  CHECK_EQ(step(world), "1:1/1 2:1/1 3:1/1 4:1/1 5:1/1 6:1/1 9:2/0");
  CHECK_EQ(step(world), "7:1/1 8:1/1 1:1/1 2:1/1 3:1/1 4:1/1 9:2/0");
  while (!world.empty()) CHECK(world.step());
  CHECK_EQ(world.finished.size(), size_t(9));
}

TEST("scheduler: of equal prompts that arrive together, the later ones reuse the pages of the first") {
  World world({.max_sequences = 8, .max_tokens = 128, .max_rows = 8}, {64, 64});
  for (int i = 0; i < 6; ++i) world.add(words(1, 200), 5);
  while (!world.empty()) world.step();
  CHECK(world.all_tokens <= 200 + 5 * (200 - 128) + 6 * 5);  // separately they would be 6 times 200
  CHECK_EQ(world.finished.size(), size_t(6));
  world.check_no_leaks();
}

TEST("scheduler: logits of many positions are computed in portions, and none is lost") {
  for (const int64_t wanted : {1, 2, 3, 7, 39, 40}) {
    World world({.max_sequences = 2, .max_tokens = 7, .max_rows = 3}, {8, 8});
    Sequence* s = world.add(words(1, 40), 1);
    const_cast<Request&>(s->request()).logits_last = wanted;
    int64_t rows = 0;
    for (int steps = 0; s->uncomputed() > 0 && steps < 100; ++steps) {
      const auto parts = world.scheduler.plan(world.now);
      CHECK(parts.size() == 1 && parts[0].tokens <= 7 && parts[0].rows <= 3);
      rows += parts[0].rows;
      world.scheduler.advance(parts[0]);
    }
    CHECK_EQ(rows, wanted);
  }
}

TEST("scheduler: higher priority first, then by arrival, and waiting time counts") {
  World world({.max_sequences = 1, .max_tokens = 64, .max_rows = 8}, {64, 64});
  world.add(words(1, 5), 2, 0);
  world.add(words(2, 5), 2, 0);
  world.add(words(3, 5), 2, 5);
  while (!world.empty()) world.step();
  CHECK(world.finished == (std::vector<std::pair<uint64_t, int>>{{3, 0}, {1, 0}, {2, 0}}));
}

TEST("scheduler: a request starts before all that arrived 60 seconds after it, whatever their priorities") {
  const struct {
    int patient, urgent;
    int least_seconds;  // for which the urgent requests come first
  } cases[] = {{0, 5, 4}, {0, 1000, 29}, {-1000, 1000, 58}};
  for (const auto& c : cases) {
    // One request arrives in each step, and one is served.
    World world({.max_sequences = 1, .max_tokens = 64, .max_rows = 8}, {64, 64});
    world.add(words(1, 5), 1, c.patient);
    while (world.finished.empty() || world.finished.back().first != 1) {
      world.add(words(2, 5), 1, c.urgent);
      world.step();
      if (world.now >= Clock::time_point(std::chrono::seconds(60))) break;
    }
    CHECK(world.finished.back().first == 1);
    CHECK(world.now > Clock::time_point(std::chrono::seconds(c.least_seconds)));
  }
}

TEST("scheduler: no request loses its pages to one that arrived 60 seconds after it, whatever their priorities") {
  // Two fit until both have grown; then one of them is preempted.
  World world({.max_sequences = 2, .max_tokens = 256, .max_rows = 8}, {7, 7});
  Sequence* patient = world.add(words(1, 150), 100, -1000);
  const auto give_way = [&] {
    const uint64_t before = world.scheduler.preemptions();
    while (world.scheduler.preemptions() == before) {
      if (world.scheduler.all().size() < 4) world.add(words(2, 150), 100, 1000);
      if (!world.step()) return false;
    }
    return true;
  };
  CHECK(give_way());
  CHECK(patient->was_preempted && !patient->running);
  world.now += std::chrono::seconds(60);
  for (int i = 0; i < 2000 && world.scheduler.all().size() > 0; ++i) {
    const bool is_over =
        std::any_of(world.finished.begin(), world.finished.end(), [](auto& f) { return f.first == 1; });
    if (is_over) break;
    // There are always urgent requests: two wait at any time, and both have just arrived.
    while (world.scheduler.num_waiting() < 2) world.add(words(2, 150), 100, 1000);
    world.step();
  }
  CHECK(std::any_of(world.finished.begin(), world.finished.end(), [](auto& f) { return f.first == 1; }));
}

TEST("scheduler: a tenant's only request is next, however many requests of another tenant wait") {
  World world({.max_sequences = 4, .max_tokens = 64, .max_rows = 8}, {64, 64});
  for (int i = 0; i < 100; ++i) world.add(words(i, 5), 20, 0, "", 1, "a");
  while (world.finished.empty()) world.step();
  Sequence* single = world.add(words(1, 5), 20, 0, "", 1, "b");
  world.step();
  CHECK(single->running);
  while (!world.empty()) world.step();
  CHECK(world.finished_tenants.find('b') < 8);
  world.check_no_leaks();
}

TEST("scheduler: tenants take turns, and share the places") {
  World world({.max_sequences = 1, .max_tokens = 64, .max_rows = 8}, {64, 64});
  for (const char* tenant : {"a", "b", "c"}) {
    for (int i = 0; i < 4; ++i) world.add(words(i, 5), 3, 0, "", 1, tenant);
  }
  while (!world.empty()) world.step();
  CHECK_EQ(world.finished_tenants, "abcabcabcabc");

  // Of six places each tenant gets two, though a was first and has more requests. Places that b and c do not use go to
  // a.
  World places({.max_sequences = 6, .max_tokens = 64, .max_rows = 8}, {64, 64});
  for (int i = 0; i < 20; ++i) places.add(words(i, 5), 200 + i, 0, "", 1, "a");
  for (int i = 0; i < 3; ++i) places.add(words(i, 5), 100 + i, 0, "", 1, "b");
  places.add(words(1, 5), 5, 0, "", 1, "c");
  const auto running = [&](const std::string& tenant) {
    const std::vector<Sequence*> all = places.scheduler.all();
    return std::count_if(all.begin(), all.end(), [&](auto* s) { return s->running && s->request().tenant == tenant; });
  };
  places.step();
  CHECK(running("a") == 3 && running("b") == 2 && running("c") == 1);
  for (int i = 0; i < 20; ++i) places.step();  // c has ended
  CHECK(running("a") == 3 && running("b") == 3);
  while (!places.empty()) places.step();
  CHECK_EQ(places.finished.size(), size_t(24));
}

TEST("scheduler: between tenants, too, priority counts for 60 seconds at most") {
  World world({.max_sequences = 1, .max_tokens = 64, .max_rows = 8}, {64, 64});
  world.add(words(1, 5), 1, -1000, "", 1, "patient");
  // Each urgent request has a separate tenant.
  while (world.finished.empty() || world.finished.back().first != 1) {
    world.add(words(2, 5), 1, 1000, "", 1, str("urgent ", world.last_id));
    world.step();
    if (world.now >= Clock::time_point(std::chrono::seconds(60))) break;
  }
  CHECK(world.finished.back().first == 1);
  CHECK(world.now > Clock::time_point(std::chrono::seconds(58)));
}

TEST("scheduler: requests aside for their clients do not count as waiting, and delay no step ahead") {
  World world({.max_sequences = 2, .max_tokens = 64, .max_rows = 8}, {64, 64});
  Sequence* slow = world.add(words(1, 5), 50, 0, "", 2, "a");
  world.step();
  world.step();
  for (Sequence* s : world.scheduler.all()) s->paused = true;
  CHECK_EQ(world.scheduler.num_aside(), 0);  // no request wants their places
  for (int i = 2; i < 5; ++i) world.add(words(i, 5), 50, 0, "", 1, "b");
  std::vector<Scheduler::Part> parts = world.scheduler.plan(world.now);
  CHECK(parts.size() == 2 && !slow->running);
  CHECK_EQ(world.scheduler.num_aside(), 2);
  CHECK_EQ(world.scheduler.num_aside_requests(), 1);
  CHECK_EQ(world.scheduler.num_blocked(), 2);
  CHECK_EQ(world.scheduler.num_waiting_requests(), 1);
  world.scheduler.remove(world.scheduler.to_displace());
  CHECK_EQ(world.scheduler.num_waiting_requests(), 0);
  parts = world.scheduler.plan(world.now);
  CHECK_EQ(world.scheduler.plan_ahead(parts).size(), size_t(2));

  // A request that cannot continue holds a place that another one needs. So no step ahead: the other one would wait for
  // long.
  parts[0].sequence->paused = true;
  world.add(words(6, 5), 50, 0, "", 1, "b");
  CHECK(world.scheduler.plan_ahead({parts[1]}).empty());
}

TEST(
    "scheduler: places in a full queue and aside are taken from the tenant that has most, the newest and the longest "
    "away") {
  World world({.max_sequences = 1, .max_tokens = 64, .max_rows = 8}, {64, 64});
  CHECK(world.scheduler.to_displace() == nullptr);
  CHECK(world.scheduler.longest_aside() == nullptr);
  world.add(words(1, 5), 50, 0, "", 1, "z");
  world.step();
  std::vector<Sequence*> a, b;
  for (int i = 0; i < 3; ++i) a.push_back(world.add(words(i, 5), 50, 0, "", 2, "a"));
  for (int i = 0; i < 2; ++i) b.push_back(world.add(words(i, 5), 50, 0, "", 1, "b"));
  CHECK(world.scheduler.to_displace() == a[2]);
  for (Sequence* s : {a[2], a[0], b[0], b[1]}) {
    world.now += std::chrono::seconds(1);
    s->paused = true;
    s->blocked_at = world.now;
  }
  CHECK(world.scheduler.to_displace() == a[1]);
  CHECK(world.scheduler.longest_aside() == a[2]);
  a[0]->paused = false;
  CHECK(world.scheduler.longest_aside() == b[0]);
  int tenants = 0;
  world.scheduler.each_waiting_tenant([&](const std::string& name, int requests) {
    ++tenants;
    CHECK(name == "a" && requests == 2);
  });
  CHECK_EQ(tenants, 1);
}

TEST("scheduler: a sequence that cannot continue gives its place and its pages to others") {
  World world({.max_sequences = 2, .max_tokens = 64, .max_rows = 8}, {4, 4});
  Sequence* slow = world.add(words(1, 100), 50);
  while (slow->completion() < 5) world.step();
  slow->paused = true;
  for (int i = 2; i < 6; ++i) world.add(words(i, 100), 20);
  for (int i = 0; i < 500 && world.finished.size() < 4; ++i) world.step();
  CHECK_EQ(world.finished.size(), size_t(4));
  CHECK(!world.step());  // only the paused request is left
  slow->paused = false;
  while (!world.empty()) CHECK(world.step());
  CHECK_EQ(world.finished.size(), size_t(5));
  world.check_no_leaks();
}

TEST("scheduler: a request whose constraint is being compiled delays no other, and keeps its place in the queue") {
  World world({.max_sequences = 1, .max_tokens = 16, .max_rows = 4}, {8, 8});
  Sequence* first = world.add({1, 2, 3}, 40);
  Sequence* compiled = world.add({4, 5, 6}, 2);
  compiled->compiling = true;
  world.add({7, 8, 9}, 2);
  CHECK_EQ(world.scheduler.num_blocked(), 0);
  CHECK_EQ(world.scheduler.num_waiting_requests(), 3);
  for (int i = 0; i < 3; ++i) world.step();
  CHECK(first->running);
  compiled->compiling = false;
  while (world.step()) {
  }
  const std::vector<std::pair<uint64_t, int>> order = {{1, 0}, {2, 0}, {3, 0}};
  CHECK(world.finished == order);
  // While it is compiled, the requests behind it run.
  Sequence* slow = world.add({4, 5, 6}, 2);
  slow->compiling = true;
  world.add({7, 8, 9}, 2);
  while (world.step()) {
  }
  CHECK_EQ(world.finished.back().first, uint64_t(5));
  slow->compiling = false;
  while (world.step()) {
  }
  CHECK_EQ(world.finished.back().first, uint64_t(4));
  world.check_no_leaks();
}

TEST("scheduler: the choices of a request share the pages of its prompt") {
  World world({.max_sequences = 8, .max_tokens = 256, .max_rows = 8}, {64, 64});
  world.add(words(1, 200), 30, 0, "", 4);
  while (!world.empty()) {
    world.step();
    if (world.scheduler.num_running() == 4) CHECK_EQ(world.cache.stats(kKvFull).shared, 3);
  }
  CHECK_EQ(world.finished.size(), size_t(4));
  CHECK(world.all_tokens <= 200 + 3 * (200 - 192) + 4 * 30);
  world.check_no_leaks();
}

TEST("scheduler: 3,000 random schedules give each request the same tokens as alone, and end with every page free") {
  uint64_t preemptions = 0;
  for (int round = 0; round < 3000; ++round) {
    std::mt19937 random{unsigned(round)};
    const auto pick = [&](int low, int high) { return low + int(random() % unsigned(high - low + 1)); };
    const int64_t max_tokens = pick(1, 5) == 1 ? pick(1, 8) : pick(16, 300);
    // Enough for one context of 400 tokens at least.
    const int full = pick(7, 20), window = std::min(full, pick(10, 20));
    World world({.max_sequences = pick(1, 6), .max_tokens = std::max<int64_t>(max_tokens, 6), .max_rows = 6},
                {full, window});
    int arriving = pick(1, 14);
    int cancelled = 0, expected = 0;
    for (int steps = 0; arriving > 0 || !world.empty(); ++steps) {
      if (steps > 20000) {
        test::fail(__FILE__, __LINE__, str("round ", round, " does not end"));
        return;
      }
      if (arriving > 0 && pick(0, 3) == 0) {
        std::vector<int32_t> prompt = words(pick(1, 3), pick(1, 200));
        for (int extra = pick(0, 80); extra > 0; --extra) prompt.push_back(int32_t(random() % 997));
        const int choices = pick(0, 5) == 0 ? pick(2, 3) : 1;
        world.add(std::move(prompt), pick(1, 60), pick(-2, 2), pick(0, 3) == 0 ? "salt" : "", choices);
        expected += choices;
        --arriving;
      }
      const std::vector<Sequence*> all = world.scheduler.all();
      if (!all.empty() && pick(0, 40) == 0) {
        Sequence* victim = all[random() % all.size()];
        victim->shared->prompt_is_known = true;
        world.scheduler.remove(victim);
        ++cancelled;
      }
      for (Sequence* s : world.scheduler.all()) {
        if (pick(0, 60) == 0) s->paused = !s->paused;
        if (arriving == 0 && steps % 50 == 0) s->paused = false;
      }
      try {
        world.step();
      } catch (const std::exception& error) {
        test::fail(__FILE__, __LINE__, str("round ", round, ": ", error.what()));
        return;
      }
      CHECK(world.most_tokens <= std::max<int64_t>(max_tokens, 6));
    }
    CHECK_EQ(int(world.finished.size()) + cancelled, expected);
    world.check_no_leaks();
    preemptions += world.scheduler.preemptions();
  }
  CHECK(preemptions > 1000);
}

TEST("scheduler: assumed tokens are not computed, and keep no more pages of a window than computed ones") {
  KvCache cache({16, 6}, kWindow);
  Scheduler scheduler({.max_sequences = 2, .max_tokens = 64, .max_rows = 2}, cache);
  Request request;
  request.prompt.assign(1000, 7);
  request.max_tokens = 2;
  request.assumed_tokens = 5000;  // more than the prompt has: its last token is computed all the same
  scheduler.add(std::make_unique<Sequence>(std::make_shared<SharedRequest>(std::move(request)), 0, 1));
  const std::vector<Scheduler::Part> parts = scheduler.plan(Clock::now());
  CHECK_EQ(parts.size(), size_t(1));
  CHECK_EQ(parts[0].begin, int64_t(999));
  CHECK_EQ(parts[0].tokens, int64_t(1));
  CHECK_EQ(parts[0].rows, int64_t(1));
  CHECK_EQ(cache.stats(kKvFull).free, 0);
  CHECK(cache.stats(kKvWindow).free > 0);
}

}  // namespace oss
