// What the engine's thread tells of requests, how they end or fail, and how clients hear of it.
#include <algorithm>
#include <utility>

#include "native/engine/engine.h"

namespace oss {

void Engine::end(Sequence& sequence, FinishReason reason, std::string text) {
  Event event{.kind = Event::Kind::kDone, .text = std::move(text), .reason = reason, .cached_tokens = sequence.cached_tokens};
  const auto now = Clock::now();
  const bool admitted = sequence.admitted != Clock::time_point{};
  const bool answered = sequence.first_token != Clock::time_point{};
  event.timings.queue_ms = ms_between(sequence.submitted, admitted ? sequence.admitted : now);
  if (admitted) event.timings.prefill_ms = ms_between(sequence.admitted, answered ? sequence.first_token : now);
  if (answered) event.timings.decode_ms = ms_between(sequence.first_token, sequence.last_token);
  tell(sequence, std::move(event));
  // Without its first choice, the others compute the prompt themselves.
  sequence.shared->prompt_is_known = true;
  remove(sequence);
}

// Ends all choices of a request, soon: those who call this may be in the middle of a list of them.
void Engine::fail(Sequence& sequence, const Error& error) {
  tell(sequence, {.kind = Event::Kind::kError, .code = error.code(), .message = error.what()});
  sequence.shared->failed = true;  // now that it was told
  any_failed_ = true;
}

void Engine::remove_failed() {
  if (!std::exchange(any_failed_, false)) return;
  for (Sequence* sequence : scheduler_->all()) {
    if (sequence->shared->failed) remove(*sequence);
  }
}

// The device may be computing its next token: nobody will ask for that.
void Engine::remove(Sequence& sequence) {
  if (ahead_) {
    for (Scheduler::Part& part : ahead_->parts) {
      if (part.sequence == &sequence) part.sequence = nullptr;
    }
  }
  scheduler_->remove(&sequence);
}

void Engine::fail_all(Code code, const std::string& message) {
  for (Sequence* sequence : scheduler_->all()) {
    if (!std::exchange(sequence->shared->failed, true)) {
      tell(*sequence, {.kind = Event::Kind::kError, .code = code, .message = message});
    }
    remove(*sequence);
  }
}

void Engine::tell(Sequence& sequence, Event event) {
  const Request& request = sequence.request();
  event.id = request.id;
  event.choice = sequence.choice;
  if (!request.script) {
    outbox_.push_back({request.client, std::move(event)});
    return;
  }
  const bool is_token = event.kind == Event::Kind::kToken;
  if (is_token && sequence.withheld.size() + 1 < size_t(request.script->tokens_per_step)) {
    sequence.withheld.push_back(std::move(event));
    return;
  }
  // Room for all of them, or none is told: what was moved must not be told again.
  const size_t events = outbox_.size() + sequence.withheld.size() + 1;
  if (outbox_.capacity() < events) outbox_.reserve(2 * events);
  for (Event& withheld : sequence.withheld) outbox_.push_back({request.client, std::move(withheld)});
  outbox_.push_back({request.client, std::move(event)});
  sequence.withheld.clear();
  if (is_token) script_ms_ = std::max(script_ms_, request.script->step_ms);
}

void Engine::publish() {
  counters_.running = scheduler_->num_running();
  counters_.blocked = scheduler_->num_blocked();
  counters_.preemptions = scheduler_->preemptions();
  for (const KvGroup group : {kKvFull, kKvWindow}) counters_.pages[group] = cache_->stats(group);
  std::lock_guard lock(mutex_);
  stats_ = counters_;
  queued_ = scheduler_->num_waiting_requests();
  for (const Command& command : commands_) queued_ += std::holds_alternative<Request>(command);
  auto next = outbox_.begin();
  try {
    for (; next != outbox_.end(); ++next) post(next->first, std::move(next->second));
  } catch (...) {  // nothing is told twice
    outbox_.erase(outbox_.begin(), next);
    throw;
  }
  outbox_.clear();
}

}  // namespace oss
