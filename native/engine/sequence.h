// A request, and the state of each of its choices in the engine.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/common/args.h"
#include "native/backend/backend.h"
#include "native/base/error.h"
#include "native/engine/author.h"
#include "native/engine/constraint_job.h"
#include "native/engine/kv_cache.h"
#include "native/engine/mask_job.h"
#include "native/engine/text_stream.h"
#include "native/grammar/matcher.h"

namespace oss {

using Clock = std::chrono::steady_clock;

inline double ms_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

struct Request {
  uint64_t client = 0;  // receives the events
  uint64_t id = 0;      // a number that the client chose
  std::vector<int32_t> prompt;
  int choices = 1;
  int64_t max_tokens = 0;            // the limit of each completion
  int64_t min_tokens = 0;            // stop tokens are banned before this number
  std::vector<int32_t> stop_tokens;  // sorted; the one that ends the completion is its last token
  std::shared_ptr<const StopStrings> stop_strings;
  SamplingArgs sampling{};  // `position` and `choice` are filled in per draw
  std::vector<SamplingContext::Bias> bias;
  int top_logprobs = 0;
  int priority = 0;               // higher runs earlier, in [-1000, 1000]
  std::string tenant{};           // the tenant: tenants take turns, and share the queue
  std::string salt;               // only requests with the same salt share prefixes
  bool processed = false;         // logits go through the client before each draw
  std::string constraint_text{};  // the format of the completion; empty: any text, or `constraint`
  std::shared_ptr<const grammar::Constraint> constraint;  // the compiled constraint
  int64_t logits_last = 0;  // > 0: return the logits of the last positions of the prompt, and no completion
  bool scored = false;      // with logits_last: return the log probabilities of the prompt's tokens, and no logits
  // The number of first prompt tokens that are not computed: their cache entries stay unchanged. For decode benches.
  int64_t assumed_tokens = 0;
  std::shared_ptr<const Author> author{};  // null: the model writes
  std::string adapter_name{};              // of one that the engine has loaded; empty: none
  // Filled in by the engine.
  std::shared_ptr<const AdapterWeights> adapter{};  // keeps an adapter that is unloaded meanwhile
  std::shared_ptr<ConstraintJob> compiling{};
  Clock::time_point submitted{};
  bool displaces = false;  // taken into a full queue: a request of the tenant with the most requests gives up its place
};

enum class FinishReason { kStop, kLength, kCancelled };

struct Timings {
  double queue_ms = 0, prefill_ms = 0, decode_ms = 0;  // waiting; until the first token; from the first to the last
};

// What the engine reports about a request. One with a constraint text begins with kAccepted, unless it ends before.
// Each choice ends with one kDone, or all of them with one kError.
struct Event {
  enum class Kind { kAccepted, kToken, kProcess, kLogits, kScores, kDone, kError };
  uint64_t id = 0;
  int choice = 0;
  Kind kind = Kind::kToken;
  std::vector<grammar::Relaxed> relaxed{};  // in kAccepted
  Sampled sampled{};
  std::string text{};             // the text of a token; in kDone: the text that was held back
  std::vector<int32_t> tokens{};  // in kProcess: prompt and completion
  std::vector<float> logits{};    // [vocab] or [logits_last, vocab]
  std::vector<Sampled> scores{};  // in kScores: adjacent tokens of the prompt. A preempted sequence repeats them
  int64_t first = 0;              // in kScores: the place of the first of them in the prompt
  FinishReason reason = FinishReason::kStop;
  int64_t cached_tokens = 0;
  Timings timings{};
  Code code = Code::kInternal;
  std::string message{}, field{};
};

// State that the choices of one request share.
struct SharedRequest {
  explicit SharedRequest(Request r) : request(std::move(r)) {}
  ~SharedRequest() {
    if (request.compiling != nullptr) request.compiling->cancelled = true;
  }
  SharedRequest(const SharedRequest&) = delete;
  SharedRequest& operator=(const SharedRequest&) = delete;
  const Request request;
  bool prompt_is_known = false;  // the first choice has computed the prompt: the others find its pages
  bool failed = false;           // its client was notified
  uint64_t counted = 0;          // used by the scheduler: the last count that included it
};

struct Tenant;

struct Sequence {
  Sequence(std::shared_ptr<SharedRequest> from, int index, uint64_t arrival_number)
      : shared(std::move(from)),
        choice(index),
        arrival(arrival_number),
        tokens(request().prompt),
        text(request().stop_strings) {
    const SamplingArgs& sampling = request().sampling;
    penalized = sampling.repetition_penalty != 1 || sampling.presence_penalty != 0 || sampling.frequency_penalty != 0;
    for (const int32_t token : tokens) count(token, 0);
    compiling = request().compiling != nullptr;
    if (request().constraint != nullptr) hold_to(request().constraint);
  }
  ~Sequence() {
    if (masking != nullptr) masking->cancelled = true;
  }

