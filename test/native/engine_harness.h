// Engines in tests: tests submit requests and collect their outcomes by request.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "native/backend/cuda/cuda_module.h"
#include "native/engine/engine.h"
#include "native/testing/script.h"
#include "test/native/check.h"

namespace oss::test {

inline EngineOptions small_options() {
  EngineOptions options;
  options.context_length = 512;
  options.max_batch_tokens = 32;
  return options;
}

inline Request request(uint64_t id, std::vector<int32_t> prompt, int64_t max_tokens) {
  Request r;
  r.id = id;
  r.prompt = std::move(prompt);
  r.max_tokens = max_tokens;
  r.sampling.temperature = 0;
  r.sampling.top_p = 1;
  r.sampling.repetition_penalty = 1;
  return r;
}

struct Outcome {
  std::vector<int32_t> tokens;
  std::vector<float> logits;
  std::string text;
  int64_t cached_tokens = 0;
  int ends = 0;
  FinishReason reason = FinishReason::kStop;
  Code code = Code::kInternal;
  std::string message;
  bool failed = false;
  int accepted = 0;
  std::vector<grammar::Relaxed> relaxed;
};

inline std::shared_ptr<const Author> script(std::vector<std::vector<int32_t>> choices, int tokens_per_step = 1,
                                            double step_ms = 0) {
  auto script = std::make_shared<Script>(std::move(choices));
  script->tokens_per_step = tokens_per_step;
  script->step_ms = step_ms;
  return script;
}

// Options for a golden model, a synthetic model, or a path.
inline std::string path_of(const std::string& model) {
  return model.starts_with("synthetic:") || model.starts_with("/") ? model : source_path("test/golden/models/" + model);
}

// An engine whose events are collected by request, with a way to wait for them.
class Harness {
 public:
  explicit Harness(EngineOptions options = small_options(), const char* model = "a")
      : engine(std::make_unique<Engine>(path_of(model), options, [](const LoadProgress&) {}, [] { return false; })) {
    client = engine->connect([this] {
      std::lock_guard lock(mutex_);
      woken_ = true;
      changed_.notify_all();
    });
  }

  void submit(Request r) {
    r.client = client;
    engine->submit(std::move(r));
  }

  // Waits until `count` requests have ended (at most 300 s, because an emulator on a busy machine is slow).
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
    for (Event& event : engine->take_events(client)) {
      Outcome& outcome = outcomes[event.id + 1000 * uint64_t(event.choice)];
      CHECK(outcome.ends == 0);  // nothing comes after the end
      if (event.kind == Event::Kind::kAccepted) {
        ++outcome.accepted;
        outcome.relaxed = event.relaxed;
      }
      if (event.kind == Event::Kind::kToken) outcome.tokens.push_back(event.sampled.token);
      if (event.kind == Event::Kind::kToken || event.kind == Event::Kind::kDone) outcome.text += event.text;
      if (event.kind == Event::Kind::kProcess) {
        // The processor of these tests bans token 0 and every token before the last one.
        for (int32_t token = 0; token < event.tokens.back(); ++token) event.logits[size_t(token)] = -1e30f;
        engine->supply_logits(client, event.id, event.choice, std::move(event.logits));
      }
      if (event.kind == Event::Kind::kLogits) outcome.logits = std::move(event.logits);
      if (event.kind == Event::Kind::kDone) {
        outcome.reason = event.reason;
        outcome.cached_tokens = event.cached_tokens;
      }
      if (event.kind == Event::Kind::kError) {
        outcome.failed = true;
        outcome.code = event.code;
        outcome.message = event.message;
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
  uint64_t client = 0;
  std::map<uint64_t, Outcome> outcomes;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

// Engines that are created during its lifetime use this module.
class ModuleInUse {
 public:
  explicit ModuleInUse(const cuda::Module& module) { set_cuda_module_for_tests(&module); }
  ~ModuleInUse() { set_cuda_module_for_tests(nullptr); }
  ModuleInUse(const ModuleInUse&) = delete;
  ModuleInUse& operator=(const ModuleInUse&) = delete;
};

inline void check_all_pages_free(const EngineStats& stats) {
  for (const PageStats& pages : stats.pages) {
    CHECK(pages.total > 0);
    CHECK_EQ(pages.free, pages.total);
    CHECK_EQ(pages.shared, 0);
  }
}

inline std::vector<int32_t> prompt_of(int seed, int length) {
  std::vector<int32_t> prompt;
  uint32_t state = uint32_t(seed) * 2654435761u + 1;
  for (int i = 0; i < length; ++i) {
    state = state * 1664525u + 1013904223u;
    prompt.push_back(int32_t((state >> 16) % 512));
  }
  return prompt;
}

}  // namespace oss::test
