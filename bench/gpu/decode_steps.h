// The time of decode steps of a batch in the engine, measured at the client, and their output.
#pragma once
#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "native/base/error.h"
#include "native/engine/engine.h"

namespace oss {

struct DecodeSteps {
  int batch = 1, prompt = 2048;  // sequences, and tokens before each
  int samples = 1, steps = 64;   // a sample is the mean of `steps` steps
  int warm = 0;                  // steps before the first sample
  bool assumed = false;          // the prompt is not computed: its keys and values are the zeros of the cache
};

class DecodeBench {
 public:
  static constexpr uint64_t kFnv = 1469598103934665603u;
  struct Result {
    std::vector<double> microseconds;     // of a step, by sample; only steps in which all sequences decode
    uint64_t tokens = kFnv, bits = kFnv;  // hashes of all tokens, and of their log probabilities as well
  };

  DecodeBench(const std::string& model, int max_sequences, int64_t context_length)
      : engine_(
            model,
            {.backend = "cuda",
             .context_length = context_length,
             .max_sequences = max_sequences,
             .prefix_cache = false},
            [](const LoadProgress&) {}, [] { return false; }),
        client_(engine_.connect([this] {
          const std::lock_guard lock(mutex_);
          woken_ = true;
          changed_.notify_all();
        })) {}
  ~DecodeBench() { engine_.disconnect(client_); }

  // Greedy; each sequence has a different prompt, and every run has the same prompts.
  Result run(const DecodeSteps& wanted) {
    std::vector<Request> requests;
    for (int i = 0; i < wanted.batch; ++i) requests.push_back(request_of(wanted, i));
    for (Request& request : requests) engine_.submit(std::move(request));

    std::vector<Heard> sequences(size_t(wanted.batch));
    for (int ended = 0; ended < wanted.batch;) ended += take(sequences);
    const auto begins_last = std::max_element(sequences.begin(), sequences.end(), [](const Heard& a, const Heard& b) {
      return a.arrivals.front() < b.arrivals.front();
    });
    Clock::time_point end = Clock::time_point::max();
    Result result;
    for (const Heard& sequence : sequences) {
      end = std::min(end, sequence.arrivals.back());
      for (const Sampled& sampled : sequence.sampled) {
        result.tokens = (result.tokens ^ uint32_t(sampled.token)) * kFnvPrime;
        result.bits = (result.bits ^ uint32_t(sampled.token)) * kFnvPrime;
        result.bits = (result.bits ^ std::bit_cast<uint32_t>(sampled.logprob)) * kFnvPrime;
      }
    }
    const std::vector<Clock::time_point>& at = begins_last->arrivals;
    for (int sample = 0; sample < wanted.samples; ++sample) {
      const size_t from = size_t(wanted.warm + sample * wanted.steps), to = from + size_t(wanted.steps);
      if (to >= at.size() || at[to] > end) break;
      const std::chrono::duration<double, std::micro> time = at[to] - at[from];
      result.microseconds.push_back(time.count() / wanted.steps);
    }
    return result;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr uint64_t kFnvPrime = 1099511628211u;
  struct Heard {                              // of a sequence
    std::vector<Clock::time_point> arrivals;  // of its tokens
    std::vector<Sampled> sampled;
  };

  Request request_of(const DecodeSteps& wanted, int i) const {
    // The first sequences already decode while the last prompts are computed.
    const int before = wanted.batch > 1 && !wanted.assumed
                           ? wanted.batch * wanted.prompt / engine_.info().max_batch_tokens + wanted.batch
                           : 0;
    Request request;
    request.client = client_;
    request.id = uint64_t(i);
    for (int t = 0; t < wanted.prompt; ++t)
      request.prompt.push_back((t * 7919 + i * 104729 + 17) % engine_.info().model.vocab);
    if (wanted.assumed) request.assumed_tokens = wanted.prompt - 1;
    request.max_tokens = 1 + wanted.warm + wanted.samples * wanted.steps + before;
    request.sampling.temperature = 0;
    request.sampling.top_p = 1;
    request.sampling.repetition_penalty = 1;
    return request;
  }

  // Waits for events; returns the number of sequences that have ended.
  int take(std::vector<Heard>& sequences) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return woken_; });
      woken_ = false;
    }
    const Clock::time_point now = Clock::now();
    int ended = 0;
    for (const Event& event : engine_.take_events(client_)) {
      if (event.kind == Event::Kind::kError) throw Error(event.code, event.message);
      ended += event.kind == Event::Kind::kDone;
      if (event.kind != Event::Kind::kToken) continue;
      Heard& sequence = sequences[event.id];
      sequence.arrivals.push_back(now);
      sequence.sampled.push_back(event.sampled);
    }
    return ended;
  }

  Engine engine_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  uint64_t client_;
};

}  // namespace oss