  void hold_to(std::shared_ptr<const grammar::Constraint> constraint) {
    const bool is_free = request().author != nullptr && !request().author->is_held;
    if (!is_free) matcher = std::make_shared<grammar::Matcher>(std::move(constraint));
    compiling = false;
  }

  // Counts a token for the penalties.
  void count(int32_t token, int32_t in_completion) {
    if (!penalized) return;
    const auto [at, is_new] = seen_at.try_emplace(token, seen.size());
    if (is_new) seen.push_back({token, 0});
    seen[at->second].in_completion += in_completion;
  }

  const Request& request() const { return shared->request; }
  int64_t completion() const { return int64_t(tokens.size() - request().prompt.size()); }
  int64_t uncomputed() const { return int64_t(tokens.size()) - computed; }
  bool waits_for_client() const { return paused || processing; }
  // Whether it waits for an unknown time: other sequences may take its place.
  bool idle() const { return waits_for_client() || compiling; }
  bool blocked() const { return idle() || masking != nullptr; }
  // Takes the masks that the matcher has made.
  void set_mask(const grammar::TokenMask* made) {
    mask = made;
    wished = is_cut || made == nullptr ? nullptr : matcher->without_limit();
  }
  // Whether its next token is constrained and the mask is not made yet.
  bool needs_mask() const { return matcher != nullptr && mask == nullptr && !constraint_failure; }

  std::shared_ptr<SharedRequest> shared;
  int choice;
  uint64_t arrival;             // orders sequences of one priority
  std::vector<int32_t> tokens;  // prompt, then completion
  int64_t computed = 0;         // tokens whose keys and values are in the cache
  SequencePages pages;
  TextStream text;
  std::shared_ptr<grammar::Matcher> matcher;   // null: unconstrained
  const grammar::TokenMask* mask = nullptr;    // the matcher's, of the next token; null: not made
  const grammar::TokenMask* wished = nullptr;  // beside the mask, the one without the limit of the request, if another
  std::shared_ptr<MaskJob> masking;            // uses the matcher until the mask is made
  bool masks_are_slow = false;                 // the last one was
  bool is_cut = false;                         // the limit alone made the constraint end
  std::optional<Error> constraint_failure;     // why its constraint cannot continue
  std::vector<float> logits;                   // collected for logits_last
  std::vector<Event> withheld;                 // tokens of an author that are reported together
  // For penalties, if there are any: every distinct token, and its index in the list.
  bool penalized = false;
  std::vector<SamplingContext::Seen> seen;
  std::unordered_map<int32_t, size_t> seen_at;
  int64_t cached_tokens = 0;  // prompt tokens that were found in the cache
  Clock::time_point submitted = request().submitted, admitted{}, first_token{}, last_token{};
  bool paused = false;             // its reader is far behind
  Clock::time_point blocked_at{};  // since when it has waited for its client
  bool processing = false;         // its logits are with the client
  bool compiling = false;          // its constraint is not compiled yet
  // Used by the scheduler only.
  bool running = false, was_preempted = false;
  Tenant* tenant = nullptr;
  uint64_t last_step = 0;  // the last step in which it had a part
};

}  // namespace oss
