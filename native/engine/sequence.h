// A request, and what becomes of it on its way through the engine.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/common/args.h"
#include "native/base/error.h"

namespace oss {

using Clock = std::chrono::steady_clock;

struct Request {
  uint64_t id = 0;
  std::vector<int32_t> prompt;
  int64_t max_tokens = 0;              // of the completion
  std::vector<int32_t> stop_tokens;    // sorted; the one that ends the completion is its last token
  SamplingArgs sampling{};             // `position` is filled in per token
  int64_t logits_last = 0;             // > 0: no completion; the logits of the last positions of the prompt instead
};

enum class FinishReason { kStop, kLength, kCancelled };

struct Timings {
  double queue_ms = 0, prefill_ms = 0, decode_ms = 0;  // waiting; until the first token; from the first to the last
};

// What the engine tells about a request. Exactly one kDone or kError ends it.
struct Event {
  enum class Kind { kToken, kLogits, kDone, kError };
  uint64_t id = 0;
  Kind kind = Kind::kToken;
  int32_t token = 0;
  float logprob = 0;
  FinishReason reason = FinishReason::kStop;
  Timings timings{};
  std::vector<float> logits{};  // [logits_last, vocab]
  Code code = Code::kInternal;
  std::string message{};
};

struct Sequence {
  explicit Sequence(Request r) : request(std::move(r)), tokens(request.prompt) {}

  Request request;
  std::vector<int32_t> tokens;  // prompt, then completion
  int64_t computed = 0;         // tokens whose keys and values are in the cache
  std::vector<int32_t> pages;   // of the KV cache, in order
  std::vector<float> logits;    // collected for logits_last
  Clock::time_point submitted = Clock::now(), admitted{}, first_token{}, last_token{};
  bool cancelled = false;

  int64_t completion() const { return int64_t(tokens.size() - request.prompt.size()); }
  int64_t uncomputed() const { return int64_t(tokens.size()) - computed; }
};

}  // namespace oss
