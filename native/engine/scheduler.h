// Which sequences run in the next step, and how many tokens of each. Pure: it sees counts, page numbers and a clock that
// the caller reads.
//
// Waiting sequences of one tenant start first come, first served, where a priority is worth up to 30 seconds of waiting:
// whoever waits starts before all that came 60 seconds after it, whatever their priorities. Among tenants, the one with the
// fewest running sequences is next; then the one that has waited longest since it came or since its last start, where
// priority counts as much. So of two tenants, one with a hundred requests and one with a single one, that one is next. A
// sequence starts when the pages for all its tokens are there.
//
// Every running sequence past its prompt gets its next token; what is left of max_tokens, a quarter at least, goes to
// prompts. Deep in a prompt each token has much context to look at: there fewer of them come beside the next tokens of
// others, so that these wait hardly longer than for its beginning. When pages run out, a sequence that cannot go on anyway,
// else the last to have come, gives up its pages and computes its tokens again later. Priority counts there as in waiting,
// so that nobody loses its pages to those who came 60 seconds after it.
//
// A sequence that waits for its client (its reader is behind, or its logits are away) keeps its place while nobody else
// wants it. Then it stands aside: it does not count as waiting until its client is back.
//
// When memory is refused, std::bad_alloc comes out and every sequence is still there, with the pages that it has.
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
  int64_t max_tokens;              // of a step
  int64_t max_rows;                // of logits of a step
  int64_t context_of_a_token = 0;  // it takes as long to look at so much context as all else of a token; 0: none counts
};

// What is known of those who ask, while they have something here.
struct Tenant {
  int sequences = 0;
  Clock::time_point last_start{};
  // Found anew whenever they are needed.
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
    int drawn_row = -1;  // planned ahead: the only token is what this row of logits of the step before will give
  };

  Scheduler(SchedulerLimits limits, KvCache& cache);

  void add(std::unique_ptr<Sequence> sequence);
  // Admits, preempts and reserves pages; the parts in the order of their rows. Empty when nothing can run now.
  const std::vector<Part>& plan(Clock::time_point now);
  // The step after the one with these parts, while that one runs: the next token of each of its sequences that may get one.
  // Empty when that is not all there is to do, or when logits go through a client.
  std::vector<Part> plan_ahead(const std::vector<Part>& parts);
  // The step of a part is over: its tokens are in the cache.
  void advance(const Part& part);
  // Takes a sequence out, running or waiting; its pages are given back.
  std::unique_ptr<Sequence> remove(Sequence* sequence);

  // Running ones first.
  std::vector<Sequence*> all() const;
  int num_running() const { return int(running_.size()); }
  int num_blocked() const;  // running or waiting
  int num_waiting() const { return int(waiting_.size()); }
  // The further choices of a request do not count: they follow the first one. Nor do requests that stand aside.
  int num_waiting_requests() const { return int(std::count_if(waiting_.begin(), waiting_.end(), counts_as_waiting)); }
  // The same by tenant. `note(name of the tenant, number)` is called for each that has requests waiting.
  template <typename Note>
  void each_waiting_tenant(const Note& note);
  // It has something here.
  bool knows(const std::string& tenant) const { return tenants_.contains(tenant); }
  // Of the tenant with the most waiting requests, the newest that has not begun; null: it has begun with all of them.
  Sequence* to_displace();
  // Sequences that stand aside; and their requests.
  int num_aside() const { return int(std::count_if(waiting_.begin(), waiting_.end(), stands_aside)); }
  int num_aside_requests();
  // Of the tenant with the most requests that stand aside, the one whose client has been away longest.
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
  std::vector<std::unique_ptr<Sequence>> waiting_;  // has room for those that run, too: each may be preempted
  std::vector<std::unique_ptr<Sequence>> running_;  // in the order of their coming, as their priorities shift it
  std::map<std::string, Tenant> tenants_;
  std::vector<Part> parts_;       // of the step that is planned or runs
  bool anybody_decodes_ = false;  // in it
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
