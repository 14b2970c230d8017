// What the engine's thread does: it takes commands, steps the model, draws tokens and tells of them.
#include <algorithm>
#include <cerrno>
#include <limits>
#include <new>
#include <utility>

#include "native/base/json.h"
#include "native/base/refused.h"
#include "native/base/str.h"
#include "native/base/trace.h"
#include "native/engine/engine.h"
#include "native/tokenizer/tokenizer.h"

namespace oss {

static double ms_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

void Engine::loop() noexcept {
  try {
    run();
  } catch (...) {
    // A step that fails leaves the cache in an unknown state: the engine ends, the process does not.
    break_off(std::current_exception());
  }
}

void Engine::run() {
  bool idle = false;  // nothing can run before a command comes
  while (!closing_) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return closing_ || !commands_.empty() || !idle; });
    }
    take_commands();
    remove_failed();
    idle = !step();
    take_script_time();
    publish();
  }
  take_commands();
  fail_all(Code::kClosed, "the engine was closed");
  publish();
  std::lock_guard lock(mutex_);
  over_ = true;
}

// Tells whoever can be told. There may be no memory even for that: then clients are woken, and find ending().
void Engine::break_off(std::exception_ptr why) noexcept {
  {
    std::lock_guard lock(mutex_);
    broken_ = std::move(why);
  }
  try {
    const Error error = ending_of(broken_);
    ahead_.reset();
    take_commands();
    fail_all(error.code(), error.what());
    publish();
  } catch (const std::exception&) {
  }
  std::lock_guard lock(mutex_);
  over_ = true;
  for (auto& [id, client] : clients_) {
    if (client.wake) client.wake();
  }
}

void Engine::take_commands() {
  std::vector<Command> commands;
  {
    std::lock_guard lock(mutex_);
    commands.swap(commands_);
  }
  for (Command& command : commands) {
    std::visit([this](auto& c) { carry_out(std::move(c)); }, command);
  }
}

void Engine::carry_out(Request request) {
  const uint64_t client = request.client, id = request.id;
  std::shared_ptr<SharedRequest> shared;
  try {
    shared = std::make_shared<SharedRequest>(std::move(request));
    for (int choice = 0; choice < shared->request.choices; ++choice) {
      auto sequence = std::make_unique<Sequence>(shared, choice, ++arrivals_);
      scheduler_->add(std::move(sequence));
    }
  } catch (const std::exception& thrown) {
    if (shared != nullptr) shared->failed = any_failed_ = true;  // choices that are there already
    const Error error = as_error(thrown);
    outbox_.push_back({client, {.id = id, .kind = Event::Kind::kError, .code = error.code(), .message = error.what()}});
  }
}

void Engine::carry_out(const Compiled& compiled) {
  for (Sequence* sequence : scheduler_->all()) {
    const Request& request = sequence->request();
    if (request.client != compiled.client || request.id != compiled.id || sequence->shared->failed) continue;
    try {
      if (const Error* refusal = std::get_if<Error>(&compiled.constraint)) throw *refusal;
      sequence->hold_to(std::get<std::shared_ptr<const grammar::Constraint>>(compiled.constraint));
    } catch (const std::exception& thrown) {
      fail(*sequence, as_error(thrown));
    }
  }
}

void Engine::carry_out(const Cancel& cancel) {
  for (Sequence* sequence : scheduler_->all()) {
    const Request& request = sequence->request();
    if (request.client != cancel.client || request.id != cancel.id.value_or(request.id)) continue;
    if (sequence->choice != cancel.choice.value_or(sequence->choice)) continue;
    end(*sequence, FinishReason::kCancelled, sequence->text.end());
  }
}

void Engine::carry_out(const Pause& pause) {
  for (Sequence* sequence : scheduler_->all()) {
    const Request& request = sequence->request();
    if (request.client == pause.client && request.id == pause.id && sequence->choice == pause.choice) {
      sequence->paused = pause.paused;
    }
  }
}

void Engine::carry_out(Supply supply) {
  for (Sequence* sequence : scheduler_->all()) {
    const Request& request = sequence->request();
    if (request.client != supply.client || request.id != supply.id || sequence->choice != supply.choice) continue;
    if (!sequence->processing || supply.logits.size() != size_t(info_.model.vocab)) continue;
    sequence->processing = false;
    backend_->write(supply.logits, forward_->logits());
    const Draw draw{sequence, 0, sequence->completion()};
    draw_now({&draw, 1});
    return;
  }
}

