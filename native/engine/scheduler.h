// Which sequences run in the next step, and how many tokens of each. Pure: its inputs are counts, page numbers and a
// time that the caller reads.
//
// Waiting sequences of one tenant start in the order of arrival. A priority counts as up to 30 seconds of waiting: a
// sequence starts before all that arrived 60 seconds after it, whatever their priorities. Among tenants, the one with
// the fewest running sequences is next. Ties go to the tenant that has waited longest since it arrived or since its
// last start, with priorities counted in the same way. So a tenant with a single request need not wait behind another
// one's hundred. A sequence starts when there are free pages for all its tokens.
//
// Every running sequence past its prompt gets its next token. The rest of max_tokens, a quarter at least, goes to
// prompts. Deep in a prompt each token attends to a long context. There a step takes fewer prompt tokens beside
// decodes, so that these wait hardly longer than at the beginning of a prompt. When pages run out, one sequence gives
// up its pages and computes its tokens again later: a blocked one, else the last to have arrived. Priorities count
// there as in waiting. So no sequence loses its pages to one that arrived 60 seconds after it.
//
// A sequence that waits for its client (a slow reader, or logits to come back) keeps its place until another sequence
// needs it. Then it stands aside: it does not count as waiting until its client is back.
//
// When an allocation fails, std::bad_alloc is thrown, and every sequence still exists and has its pages.
#pragma once
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "native/engine/sequence.h"

namespace oss {

struct SchedulerLimits {
  int max_sequences;               // running at once
  int64_t max_tokens;              // the most tokens of a step
  int64_t max_rows;                // the most rows of logits of a step
  int64_t context_of_a_token = 0;  // context that takes as long as the rest of one token; 0: takes no time
};

// The state of a tenant while it has sequences here.
struct Tenant {
  int sequences = 0;
  Clock::time_point last_start{};
  // Computed anew for each use.
  int running = 0, requests = 0;
  Sequence* next = nullptr;
};

class Scheduler {
 public:
  struct Part {
    Sequence* sequence;
    int64_t tokens;      // its next tokens
    int64_t rows;        // logits of the last `rows` of them
    int64_t begin = 0;   // position of the first of them
    int drawn_row = -1;  // planned ahead: the token that is drawn from this row of the previous step's logits
  };

  Scheduler(SchedulerLimits limits, KvCache& cache);

  void add(std::unique_ptr<Sequence> sequence);
  // Admits, preempts and reserves pages. Returns the parts in the order of their rows; empty when nothing can run now.
  const std::vector<Part>& plan(Clock::time_point now);
  // Plans the next step while the one with `parts` runs: one token of each of its sequences that may continue. Returns
  // no parts if other work could join that step, or if logits go through a client.
  std::vector<Part> plan_ahead(const std::vector<Part>& parts);
  // Called when the step of a part has ended: its tokens are in the cache.
  void advance(const Part& part);
  // Removes a sequence, running or waiting, and frees its pages.
  std::unique_ptr<Sequence> remove(Sequence* sequence);

  // Running sequences come first.
  std::vector<Sequence*> all() const;
  int num_running() const { return int(running_.size()); }
  int num_blocked() const;  // running or waiting
  int num_waiting() const { return int(waiting_.size()); }
  // Counts neither the further choices of a request, which follow the first one, nor requests that stand aside.
  int num_waiting_requests() const { return int(std::count_if(waiting_.begin(), waiting_.end(), counts_as_waiting)); }
  // The same by tenant: calls `note(name of the tenant, number)` for each tenant with waiting requests.
  template <typename Note>
  void each_waiting_tenant(const Note& note);
  // Whether the tenant has sequences here.
  bool knows(const std::string& tenant) const { return tenants_.contains(tenant); }
  // Returns the newest unstarted request of the tenant with the most waiting requests; null: all of these have started.
  Sequence* to_displace();
  // The number of sequences that stand aside, and of their requests.
  int num_aside() const { return int(std::count_if(waiting_.begin(), waiting_.end(), stands_aside)); }
  int num_aside_requests();
  // Returns the sequence that stands aside longest, of the tenant with the most requests that stand aside.
  Sequence* longest_aside();
  uint64_t preemptions() const { return preemptions_; }

 private:
  static bool counts_as_waiting(const std::unique_ptr<Sequence>& s) { return s->choice == 0 && !s->waits_for_client(); }
  static bool stands_aside(const std::unique_ptr<Sequence>& s) { return s->waits_for_client(); }
  void count_waiting();
  Sequence* next_to_start();
  void admit(Clock::time_point now);
  void find(Sequence& sequence);
  bool start(Sequence& sequence, Clock::time_point now);
  int64_t most_beside(int64_t context) const;
  void take(Sequence& sequence);
  bool reserve(Sequence& sequence, int64_t tokens);
  bool assume(Sequence& sequence);
  bool preempt_one(const Sequence* for_whom);
  void preempt(size_t index);

  SchedulerLimits limits_;
  KvCache& cache_;
  std::vector<std::unique_ptr<Sequence>> waiting_;  // has room for the running ones too: each may be preempted
  std::vector<std::unique_ptr<Sequence>> running_;  // in the order of arrival, shifted by priority
  std::map<std::string, Tenant> tenants_;
  std::vector<Part> parts_;       // parts of the step that is planned or runs
  bool anybody_decodes_ = false;  // in that step
  uint64_t preemptions_ = 0, step_ = 0, counts_ = 0;
};

template <typename Note>
void Scheduler::each_waiting_tenant(const Note& note) {
  count_waiting();
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.requests > 0) note(name, tenant.requests);
  }
}

}  // namespace oss
