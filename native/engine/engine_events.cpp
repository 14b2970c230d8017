// How the engine's thread reports events of requests, ends or fails them, and wakes their clients.
#include <algorithm>
#include <utility>

#include "native/base/str.h"
#include "native/engine/engine.h"

namespace oss {

void Engine::end(Sequence& sequence, FinishReason reason, std::string text) {
  Event event{
      .kind = Event::Kind::kDone, .text = std::move(text), .reason = reason, .cached_tokens = sequence.cached_tokens};
  const auto now = Clock::now();
  const bool admitted = sequence.admitted != Clock::time_point{};
  const bool answered = sequence.first_token != Clock::time_point{};
  event.timings.queue_ms = ms_between(sequence.submitted, admitted ? sequence.admitted : now);
  if (admitted) event.timings.prefill_ms = ms_between(sequence.admitted, answered ? sequence.first_token : now);
  if (answered) event.timings.decode_ms = ms_between(sequence.first_token, sequence.last_token);
  tell(sequence, std::move(event));
  // Once the first choice has ended, the others compute the prompt themselves.
  sequence.shared->prompt_is_known = true;
  remove(sequence);
}

// Fails all choices of a request. They are removed later, since the caller may be iterating over a list of them.
void Engine::fail(Sequence& sequence, const Error& error) {
  tell(sequence, {.kind = Event::Kind::kError, .code = error.code(), .message = error.what(), .field = error.field()});
  sequence.shared->failed = true;  // set after tell(), which may throw
  if (sequence.request().compiling != nullptr) sequence.request().compiling->cancelled = true;  // see compiled()
  any_failed_ = true;
}

void Engine::remove_failed() {
  if (!std::exchange(any_failed_, false)) return;
  for (Sequence* sequence : scheduler_->all()) {
    if (sequence->shared->failed) remove(*sequence);
  }
}

// Ends the requests above the limits: waiting ones, as submit() describes, and those whose clients do not read.
void Engine::make_room() {
  const auto refuse = [this](Sequence* sequence, const std::string& message) {
    if (sequence == nullptr) return false;
    fail(*sequence, Error(Code::kQueueFull, message));
    remove_failed();
    return true;
  };
  if (std::exchange(any_displaces_, false)) {
    while (scheduler_->num_waiting_requests() > info_.max_queue &&
           refuse(scheduler_->to_displace(),
                  str("the queue holds ", info_.max_queue, " waiting requests, its maximum, and a tenant with fewer ",
                      "waiting requests takes the place of this one"))) {
    }
  }
  while (scheduler_->num_aside_requests() > info_.max_queue &&
         refuse(scheduler_->longest_aside(), str("the tokens of this request were not read, and ", info_.max_queue,
                                                 " other requests are set aside for the same reason"))) {
  }
}

// The device may be computing the sequence's next token: that token is discarded.
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
  if (!request.author) {
    outbox_.push_back({request.client, std::move(event)});
    return;
  }
  const bool is_token = event.kind == Event::Kind::kToken;
  if (is_token && sequence.withheld.size() + 1 < size_t(request.author->tokens_per_step)) {
    sequence.withheld.push_back(std::move(event));
    return;
  }
  // Reserve for all events before moving any: a moved event must not be posted twice.
  const size_t events = outbox_.size() + sequence.withheld.size() + 1;
  if (outbox_.capacity() < events) outbox_.reserve(2 * events);
  for (Event& withheld : sequence.withheld) outbox_.push_back({request.client, std::move(withheld)});
  outbox_.push_back({request.client, std::move(event)});
  sequence.withheld.clear();
  if (is_token) author_ms_ = std::max(author_ms_, request.author->step_ms);
}

// The caller holds the lock. Allocates nothing: submit() has added the entry of each tenant.
void Engine::count_queue() {
  for (auto& [tenant, requests] : queued_by_tenant_) requests = 0;
  queued_ = 0;
  const auto note = [this](const std::string& tenant, int requests) {
    queued_by_tenant_.find(tenant)->second += requests;
    queued_ += requests;
  };
  scheduler_->each_waiting_tenant(note);
  for (const Command& command : commands_) {
    if (const auto* request = std::get_if<Request>(&command)) note(request->tenant, 1);
  }
  std::erase_if(queued_by_tenant_,
                [this](const auto& entry) { return !scheduler_->knows(entry.first) && entry.second == 0; });
}

void Engine::publish() {
  counters_.running = scheduler_->num_running();
  counters_.blocked = scheduler_->num_blocked();
  counters_.aside = scheduler_->num_aside();
  counters_.preemptions = scheduler_->preemptions();
  for (const KvGroup group : {kKvFull, kKvWindow}) counters_.pages[group] = cache_->stats(group);
  std::lock_guard lock(mutex_);
  stats_ = counters_;
  count_queue();
  auto next = outbox_.begin();
  try {
    for (; next != outbox_.end(); ++next) post(next->first, std::move(next->second));
  } catch (...) {  // no event may be posted twice
    outbox_.erase(outbox_.begin(), next);
    throw;
  }
  outbox_.clear();
}

}  // namespace oss
