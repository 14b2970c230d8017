// The loop of the engine's thread: it takes commands and steps the model. It draws tokens in engine_draws.cpp and
// reports them in engine_events.cpp.
#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "native/base/refused.h"
#include "native/base/str.h"
#include "native/base/trace.h"
#include "native/engine/engine.h"

namespace oss {

void Engine::loop() noexcept {
  try {
    run();
  } catch (...) {
    // A failed step leaves the cache in an unknown state: the engine stops, the process keeps running.
    break_off(std::current_exception());
  }
}

void Engine::run() {
  bool idle = false;  // nothing can run before the next command
  while (!closing_) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return closing_ || !commands_.empty() || !idle; });
    }
    take_commands();
    remove_failed();
    idle = !step();
    make_room();
    take_author_time();
    publish();
  }
  take_commands();
  fail_all(Code::kClosed, "the engine was closed");
  publish();
  std::lock_guard lock(mutex_);
  over_ = true;
}

// Reports the failure to the clients. If there is no memory even for that, they are woken and read ending().
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
  const std::shared_ptr<ConstraintJob> compiling = request.compiling;
  std::shared_ptr<SharedRequest> shared;
  try {
    any_displaces_ |= request.displaces;
    shared = std::make_shared<SharedRequest>(std::move(request));
    for (int choice = 0; choice < shared->request.choices; ++choice) {
      auto sequence = std::make_unique<Sequence>(shared, choice, ++arrivals_);
      scheduler_->add(std::move(sequence));
    }
  } catch (const std::exception& thrown) {
    if (shared != nullptr) shared->failed = any_failed_ = true;  // also removes the choices that were added already
    if (compiling != nullptr) compiling->cancelled = true;       // see compiled()
    const Error error = as_error(thrown);
    outbox_.push_back({client,
                       {.id = id,
                        .kind = Event::Kind::kError,
                        .code = error.code(),
                        .message = error.what(),
                        .field = error.field()}});
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
      sequence->blocked_at = Clock::now();
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

// Runs one step of everything that can run; false when nothing can.
bool Engine::step() {
  const auto started = Clock::now();
  TraceSpan whole("engine", "step");
  Launched current;
  if (ahead_) {
    current = std::move(*std::exchange(ahead_, std::nullopt));
  } else {
    current.parts = scheduler_->plan(started);
    if (current.parts.empty()) return false;
    hold_back(current.parts);
    if (current.parts.empty() || !begin(current)) return true;
  }
  if (current.queued && backend_->runs_ahead() && !may_draw_again(current)) {
    // While the device runs this step, the next one is prepared. It is launched if nothing else could join it.
    Launched next{.parts = scheduler_->plan_ahead(current.parts)};
    if (!next.parts.empty()) {
      if (!launch(next)) return true;
      ahead_ = std::move(next);
    }
  }
  whole.arg("sequences", int(current.parts.size()));
  finish(current);
  remove_failed();
  // The masks and penalties of a sequence depend on its tokens so far. They are made while the device computes. If a
  // mask takes longer, the result of its part is discarded.
  if (ahead_) {
    give_up_unmasked(*ahead_);
    draw(*ahead_);
  }

  ++counters_.steps;
  counters_.step_ms.add(ms_between(started, Clock::now()));
  counters_.step_tokens.add(double(current.num_tokens));
  return true;
}

// Launches a step and begins its draws. False when there is nothing to finish: the engine is closing, or the parts had
// to be computed one by one.
bool Engine::begin(Launched& step) {
  try {
    if (!launch(step)) return false;
    draw(step);
    return true;
  } catch (const std::exception& error) {
    // A device that runs ahead has allocated its memory at load, and may still be running.
    if (!is_out_of_memory(error) || backend_->runs_ahead()) throw;
  }
  return run_apart(step.parts);
}

// If memory is refused for a whole step, it may still suffice for most of its parts; only those that need too much
// fail. Nothing of the step was recorded, so it is computed again, with the same bits.
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

// Begins the draws of a step, unless a request needs its logits. Rows of ended sequences keep their places.
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

// Returns the position in the completion that the logits of a part decide.
int64_t Engine::drawn_position(const Scheduler::Part& part) {
  return part.begin + part.tokens - int64_t(part.sequence->request().prompt.size());
}

// Waits for a step, and reports its results.
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
        if (sequence.request().scored) {
          score(sequence, part, first_row);
        } else {
          read_logits(sequence, first_row, part.rows);
        }
        collecting.push_back(&sequence);
      } else if (part.rows > 0 && sequence.request().processed) {
        Event event{.kind = Event::Kind::kProcess, .tokens = sequence.tokens};
        event.logits.resize(size_t(info_.model.vocab));
        backend_->read(forward_->logits() + size_t(first_row) * event.logits.size(), event.logits);
        sequence.processing = true;
        sequence.blocked_at = Clock::now();
        tell(sequence, std::move(event));
      } else if (part.rows > 0) {
        draws.push_back({&sequence, first_row, drawn_position(part)});
      }
    });
  }
  if (step.queued) {
    const auto now = Clock::now();
    for (const Draw& draw : draws) {
      attempt(*draw.sequence, [&] { append_token(draw, std::move(sampled[size_t(draw.row)]), now); });
    }
  } else {
    draw_now(draws);
  }
  for (Sequence* sequence : collecting) {
    if (sequence->uncomputed() > 0 || sequence->shared->failed) continue;
    attempt(*sequence, [&] {
      if (!sequence->request().scored) {
        tell(*sequence, {.kind = Event::Kind::kLogits, .logits = std::move(sequence->logits)});
      }
      end(*sequence, FinishReason::kStop, "");
    });
  }
}

void Engine::read_logits(Sequence& sequence, int first_row, int64_t rows) {
  if (rows == 0) return;
  const size_t vocab = size_t(info_.model.vocab);
  const size_t before = sequence.logits.size();
  // Reserve everything at once: growing would need up to three times as much.
  if (before == 0) {
    const size_t values = size_t(sequence.request().logits_last) * vocab;
    try {
      sequence.logits.reserve(values);
    } catch (const std::bad_alloc&) {
      throw refused_memory(values * sizeof(float), str("the logits of ", sequence.request().logits_last, " positions"),
                           ENOMEM);
    }
  }
  sequence.logits.resize(before + size_t(rows) * vocab);
  backend_->read(forward_->logits() + size_t(first_row) * vocab,
                 {sequence.logits.data() + before, size_t(rows) * vocab});
}

// Waits for the time of an author that is slower than the model, so that the engine is as busy as with a slow model.
void Engine::take_author_time() {
  const double ms = std::exchange(author_ms_, 0);
  if (ms <= 0) return;
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double, std::milli>(ms), [this] { return closing_.load(); });
}

}  // namespace oss
