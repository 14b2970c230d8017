#include "native/engine/scheduler.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace oss {

// The limit of the seconds of waiting that a priority is worth. Near 0 each unit of priority is worth about one second.
constexpr double kMostSeconds = 30;

static Clock::duration head_start(const Sequence& sequence) {
  const double priority = sequence.request().priority;
  const double seconds = kMostSeconds * priority / (kMostSeconds + std::abs(priority));
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// Whether a goes before b, among the waiting sequences of one tenant and among all running ones.
static bool before(const Sequence& a, const Sequence& b) {
  const auto came_a = a.submitted - head_start(a), came_b = b.submitted - head_start(b);
  return came_a != came_b ? came_a < came_b : a.arrival < b.arrival;
}

// Whether tenant a starts its next sequence before tenant b does.
static bool has_turn_before(const Tenant& a, const Tenant& b) {
  if (a.running != b.running) return a.running < b.running;
  const auto since = [](const Tenant& t) { return std::max(t.next->submitted, t.last_start) - head_start(*t.next); };
  return since(a) != since(b) ? since(a) < since(b) : before(*a.next, *b.next);
}

// Null when there is no tenant.
static const Tenant* tenant_with_most(const std::map<std::string, Tenant>& tenants) {
  const auto fewer = [](const auto& a, const auto& b) { return a.second.requests < b.second.requests; };
  const auto most = std::max_element(tenants.begin(), tenants.end(), fewer);
  return most == tenants.end() ? nullptr : &most->second;
}

// A further choice of a request waits until the first one has computed the prompt, and then shares its pages.
static bool may_start(const Sequence& sequence) {
  return !sequence.idle() && (sequence.choice == 0 || sequence.shared->prompt_is_known);
}

// The number of rows of logits: those that the request asks for, then one for each further token.
static int64_t wanted_rows(const Sequence& sequence) {
  return sequence.completion() > 0 ? 1 : std::max<int64_t>(1, sequence.request().logits_last);
}

Scheduler::Scheduler(SchedulerLimits limits, KvCache& cache) : limits_(limits), cache_(cache) {
  running_.reserve(size_t(limits.max_sequences));
  parts_.reserve(size_t(limits.max_sequences));
}

void Scheduler::add(std::unique_ptr<Sequence> sequence) {
  const size_t most = waiting_.size() + running_.size() + 1;
  if (waiting_.capacity() < most) waiting_.reserve(2 * most);
  sequence->tenant = &tenants_[sequence->request().tenant];
  ++sequence->tenant->sequences;
  waiting_.push_back(std::move(sequence));
}

// Null when no waiting sequence may start.
Sequence* Scheduler::next_to_start() {
  for (auto& [name, tenant] : tenants_) {
    tenant.running = 0;
    tenant.next = nullptr;
  }
  for (const auto& sequence : running_) sequence->tenant->running += !sequence->idle();
  for (const auto& sequence : waiting_) {
    if (!may_start(*sequence)) continue;
    Sequence*& next = sequence->tenant->next;
    if (next == nullptr || before(*sequence, *next)) next = sequence.get();
  }
  const Tenant* first = nullptr;
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.next != nullptr && (first == nullptr || has_turn_before(tenant, *first))) first = &tenant;
  }
  return first == nullptr ? nullptr : first->next;
}

void Scheduler::admit(Clock::time_point now) {
  while (Sequence* next = next_to_start()) {
    const bool full = int(running_.size()) >= limits_.max_sequences;
    if (full || !start(*next, now)) {
      // A sequence that cannot continue gives its place and pages to one that can.
      const auto idle = std::find_if(running_.rbegin(), running_.rend(), [](const auto& s) { return s->idle(); });
      if (idle == running_.rend()) return;
      preempt(size_t(running_.rend() - idle) - 1);
      continue;
    }
    const auto at = std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& s) { return s.get() == next; });
    std::unique_ptr<Sequence> sequence = std::move(*at);
    waiting_.erase(at);
    sequence->running = true;
    sequence->tenant->last_start = now;
    const auto place =
        std::find_if(running_.begin(), running_.end(), [&](const auto& s) { return before(*sequence, *s); });
    running_.insert(place, std::move(sequence));
  }
}

// Reuses the pages that the cache knows for a sequence without pages.
void Scheduler::find(Sequence& sequence) {
  const int64_t limit = int64_t(sequence.tokens.size()) - wanted_rows(sequence);
  sequence.computed = cache_.reuse(sequence.pages, sequence.tokens, limit, sequence.request().salt);
  // Counts the prompt only: a preempted sequence finds its own tokens again.
  if (sequence.completion() == 0 && !sequence.was_preempted) sequence.cached_tokens = sequence.computed;
}

