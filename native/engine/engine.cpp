#include "native/engine/engine.h"

#include <algorithm>
#include <utility>

#include "native/base/str.h"
#include "native/base/system.h"
#include "native/engine/scheduler.h"

namespace oss {

// A request for the logits of many positions gets them in portions of this many rows: 51 MB for the full vocabulary.
constexpr int kLogitRows = 64;

static int64_t pages_for(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }
static double ms_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

// How many pages the KV cache gets, and the context length that fits in it.
static int64_t plan_pages(const Config& config, const EngineOptions& options, int64_t& context_length) {
  const uint64_t page_bytes = KvStorage::bytes_per_page(config);
  context_length = options.context_length > 0 ? options.context_length : config.max_context;
  if (context_length > config.max_context) {
    throw Error(Code::kInvalidArgument, str("contextLength ", context_length, " is more than the model's ",
                                            config.max_context, " tokens"));
  }
  const int64_t one_context = pages_for(context_length);
  int64_t pages = 0;
  if (options.kv_bytes > 0) {
    pages = int64_t(options.kv_bytes / page_bytes);
  } else {
    pages = std::min<int64_t>(one_context * std::min(4, options.max_sequences), int64_t(available_memory() / 2 / page_bytes));
  }
  if (pages < 1 || (options.context_length > 0 && pages < one_context)) {
    throw Error(Code::kOutOfMemory,
                str("a KV cache for ", context_length, " tokens needs ", uint64_t(one_context) * page_bytes,
                    " bytes, and kvCache.bytes or half of the free memory allows ", uint64_t(pages) * page_bytes,
                    ": lower contextLength or raise kvCache.bytes"));
  }
  context_length = std::min(context_length, pages * kPageTokens);
  return pages;
}

Engine::Engine(const std::string& path, const EngineOptions& options,
               const std::function<void(const LoadProgress&)>& progress, const std::function<bool()>& cancelled) {
  const auto check_cancelled = [&] {
    if (cancelled && cancelled()) throw Error(Code::kCancelled, "loading was cancelled");
  };
  backend_ = make_backend({.backend = options.backend, .threads = options.threads});
  auto checkpoint = open_checkpoint(path, cancelled);
  const uint64_t total = checkpoint->file_bytes;
  progress({"open", 0, total});
  model_ = pack_model(std::move(checkpoint), *backend_, [&](size_t done, size_t layers) {
    check_cancelled();
    progress({"pack", total * done / layers, total});
  });

  const Config& config = model_.config;
  const int64_t pages = plan_pages(config, options, info_.context_length);
  info_.device = backend_->info();
  info_.model = config;
  info_.layout = model_.checkpoint->layout;
  info_.max_sequences = options.max_sequences;
  info_.max_queue = options.max_queue;
  info_.max_batch_tokens = std::max(options.max_batch_tokens, options.max_sequences);  // room for every decode
  kv_ = std::make_unique<KvStorage>(config, *backend_, int(pages));
  pool_ = std::make_unique<PagePool>(int(pages));
  logit_rows_ = std::max(options.max_sequences, kLogitRows);
  forward_ = std::make_unique<Forward>(model_, *backend_, info_.max_batch_tokens, logit_rows_);
  builder_ = std::make_unique<StepBuilder>(config, info_.max_batch_tokens, options.max_sequences,
                                           int(pages_for(info_.context_length)));
  info_.weights_bytes = total;
  info_.packed_bytes = backend_->packed_bytes();
  info_.workspace_bytes = forward_->workspace_bytes();
  info_.kv_bytes = uint64_t(pages) * KvStorage::bytes_per_page(config);
  info_.kv_tokens = pages * kPageTokens;
  counters_.pages_total = stats_.pages_total = int(pages);
  counters_.pages_free = stats_.pages_free = int(pages);
  check_cancelled();
  progress({"ready", total, total});
  thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() { close(); }

void Engine::on_events(std::function<void()> wake) {
  std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
}

std::vector<Event> Engine::take_events() {
  std::lock_guard lock(mutex_);
  return std::exchange(mailbox_, {});
}

void Engine::submit(Request request) {
  const Config& config = info_.model;
  if (request.prompt.empty()) throw Error(Code::kInvalidArgument, "the prompt has no tokens: at least one is needed");
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    if (request.prompt[i] < 0 || request.prompt[i] >= config.vocab) {
      throw Error(Code::kInvalidArgument, str("token ", request.prompt[i], " at index ", i,
                                              " of the prompt is outside the vocabulary of ", config.vocab));
    }
  }
  const int64_t prompt = int64_t(request.prompt.size());
  const int64_t least_output = request.logits_last > 0 ? 0 : 1;
  if (prompt + least_output > info_.context_length) {
    throw Error(Code::kContextOverflow, str("the prompt has ", prompt, " tokens and the context holds ",
                                            info_.context_length, ", output included"));
  }
  request.logits_last = std::min(request.logits_last, prompt);
  request.max_tokens = std::min(request.max_tokens, info_.context_length - prompt);
  {
    std::lock_guard lock(mutex_);
    if (!broken_.empty()) throw Error(Code::kClosed, str("the engine has ended: ", broken_));
    if (closing_) throw Error(Code::kClosed, "the engine is closed");
    if (queued_ >= info_.max_queue) {
      throw Error(Code::kQueueFull, str("the queue holds ", info_.max_queue, " waiting requests, its maximum"));
    }
    ++queued_;
    submitted_.push_back(std::move(request));
  }
  changed_.notify_one();
}

void Engine::cancel(uint64_t id) {
  {
    std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  changed_.notify_one();
}

EngineStats Engine::stats() const {
  std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting = queued_;
  return stats;
}

void Engine::close() {
  std::lock_guard joining(joining_);
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_one();
  if (!thread_.joinable()) return;
  thread_.join();
  forward_.reset();
  kv_.reset();
  model_ = {};
  backend_.reset();
}

void Engine::loop() {
  while (!closing_) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] {
        return closing_ || !submitted_.empty() || !cancelled_.empty() || !running_.empty() || !waiting_.empty();
      });
    }
    try {
      take_commands();
      drop_cancelled();
      admit();
      if (!running_.empty()) step();
    } catch (const std::exception& error) {
      // A step that fails leaves the cache in an unknown state: the engine ends, the process does not.
      {
        std::lock_guard lock(mutex_);
        broken_ = error.what();
      }
      take_commands();
      fail_all(Code::kDevice, str("the engine ended in the middle of a step: ", error.what()));
      publish();
      return;
    }
    publish();
  }
  take_commands();
  fail_all(Code::kClosed, "the engine was closed");
  publish();
}