// One step of everything that can run; false when nothing can.
bool Engine::step() {
  const auto started = Clock::now();
  TraceSpan whole("engine", "step");
  Launched current;
  if (ahead_) {
    current = std::move(*std::exchange(ahead_, std::nullopt));
  } else {
    current.parts = scheduler_->plan(started);
    if (current.parts.empty()) return false;
    if (!begin(current)) return true;
  }
  if (current.queued && backend_->runs_ahead()) {
    // While the device works on this step, the next one is prepared, and handed over when it is all that could come.
    Launched next{.parts = scheduler_->plan_ahead(current.parts)};
    if (!next.parts.empty()) {
      if (!launch(next)) return true;
      ahead_ = std::move(next);
    }
  }
  whole.arg("sequences", int(current.parts.size()));
  finish(current);
  remove_failed();
  // What a sequence has said decides about what it may say: its masks and penalties, made while the device computes.
  if (ahead_) draw(*ahead_);

  ++counters_.steps;
  counters_.step_ms.add(ms_between(started, Clock::now()));
  counters_.step_tokens.add(double(current.num_tokens));
  return true;
}

// Launches a step and begins its draws; false when there is nothing to finish: the engine is closing, or its parts had to
// be computed one by one.
bool Engine::begin(Launched& step) {
  try {
    if (!launch(step)) return false;
    draw(step);
    return true;
  } catch (const std::exception& error) {
    // A device that runs ahead has its memory since it was loaded, and may be at work.
    if (!is_out_of_memory(error) || backend_->runs_ahead()) throw;
  }
  return run_apart(step.parts);
}

// Memory that is refused for a whole step may suffice for most of its parts: those fail that ask for too much. Nothing was
// noted of the step, so it is computed anew, with the same bits.
bool Engine::run_apart(const std::vector<Scheduler::Part>& parts) {
  for (const Scheduler::Part& part : parts) {
    if (part.sequence->shared->failed) continue;
    attempt(*part.sequence, [&] {
      Launched alone{.parts = {part}};
      if (!launch(alone)) return;
      draw(alone);
      finish(alone);
      ++counters_.steps;
    });
  }
  remove_failed();
  return false;
}

// Begins a step; false when the engine is closing.
bool Engine::launch(Launched& step) {
  builder_->begin();
  for (const Scheduler::Part& part : step.parts) builder_->add(part);
  const Step& arrays = builder_->finish();
  step.num_tokens = arrays.num_tokens;
  TraceSpan span("device", "forward");
  span.arg("tokens", arrays.num_tokens);
  return forward_->run(arrays, *kv_, closing_);
}

// Begins the draws of a step, where they are all that is wanted of it. Rows of sequences that have ended keep their places.
void Engine::draw(Launched& step) {
  std::vector<Draw> draws;
  bool anybody = false;
  for (const Scheduler::Part& part : step.parts) {
    const bool is_there = part.sequence != nullptr;
    if (is_there && (part.sequence->request().logits_last > 0 || part.sequence->request().processed)) return;
    if (part.rows > 0) draws.push_back({part.sequence, int(draws.size()), is_there ? drawn_position(part) : 0});
    anybody |= is_there && part.rows > 0;
  }
  step.queued = anybody;
  if (anybody) queue_draws(draws);
}

// Which token of its completion the logits of a part decide.
int64_t Engine::drawn_position(const Scheduler::Part& part) {
  return part.begin + part.tokens - int64_t(part.sequence->request().prompt.size());
}

// Waits for a step, and tells what came of it.
void Engine::finish(const Launched& step) {
  std::vector<Sampled> sampled;
  if (step.queued) sampled = backend_->sampled();
  int row = 0;
  std::vector<Draw> draws;
  std::vector<Sequence*> collecting;
  for (const Scheduler::Part& part : step.parts) {
    const int first_row = row;
    row += int(part.rows);
    if (part.sequence == nullptr) continue;
    Sequence& sequence = *part.sequence;
    const int64_t prompt = int64_t(sequence.request().prompt.size());
    counters_.prompt_tokens += uint64_t(std::clamp<int64_t>(prompt - part.begin, 0, part.tokens));
    attempt(sequence, [&] {
      scheduler_->advance(part);
      if (sequence.request().logits_last > 0) {
        read_logits(sequence, first_row, part.rows);
        collecting.push_back(&sequence);
      } else if (part.rows > 0 && sequence.request().processed) {
        Event event{.kind = Event::Kind::kProcess, .tokens = sequence.tokens};
        event.logits.resize(size_t(info_.model.vocab));
        backend_->read(forward_->logits() + size_t(first_row) * event.logits.size(), event.logits);
        sequence.processing = true;
        tell(sequence, std::move(event));
      } else if (part.rows > 0) {
        draws.push_back({&sequence, first_row, drawn_position(part)});
      }
    });
  }
  if (step.queued) {
    const auto now = Clock::now();
    for (const Draw& draw : draws) {
      attempt(*draw.sequence, [&] { append_token(*draw.sequence, std::move(sampled[size_t(draw.row)]), now); });
    }
  } else {
    draw_now(draws);
  }
  for (Sequence* sequence : collecting) {
    if (sequence->uncomputed() > 0 || sequence->shared->failed) continue;
    attempt(*sequence, [&] {
      tell(*sequence, {.kind = Event::Kind::kLogits, .logits = std::move(sequence->logits)});
      end(*sequence, FinishReason::kStop, "");
    });
  }
}