// Reuses known pages and checks that there is room for the rest; the pages are taken chunk by chunk.
bool Scheduler::start(Sequence& sequence, Clock::time_point now) {
  find(sequence);
  const auto needed = cache_.pages_needed(int64_t(sequence.tokens.size()), limits_.max_tokens);
  for (const KvGroup group : {kKvFull, kKvWindow}) {
    int64_t held = 0;
    for (const int32_t page : sequence.pages.table[group]) held += page >= 0;
    if (needed[group] - held > cache_.stats(group).free) {
      cache_.release(sequence.pages);
      sequence.computed = 0;
      return false;
    }
  }
  if (sequence.admitted == Clock::time_point{}) sequence.admitted = now;
  return true;
}

void Scheduler::preempt(size_t index) {
  std::unique_ptr<Sequence> sequence = std::move(running_[index]);
  running_.erase(running_.begin() + std::ptrdiff_t(index));
  cache_.release(sequence->pages);
  sequence->computed = 0;
  sequence->was_preempted = true;
  sequence->running = false;
  sequence->logits.clear();
  std::erase_if(parts_, [&](const Part& part) { return part.sequence == sequence.get(); });
  waiting_.push_back(std::move(sequence));
  ++preemptions_;
}

int Scheduler::num_blocked() const {
  const auto blocked = [](const auto& sequence) { return sequence->waits_for_client(); };
  return int(std::count_if(running_.begin(), running_.end(), blocked) +
             std::count_if(waiting_.begin(), waiting_.end(), blocked));
}

// Preempts a sequence to free pages for `for_whom`. False when only those before it in order are left: it lost its own.
bool Scheduler::preempt_one(const Sequence* for_whom) {
  size_t victim = running_.size();
  for (size_t i = running_.size(); i-- > 0 && victim == running_.size();) {
    if (running_[i]->idle() && running_[i].get() != for_whom) victim = i;
  }
  if (victim == running_.size()) victim = running_.size() - 1;
  const bool itself = running_[victim].get() == for_whom;
  preempt(victim);
  return !itself;
}

bool Scheduler::reserve(Sequence& sequence, int64_t tokens) {
  while (!cache_.reserve(sequence.pages, sequence.computed, sequence.computed + tokens)) {
    if (!preempt_one(&sequence)) return false;
  }
  return true;
}

// Takes the pages of tokens that a bench assumes to be computed; in chunks, because window layers give pages back.
bool Scheduler::assume(Sequence& sequence) {
  const int64_t assumed = std::min(sequence.request().assumed_tokens, int64_t(sequence.request().prompt.size()) - 1);
  while (sequence.computed < assumed) {
    const int64_t tokens = std::min<int64_t>(assumed - sequence.computed, limits_.max_tokens);
    if (!reserve(sequence, tokens)) return false;
    sequence.computed += tokens;
  }
  return true;
}

// The number of tokens of a prompt, after `context` tokens, for which the other parts of the step leave time.
int64_t Scheduler::most_beside(int64_t context) const {
  constexpr int64_t kFewest = 12;  // max_tokens / 12: a step also has costs that do not depend on its number of tokens
  const int64_t same = limits_.context_of_a_token;
  if (!anybody_decodes_ || same == 0) return limits_.max_tokens;
  int64_t work = limits_.max_tokens;
  for (const Part& part : parts_) {
    work -= part.sequence->uncomputed() == 1 ? part.tokens : part.tokens * (same + part.begin) / same;
  }
  return work <= 0 ? 0 : std::max({work * same / (same + context), limits_.max_tokens / kFewest, int64_t(1)});
}

void Scheduler::take(Sequence& sequence) {
  int64_t tokens_left = limits_.max_tokens, rows_left = limits_.max_rows;
  for (const Part& part : parts_) {
    if (part.sequence == &sequence) return;
    tokens_left -= part.tokens;
    rows_left -= part.rows;
  }
  // A prompt that was admitted together with an equal one finds here the pages that the other has computed since then.
  if (sequence.pages.table[kKvFull].empty()) find(sequence);
  if (!assume(sequence)) return;
  const int64_t uncomputed = sequence.uncomputed();
  // The wanted rows lie at the end: a chunk that stops before the end of the prompt has only some of them.
  const int64_t without_rows = std::max<int64_t>(uncomputed - wanted_rows(sequence), 0);
  int64_t tokens = std::min({uncomputed, tokens_left, without_rows + rows_left});
  if (uncomputed > 1) tokens = std::min(tokens, most_beside(sequence.computed));
  if (tokens <= 0 || !reserve(sequence, tokens)) return;
  parts_.push_back({&sequence, tokens, std::max<int64_t>(tokens - without_rows, 0), sequence.computed});
}