void Engine::take_commands() {
  std::vector<Request> submitted;
  std::vector<uint64_t> cancelled;
  {
    std::lock_guard lock(mutex_);
    submitted.swap(submitted_);
    cancelled.swap(cancelled_);
  }
  for (Request& request : submitted) waiting_.push_back(std::make_unique<Sequence>(std::move(request)));
  for (const uint64_t id : cancelled) {
    for (auto& sequence : waiting_) sequence->cancelled |= sequence->request.id == id;
    for (auto& sequence : running_) sequence->cancelled |= sequence->request.id == id;
  }
}

void Engine::drop_cancelled() {
  const auto drop = [&](auto& list) {
    for (auto& sequence : list) {
      if (sequence->cancelled) end(sequence, FinishReason::kCancelled);
    }
    std::erase(list, nullptr);
  };
  drop(running_);
  drop(waiting_);
}

// First come, first served; a sequence starts when the pages for all its tokens so far, and the next one, are there.
void Engine::admit() {
  const auto now = Clock::now();
  while (!waiting_.empty() && int(running_.size()) < info_.max_sequences) {
    Sequence& next = *waiting_.front();
    if (!pool_->grow(next.pages, pages_for(int64_t(next.tokens.size())))) break;
    if (next.admitted == Clock::time_point{}) next.admitted = now;
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

// Every running sequence gets the page of its next token; when there is none left, the youngest gives up its pages and
// computes its tokens again later. The oldest always fits, because one context never needs more than all pages.
void Engine::ensure_pages() {
  for (size_t i = 0; i < running_.size(); ++i) {
    while (!pool_->grow(running_[i]->pages, pages_for(int64_t(running_[i]->tokens.size())))) {
      preempt(running_.size() - 1);
      if (i == running_.size()) return;  // it was itself the youngest
    }
  }
}

void Engine::preempt(size_t index) {
  std::unique_ptr<Sequence> sequence = std::move(running_[index]);
  running_.erase(running_.begin() + index);
  pool_->release(sequence->pages);
  sequence->computed = 0;
  sequence->logits.clear();
  waiting_.push_front(std::move(sequence));
  ++counters_.preemptions;
}

void Engine::step() {
  ensure_pages();
  std::vector<Candidate> candidates;
  for (const auto& sequence : running_) {
    const int64_t wanted = sequence->request.logits_last > 0 ? sequence->request.logits_last : 1;
    candidates.push_back({.uncomputed = sequence->uncomputed(), .wants_rows = wanted});
  }
  const std::vector<Scheduled> chosen = schedule(candidates, info_.max_batch_tokens, logit_rows_);
  if (chosen.empty()) return;
  builder_->begin();
  for (const Scheduled& part : chosen) builder_->add(*running_[part.index], part.tokens, part.rows);

  const auto started = Clock::now();
  if (!forward_->run(builder_->finish(), *kv_, closing_)) return;
  int row = 0;
  std::vector<std::pair<Sequence*, int>> drawn;  // and the row of its logits
  for (const Scheduled& part : chosen) {
    Sequence& sequence = *running_[part.index];
    counters_.prompt_tokens += std::clamp<int64_t>(int64_t(sequence.request.prompt.size()) - sequence.computed, 0, part.tokens);
    sequence.computed += part.tokens;
    if (sequence.request.logits_last > 0) {
      read_logits(sequence, row, part.rows);
    } else if (part.rows > 0) {
      drawn.push_back({&sequence, row});
    }
    row += int(part.rows);
  }
  sample_next(drawn);
  ++counters_.steps;
  counters_.step_ms += ms_between(started, Clock::now());

  for (auto& sequence : running_) {
    const Request& request = sequence->request;
    if (sequence->uncomputed() == 0 && request.logits_last > 0) {
      outbox_.push_back({.id = request.id, .kind = Event::Kind::kLogits, .logits = std::move(sequence->logits)});
      end(sequence, FinishReason::kStop);
    } else if (sequence->completion() > 0 && sequence->uncomputed() == 1) {
      if (std::binary_search(request.stop_tokens.begin(), request.stop_tokens.end(), sequence->tokens.back())) {
        end(sequence, FinishReason::kStop);
      } else if (sequence->completion() >= request.max_tokens) {
        end(sequence, FinishReason::kLength);
      }
    }
  }
  std::erase(running_, nullptr);
}

void Engine::read_logits(Sequence& sequence, int first_row, int64_t rows) {
  if (rows == 0) return;
  const size_t vocab = model_.config.vocab;
  const size_t before = sequence.logits.size();
  sequence.logits.resize(before + rows * vocab);
  backend_->read(forward_->logits() + first_row * vocab, {sequence.logits.data() + before, size_t(rows) * vocab});
}

void Engine::sample_next(const std::vector<std::pair<Sequence*, int>>& drawn) {
  if (drawn.empty()) return;
  // Rows of sequences that only want their logits may lie between: sampling runs over maximal runs of neighbours.
  const size_t vocab = model_.config.vocab;
  for (size_t first = 0; first < drawn.size();) {
    size_t last = first + 1;
    while (last < drawn.size() && drawn[last].second == drawn[last - 1].second + 1) ++last;
    std::vector<SamplingArgs> args;
    for (size_t i = first; i < last; ++i) {
      args.push_back(drawn[i].first->request.sampling);
      args.back().position = unsigned(drawn[i].first->completion());
    }
    std::vector<Sampled> sampled(args.size());
    backend_->sample(int(args.size()), int(vocab), forward_->logits() + size_t(drawn[first].second) * vocab, args, sampled);
    const auto now = Clock::now();
    for (size_t i = first; i < last; ++i) append_token(*drawn[i].first, sampled[i - first], now);
    first = last;
  }
}

void Engine::append_token(Sequence& sequence, const Sampled& sampled, Clock::time_point now) {
  sequence.tokens.push_back(sampled.token);
  if (sequence.completion() == 1) sequence.first_token = now;
  sequence.last_token = now;
  ++counters_.completion_tokens;
  outbox_.push_back({.id = sequence.request.id, .token = sampled.token, .logprob = sampled.logprob});
}

void Engine::end(std::unique_ptr<Sequence>& sequence, FinishReason reason) {
  Event event{.id = sequence->request.id, .kind = Event::Kind::kDone, .reason = reason};
  const auto now = Clock::now();
  const bool admitted = sequence->admitted != Clock::time_point{};
  const bool answered = sequence->first_token != Clock::time_point{};
  event.timings.queue_ms = ms_between(sequence->submitted, admitted ? sequence->admitted : now);
  if (admitted) event.timings.prefill_ms = ms_between(sequence->admitted, answered ? sequence->first_token : now);
  if (answered) event.timings.decode_ms = ms_between(sequence->first_token, sequence->last_token);
  outbox_.push_back(std::move(event));
  pool_->release(sequence->pages);
  sequence.reset();
}

void Engine::fail_all(Code code, const std::string& message) {
  const auto fail = [&](auto& list) {
    for (auto& sequence : list) {
      outbox_.push_back({.id = sequence->request.id, .kind = Event::Kind::kError, .code = code, .message = message});
      pool_->release(sequence->pages);
    }
    list.clear();
  };
  fail(running_);
  fail(waiting_);
}

void Engine::publish() {
  counters_.running = int(running_.size());
  counters_.pages_free = pool_->num_free();
  std::function<void()> wake;
  {
    std::lock_guard lock(mutex_);
    stats_ = counters_;
    queued_ = int(waiting_.size() + submitted_.size());
    if (outbox_.empty()) return;
    if (mailbox_.empty()) wake = wake_;
    std::move(outbox_.begin(), outbox_.end(), std::back_inserter(mailbox_));
  }
  outbox_.clear();
  if (wake) wake();
}

}  // namespace oss