void Engine::read_logits(Sequence& sequence, int first_row, int64_t rows) {
  if (rows == 0) return;
  const size_t vocab = size_t(info_.model.vocab);
  const size_t before = sequence.logits.size();
  // All of it at once: growing would need up to three times as much.
  if (before == 0) {
    const size_t values = size_t(sequence.request().logits_last) * vocab;
    try {
      sequence.logits.reserve(values);
    } catch (const std::bad_alloc&) {
      throw refused_memory(values * sizeof(float), str("the logits of ", sequence.request().logits_last, " positions"), ENOMEM);
    }
  }
  sequence.logits.resize(before + size_t(rows) * vocab);
  backend_->read(forward_->logits() + size_t(first_row) * vocab, {sequence.logits.data() + before, size_t(rows) * vocab});
}

// The highest logit wins, whatever the request asks for.
static SamplingArgs script_sampling(SamplingArgs args) {
  args.temperature = 0;
  args.repetition_penalty = 1;
  args.presence_penalty = args.frequency_penalty = 0;
  args.mask_reserved = 0;
  return args;
}

// A script is told where it breaks its constraint. It may be cut off by its request's limit, so the mask has none.
static void refuse_broken_constraint(Sequence& sequence) {
  constexpr int64_t kNoLimit = int64_t(1) << 40;
  constexpr int64_t kShown = 12;  // tokens before the one that is wrong
  const std::vector<int32_t>& script = sequence.request().script->of(sequence.choice);
  const int64_t at = sequence.completion();
  if (grammar::allows(sequence.matcher->mask(kNoLimit), script[size_t(at)])) return;
  const auto text = [&](int64_t from, int64_t to) {
    const auto first = script.begin() + std::max<int64_t>(from, 0);
    const std::vector<uint32_t> ids(first, script.begin() + to);
    return quote(tokenizer::decode(ids));
  };
  throw Error(Code::kInvalidArgument, str("the script breaks the constraint of its request at token ", at, ": after ",
                                          text(at - kShown, at), " it writes ", text(at, at + 1)));
}

// Of a constrained sequence the tokens that may come next. Where its constraint cannot go on, any token: append_token()
// tells of that instead.
std::span<const uint32_t> Engine::allowed_tokens(Sequence& sequence) {
  if (sequence.matcher == nullptr) return {};
  try {
    TraceSpan span("engine", "mask");
    if (sequence.request().script) {
      refuse_broken_constraint(sequence);
      return {};
    }
    return sequence.matcher->mask(sequence.request().max_tokens - sequence.completion());
  } catch (const std::exception& error) {
    sequence.constraint_failure = as_error(error);
    return {};
  }
}

// Draws from rows of the logits that lie side by side.
void Engine::queue_draws(std::span<const Draw> draws) {
  const size_t vocab = size_t(info_.model.vocab);
  std::vector<SamplingArgs> args;
  std::vector<SamplingContext> contexts;
  std::vector<std::vector<SamplingContext::Bias>> biases(draws.size());
  for (size_t i = 0; i < draws.size(); ++i) {
    if (draws[i].sequence == nullptr) {
      args.emplace_back().repetition_penalty = 1;
      contexts.emplace_back();
      continue;
    }
    const Sequence& sequence = *draws[i].sequence;
    const Request& request = sequence.request();
    args.push_back(request.sampling);
    args.back().position = unsigned(draws[i].position);
    args.back().choice = unsigned(sequence.choice);
    std::vector<SamplingContext::Bias>& bias = biases[i];
    bias = request.bias;
    if (draws[i].position < request.min_tokens) {
      for (const int32_t token : request.stop_tokens) {
        // One that the model cannot say needs no ban.
        if (uint32_t(token) < vocab) bias.push_back({token, -std::numeric_limits<float>::infinity()});
      }
    }
    std::span<const SamplingContext::Seen> seen = sequence.seen;
    if (request.script) {
      // Drawn like any other token, so that its log probability is what the model gives it.
      args.back() = script_sampling(args.back());
      bias = {{request.script->of(sequence.choice)[size_t(draws[i].position)], std::numeric_limits<float>::max()}};
      seen = {};
    }
    contexts.push_back({.seen = seen, .bias = bias, .top_logprobs = request.top_logprobs});
    contexts.back().allowed = allowed_tokens(*draws[i].sequence);
  }
  backend_->sample(int(args.size()), int(vocab), forward_->logits() + size_t(draws.front().row) * vocab, args, contexts);
}