const std::vector<Scheduler::Part>& Scheduler::plan(Clock::time_point now) {
  parts_.clear();
  admit(now);
  std::vector<Sequence*> decodes, prompts;
  for (const auto& sequence : running_) {
    if (!sequence->blocked()) (sequence->uncomputed() == 1 ? decodes : prompts).push_back(sequence.get());
  }
  // Prompts keep a quarter of the step, so that many decodes leave a new prompt more than a few tokens. The decodes
  // then take turns: those that have waited longest go first.
  anybody_decodes_ = !decodes.empty();
  const size_t most_decodes = size_t(std::max<int64_t>(1, limits_.max_tokens * 3 / 4));
  if (!prompts.empty() && decodes.size() > most_decodes) {
    std::stable_sort(decodes.begin(), decodes.end(), [](auto* a, auto* b) { return a->last_step < b->last_step; });
    decodes.resize(most_decodes);
  }
  for (const auto* group : {&decodes, &prompts}) {
    for (Sequence* sequence : *group) {
      if (sequence->running) take(*sequence);  // an earlier one may have taken its pages
    }
  }
  ++step_;
  for (const Part& part : parts_) part.sequence->last_step = step_;
  return parts_;
}

std::vector<Scheduler::Part> Scheduler::plan_ahead(const std::vector<Part>& parts) {
  std::vector<Part> ahead;
  const auto able = std::count_if(running_.begin(), running_.end(), [](const auto& s) { return !s->blocked(); });
  const bool full = able >= limits_.max_sequences;  // the place of a blocked sequence counts as free
  const bool somebody_waits =
      std::any_of(waiting_.begin(), waiting_.end(), [](const auto& s) { return !s->blocked(); });
  if (parts.size() != size_t(able) || (somebody_waits && !full)) return {};
  // Logits that come back are sampled at once, in place of those of the step that runs.
  for (const auto* list : {&running_, &waiting_}) {
    if (std::any_of(list->begin(), list->end(), [](const auto& s) { return s->processing; })) return {};
  }
  int row = 0;
  for (const Part& part : parts) {
    if (part.sequence == nullptr) return {};  // it has ended since the step was planned, so others may start
    Sequence& sequence = *part.sequence;
    const Request& request = sequence.request();
    const int64_t begin = part.begin + part.tokens;
    // Its prompt is not complete, or its logits go elsewhere.
    if (part.rows != 1 || request.logits_last > 0 || request.processed || sequence.blocked()) return {};
    const int64_t said = begin - int64_t(request.prompt.size());  // tokens before this step
    if (said + 1 < request.max_tokens) {
      if (!cache_.reserve(sequence.pages, begin, begin + 1)) return {};
      ahead.push_back({&sequence, 1, 1, begin, row});
    }
    ++row;
  }
  if (!ahead.empty()) ++step_;
  for (const Part& part : ahead) part.sequence->last_step = step_;
  return ahead;
}

void Scheduler::advance(const Part& part) {
  Sequence& sequence = *part.sequence;
  sequence.computed += part.tokens;
  cache_.commit(sequence.pages, sequence.tokens, sequence.computed, sequence.request().salt);
  if (sequence.computed >= int64_t(sequence.request().prompt.size())) sequence.shared->prompt_is_known = true;
}

std::unique_ptr<Sequence> Scheduler::remove(Sequence* sequence) {
  for (auto* list : {&running_, &waiting_}) {
    const auto at = std::find_if(list->begin(), list->end(), [&](const auto& s) { return s.get() == sequence; });
    if (at == list->end()) continue;
    std::unique_ptr<Sequence> taken = std::move(*at);
    list->erase(at);
    cache_.release(taken->pages);
    if (--taken->tenant->sequences == 0) tenants_.erase(tenants_.find(taken->request().tenant));
    taken->tenant = nullptr;
    return taken;
  }
  return nullptr;
}

void Scheduler::count_waiting() {
  for (auto& [name, tenant] : tenants_) tenant.requests = 0;
  for (const auto& sequence : waiting_) sequence->tenant->requests += counts_as_waiting(sequence);
}

Sequence* Scheduler::to_displace() {
  count_waiting();
  const Tenant* most = tenant_with_most(tenants_);
  Sequence* newest = nullptr;
  for (const auto& sequence : waiting_) {
    if (sequence->tenant != most || !counts_as_waiting(sequence) || sequence->was_preempted) continue;
    if (newest == nullptr || sequence->arrival > newest->arrival) newest = sequence.get();
  }
  return newest;
}

int Scheduler::num_aside_requests() {
  for (auto& [name, tenant] : tenants_) tenant.requests = 0;
  ++counts_;
  int requests = 0;
  for (const auto& sequence : waiting_) {
    if (!stands_aside(sequence) || std::exchange(sequence->shared->counted, counts_) == counts_) continue;
    ++sequence->tenant->requests;
    ++requests;
  }
  return requests;
}

Sequence* Scheduler::longest_aside() {
  num_aside_requests();
  const Tenant* most = tenant_with_most(tenants_);
  Sequence* longest = nullptr;
  for (const auto& sequence : waiting_) {
    if (sequence->tenant != most || !stands_aside(sequence)) continue;
    if (longest == nullptr || sequence->blocked_at < longest->blocked_at) longest = sequence.get();
  }
  return longest;
}

std::vector<Sequence*> Scheduler::all() const {
  std::vector<Sequence*> out;
  for (const auto* list : {&running_, &waiting_}) {
    for (const auto& sequence : *list) out.push_back(sequence.get());
  }
  return out;
}

}  // namespace oss
