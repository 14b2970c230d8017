// Which sequences run in the next step, and how many tokens of each. Pure: it sees counts, page numbers and a clock that
// the caller reads.
//
// Waiting sequences start in the order of their priority, which rises by one with each second of waiting so that nobody
// waits forever, and inside a priority first come, first served; one starts when the pages for all its tokens are there.
// Every running sequence past its prompt gets its next token; what is left of max_tokens, a quarter at least, goes to
// prompts. When pages run
// out, a sequence that cannot go on anyway, else the last in order, gives up its pages and computes its tokens again later.
//
// When memory is refused, std::bad_alloc comes out and every sequence is still there, with the pages that it has.
#pragma once
#include <algorithm>
#include <memory>
#include <vector>

#include "native/engine/sequence.h"

namespace oss {

struct SchedulerLimits {
  int max_sequences;   // running at once
  int64_t max_tokens;  // of a step
  int64_t max_rows;    // of logits of a step
};

class Scheduler {
 public:
  struct Part {
    Sequence* sequence;
    int64_t tokens;  // its next tokens
    int64_t rows;    // logits of the last `rows` of them
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
  // The further choices of a request do not count: they follow the first one.
  int num_waiting_requests() const {
    return int(std::count_if(waiting_.begin(), waiting_.end(), [](const auto& s) { return s->choice == 0; }));
  }
  uint64_t preemptions() const { return preemptions_; }

 private:
  void admit(Clock::time_point now);
  void find(Sequence& sequence);
  bool start(Sequence& sequence, Clock::time_point now);
  void take(Sequence& sequence);
  bool reserve(Sequence& sequence, int64_t tokens);
  bool preempt_one(const Sequence* for_whom);
  void preempt(size_t index);

  SchedulerLimits limits_;
  KvCache& cache_;
  std::vector<std::unique_ptr<Sequence>> waiting_;  // has room for those that run, too: each may be preempted
  std::vector<std::unique_ptr<Sequence>> running_;  // in order: higher priority first, then first come
  std::vector<Part> parts_;                         // of the step that is planned or runs
  uint64_t preemptions_ = 0, step_ = 0;
};

}  // namespace oss