// Rows of sequences that only want their logits may lie between.
void Engine::draw_now(std::span<const Draw> draws) {
  for (size_t first = 0; first < draws.size();) {
    size_t last = first + 1;
    while (last < draws.size() && draws[last].row == draws[last - 1].row + 1) ++last;
    const std::span<const Draw> together = draws.subspan(first, last - first);
    // Only draws that gave nothing are repeated, one by one.
    std::optional<std::vector<Sampled>> sampled;
    try {
      sampled = sample(together);
    } catch (const std::exception& error) {
      if (!is_out_of_memory(error)) throw;
    }
    if (sampled) {
      append_tokens(together, std::move(*sampled));
    } else {
      for (const Draw& draw : together) attempt(*draw.sequence, [&] { append_tokens({&draw, 1}, sample({&draw, 1})); });
    }
    first = last;
  }
}

std::vector<Sampled> Engine::sample(std::span<const Draw> draws) {
  queue_draws(draws);
  return backend_->sampled();
}

void Engine::append_tokens(std::span<const Draw> draws, std::vector<Sampled> sampled) {
  const auto now = Clock::now();
  for (size_t i = 0; i < draws.size(); ++i) {
    attempt(*draws[i].sequence, [&] { append_token(*draws[i].sequence, std::move(sampled[i]), now); });
  }
}

void Engine::append_token(Sequence& sequence, Sampled sampled, Clock::time_point now) {
  if (sequence.shared->failed) return;
  if (sequence.constraint_failure) return fail(sequence, *sequence.constraint_failure);
  const int32_t token = sampled.token;
  if (sequence.matcher != nullptr) sequence.matcher->accept(token);
  sequence.tokens.push_back(token);
  sequence.count(token, 1);
  if (sequence.completion() == 1) {
    sequence.first_token = now;
    counters_.queue_ms.add(ms_between(sequence.submitted, sequence.admitted));
    counters_.first_token_ms.add(ms_between(sequence.submitted, now));
    counters_.cached_tokens += uint64_t(sequence.cached_tokens);
  } else {
    counters_.inter_token_ms.add(ms_between(sequence.last_token, now));
  }
  sequence.last_token = now;
  ++counters_.completion_tokens;

  const Request& request = sequence.request();
  const bool stop_token = std::binary_search(request.stop_tokens.begin(), request.stop_tokens.end(), token) ||
                          (sequence.matcher != nullptr && sequence.matcher->done());
  TextStream::Piece piece;
  if (!stop_token) piece = sequence.text.push(token);
  tell(sequence, {.sampled = std::move(sampled), .text = std::move(piece.text)});
  if (stop_token || piece.stopped) {
    end(sequence, FinishReason::kStop, piece.stopped ? "" : sequence.text.end());
  } else if (sequence.completion() >= request.max_tokens) {
    end(sequence, FinishReason::kLength, sequence.text.end());
  } else if (request.script && size_t(sequence.completion()) == request.script->of(sequence.choice).size()) {
    end(sequence, FinishReason::kStop, sequence.text.end());
  }
}

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

// What of a sequence needs memory that is refused fails its request, and that alone. The body throws, if it does, before
// the sequence is removed.
template <typename Body>
void Engine::attempt(Sequence& sequence, const Body& body) {
  try {
    body();
  } catch (const std::exception& error) {
    if (!is_out_of_memory(error)) throw;
    if (!sequence.shared->failed) fail(sequence, as_error(error));
  }
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

// A script may be slower than the model that it stands for; the engine is as busy as with a slow model.
void Engine::take_script_time() {
  const double ms = std::exchange(script_ms_, 0);
  if (ms <= 0) return;
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double, std::milli>(ms), [this] { return closing_.load(); });
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
