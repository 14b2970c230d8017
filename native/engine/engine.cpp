#include "native/engine/engine.h"

#include <algorithm>
#include <utility>

#include "native/base/give_back.h"
#include "native/base/json.h"
#include "native/base/str.h"
#include "native/checkpoint/packed_places.h"
#include "native/engine/environment.h"
#include "native/engine/memory_plan.h"
#include "native/model/pack.h"
#include "native/model/weight_sums.h"

namespace oss {

static std::vector<std::string> places_for(const Checkpoint& checkpoint, const EngineOptions& options) {
  const uint64_t file_bytes = checkpoint.files.empty() ? 0 : checkpoint.file_bytes;
  if (!wants_packed_file(options, file_bytes)) return {};
  return packed_places(checkpoint, options.packed_weights);
}

Engine::Engine(const std::string& path, const EngineOptions& options,
               const std::function<void(const LoadProgress&)>& progress, const std::function<bool()>& cancelled) {
  const auto check_cancelled = [&] {
    if (cancelled && cancelled()) throw Error(Code::kCancelled, "loading was cancelled");
  };
  for (const EnvironmentProblem& problem : environment_problems()) throw problem.error;
  BackendOptions backend{.backend = options.backend,
                         .threads = options.threads,
                         .numerics = options.numerics,
                         .dense_weights = options.dense_weights,
                         .expert_weights = options.expert_weights,
                         .repeatable = options.repeatable};
  std::string backend_why;
  backend_ = make_backend(backend, &backend_why);
  std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path, cancelled, options.threads, options.expert_weights);
  const std::vector<AdapterInfo> merged =
      merge_adapters(options.adapters, *checkpoint, cancelled, MeasureMerge::kSample);
  checkpoint_ = std::move(checkpoint);
  const Config& config = checkpoint_->config;
  const std::vector<ReadAdapter> named = read_named_adapters(options.adapters, config);
  const uint64_t total = checkpoint_->file_bytes;
  progress({"open", 0, total});

  PackedWeights packed_weights;
  const auto inputs = [&] {
    return PlanInputs{.config = config,
                      .options = options,
                      .sizes = backend_->sizes(),
                      .experts_in_file = packed_weights.in == "file",
                      .tensors = &checkpoint_->tensors,
                      .adapter_bytes = bytes_of(named, config, backend_->sizes())};
  };
  // All memory that this engine will ever use is planned before the first byte of weights is moved.
  const auto plan_here = [&] {
    packed_weights = backend_->packer().keep_packed(expert_shapes(config), places_for(*checkpoint_, options),
                                                    fingerprint(*checkpoint_), cancelled);
    return plan_memory(inputs(), backend_->memory());
  };
  MemoryPlan plan = [&] {
    try {
      return plan_here();
    } catch (const Error& error) {
      // A GPU that shares the memory of the machine may use less of it than the CPU, and runs fewer models.
      const bool too_small = error.code() == Code::kOutOfMemory;
      if (options.backend != "auto" || !backend_->memory().shared || (!too_small && error.code() != Code::kUnsupported))
        throw;
      backend_why = str(backend_->info().device, too_small ? " is too small: " : " cannot run it: ", error.what());
      backend.backend = "cpu";
      backend_ = make_backend(backend);
      try {
        return plan_here();
      } catch (const Error& of_cpu) {
        if (of_cpu.code() != Code::kUnsupported) throw;
      }
      throw;  // the CPU does not have what was asked for: the GPU's reason says what to change
    }
  }();
  backend_->packer().reserve_weights(plan.weights.copied);
  backend_->reserve_workspace(plan.limits);
  kv_ = std::make_unique<KvStorage>(config, *backend_, plan.kv_type, plan.kv.pages);
  model_ = pack_model(config, checkpoint_->tensors, backend_->packer(), [&](size_t done, size_t layers) {
    check_cancelled();
    progress({"pack", total * done / layers, total, packed_weights.made ? packed_weights.path : ""});
  });
  for (const auto& file : checkpoint_->files) file->check_unchanged();
  adapters_.hold_with([this](std::shared_ptr<const AdapterWeights> host) { return hold(std::move(host)); },
                      backend_->sizes().adapter_table_bytes(config.num_layers, config.num_experts));
  for (const ReadAdapter& adapter : named) adapters_.add(adapter, config);
  adapters_.limit(most_adapter_bytes(inputs(), plan, kv_->bytes()));
  cache_ = std::make_unique<KvCache>(plan.kv.pages, config.sliding_window);
  scheduler_ = std::make_unique<Scheduler>(
      SchedulerLimits{plan.limits.sequences, plan.limits.tokens, plan.limits.rows, context_of_a_token(config)},
      *cache_);
  forward_ = std::make_unique<Forward>(model_, *backend_, plan.limits, Dump::of_environment());
  builder_ = std::make_unique<StepBuilder>(config, plan.limits.tokens, plan.limits.sequences, plan.limits.max_pages);
  info_ = {
      .device = backend_->info(),
      .backend_why = backend_why,
      .model = config,
      .layout = checkpoint_->layout,
      .conversions = checkpoint_->conversions,
      .memory = plan.memory,
      .context_length = plan.kv.context_length,
      .max_sequences = options.max_sequences,
      .max_queue = options.max_queue,
      .max_batch_tokens = plan.limits.tokens,
      .kv_type = plan.kv_type,
      .prefix_cache = options.prefix_cache,
      .dense_weights = model_.holds_q8() ? DenseWeights::kQ8 : options.dense_weights,
      .expert_weights = options.expert_weights,
      .packed_weights = packed_weights,
      .repeatable = options.repeatable,
      .weights_bytes = total,
      .packed_bytes = backend_->packer().packed_bytes() + adapters_.bytes(),
      .workspace_bytes = plan.workspace_bytes,
      .kv_bytes = kv_->bytes(),
      .kv_tokens = int64_t(plan.kv.pages[kKvFull]) * kPageTokens,
      .merged_adapters = merged,
  };
  for (const KvGroup group : {kKvFull, kKvWindow}) stats_.pages[group] = cache_->stats(group);
  constraints_ = std::make_shared<grammar::Constraints>(config.vocab);
  check_cancelled();
  progress({"ready", total, total});
  thread_ = Thread("gpt-oss engine", [this] { loop(); });
}

static std::string message_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& error) {
    return as_error(error).what();
  }
}

// The error for the requests that were present when the engine failed: kModelFormat if its checkpoint has changed.
Error Engine::ending_of(const std::exception_ptr& thrown) {
  Code code = Code::kDevice;
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    if (error.code() == Code::kModelFormat) code = error.code();
  } catch (const std::exception&) {
  }
  return Error(code, str("the engine ended in the middle of a step: ", message_of(thrown)));
}

Engine::~Engine() { close(); }

uint64_t Engine::connect(std::function<void()> wake) {
  std::lock_guard lock(mutex_);
  if (closing_) throw Error(Code::kClosed, "the engine is closed");
  clients_[++last_client_].wake = std::move(wake);
  return last_client_;
}

void Engine::disconnect(uint64_t client) {
  {
    std::lock_guard lock(mutex_);
    clients_.erase(client);
  }
  send(Cancel{client});
}

std::vector<Event> Engine::take_events(uint64_t client) {
  std::lock_guard lock(mutex_);
  const auto at = clients_.find(client);
  return at == clients_.end() ? std::vector<Event>() : std::exchange(at->second.mailbox, {});
}

static bool has_fewer(const std::pair<const std::string, int>& a, const std::pair<const std::string, int>& b) {
  return a.second < b.second;
}

void Engine::submit(Request request) {
  const Config& config = info_.model;
  const char* const given = request.logits_last > 0 && !request.scored ? "tokens" : "prompt";
  if (request.prompt.empty()) {
    throw Error(Code::kInvalidArgument, "the prompt has no tokens: at least one is needed", given);
  }
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    if (request.prompt[i] < 0 || request.prompt[i] >= config.vocab) {
      throw Error(Code::kInvalidArgument,
                  str("token ", request.prompt[i], " at index ", i, " of the prompt is outside the vocabulary of ",
                      config.vocab),
                  str(given, "[", i, "]"));
    }
  }
  for (const SamplingContext::Bias& bias : request.bias) {
    if (bias.token < 0 || bias.token >= config.vocab) {
      throw Error(Code::kInvalidArgument,
                  str("token ", bias.token, " of the logit bias is outside the vocabulary of ", config.vocab),
                  "logitBias");
    }
  }
  if (request.author) request.author->check(config.vocab);
  uint64_t adapter = 0;
  if (!request.adapter_name.empty()) {
    const NamedAdapters::Chosen chosen = adapters_.find(request.adapter_name);
    request.adapter = chosen.weights;
    adapter = chosen.number;
  }
  const int64_t prompt = int64_t(request.prompt.size());
  const int64_t least_output = request.logits_last > 0 ? 0 : 1;
  if (prompt + least_output > info_.context_length) {
    throw Error(
        Code::kContextOverflow,
        str("the prompt has ", prompt, " tokens and the context holds ", info_.context_length, ", output included"),
        given);
  }
  if (!request.constraint_text.empty()) find_constraint(request);
  request.logits_last = std::min(request.logits_last, prompt);
  request.max_tokens = std::min(request.max_tokens, info_.context_length - prompt);
  {
    std::lock_guard lock(mutex_);
    if (broken_) throw Error(Code::kClosed, str("the engine has ended: ", message_of(broken_)));
    if (closing_) throw Error(Code::kClosed, "the engine is closed");
    // Reserve first: once its constraint compiles, or its client was notified, the request must be queued.
    if (commands_.size() == commands_.capacity()) commands_.reserve(2 * commands_.size() + 1);
    int& own = queued_by_tenant_[request.tenant];
    int& most = std::max_element(queued_by_tenant_.begin(), queued_by_tenant_.end(), has_fewer)->second;
    const bool displaces = request.displaces = queued_ >= info_.max_queue;
    if (displaces && own + 1 >= most) {
      throw Error(Code::kQueueFull, str("the queue holds ", info_.max_queue, " waiting requests, its maximum"));
    }
    request.submitted = Clock::now();
    // The two prefixes keep the salts apart: without the prefix cache, only the choices of one request share pages.
    request.salt = info_.prefix_cache ? "=" + request.salt : str("#", request.client, ",", request.id);
    if (adapter != 0) request.salt = str("@", adapter, request.salt);  // keys and values are the adapter's
    if (request.compiling != nullptr) constraint_thread_.add(request.compiling);
    if (request.constraint != nullptr) accept(request.client, request.id, *request.constraint);
    commands_.emplace_back(std::move(request));
    // Until the current step ends, the choice of the request that loses its place is an estimate.
    ++own;
    if (displaces)
      --most;
    else
      ++queued_;
  }
  changed_.notify_one();
}

// Takes a compiled constraint from the cache, or makes a job that compiles it.
void Engine::find_constraint(Request& request) {
  std::shared_ptr<grammar::Constraints> constraints;
  {
    std::lock_guard lock(mutex_);
    constraints = constraints_;
  }
  if (constraints == nullptr) throw Error(Code::kClosed, "the engine is closed");
  request.constraint = constraints->find(request.constraint_text, request.stop_tokens);
  if (request.constraint != nullptr) return;
  request.compiling = std::make_shared<ConstraintJob>();
  request.compiling->text = std::move(request.constraint_text);
  request.compiling->constraints = std::move(constraints);
  request.compiling->ends = request.stop_tokens;
  request.compiling->done = [this, client = request.client, id = request.id,
                             job = request.compiling.get()](const CompiledConstraint& constraint) {
    compiled(client, id, constraint, job->cancelled);
  };
}

template <typename Body>
auto Engine::with_backend(const Body& body) {
  std::lock_guard joining(joining_);  // close() frees the backend
  {
    std::lock_guard lock(mutex_);
    if (closing_ || broken_) throw Error(Code::kClosed, "the engine is closed");
  }
  return body(*backend_);
}

AdapterInfo Engine::load_adapter(const AdapterOption& option) {
  return adapters_.load(option, info_.model, with_backend([](Backend& backend) { return backend.memory(); }));
}

std::shared_ptr<const AdapterWeights> Engine::hold(std::shared_ptr<const AdapterWeights> host) {
  return with_backend([&](Backend& backend) { return backend.hold_adapter(std::move(host)); });
}

void Engine::send(Command command) {
  {
    std::lock_guard lock(mutex_);
    if (closing_ || broken_) return;  // no thread is left to carry it out
    commands_.push_back(std::move(command));
  }
  changed_.notify_one();
}

// Runs on the compiler's thread. The client gets kAccepted at once, and a refusal with the current step.
void Engine::compiled(uint64_t client, uint64_t id, const CompiledConstraint& constraint,
                      const std::atomic<bool>& is_over) {
  {
    std::lock_guard lock(mutex_);
    // Nothing may come after the last event of a request. It is over before publish() takes this lock for that event.
    if (closing_ || broken_ || is_over) return;
    // A caller that catches an exception calls again: no event may be posted twice.
    commands_.push_back(Compiled{client, id, constraint});
    try {
      if (const auto* made = std::get_if<std::shared_ptr<const grammar::Constraint>>(&constraint))
        accept(client, id, **made);
    } catch (...) {
      commands_.pop_back();
      throw;
    }
  }
  changed_.notify_one();
}

// The caller holds the lock.
void Engine::accept(uint64_t client, uint64_t id, const grammar::Constraint& constraint) {
  post(client, {.id = id, .kind = Event::Kind::kAccepted, .relaxed = constraint.relaxed});
}

// The caller holds the lock: after disconnect() `wake` must not be called. If memory is refused, the event stays whole.
void Engine::post(uint64_t client, Event&& event) {
  const auto known = clients_.find(client);
  if (known == clients_.end()) return;
  const bool was_empty = known->second.mailbox.empty();
  known->second.mailbox.push_back(std::move(event));
  if (was_empty && known->second.wake) known->second.wake();
}

void Engine::cancel(uint64_t client, uint64_t id) { send(Cancel{client, id}); }

void Engine::cancel_choice(uint64_t client, uint64_t id, int choice) { send(Cancel{client, id, choice}); }

void Engine::pause(uint64_t client, uint64_t id, int choice, bool paused) { send(Pause{client, id, choice, paused}); }

void Engine::supply_logits(uint64_t client, uint64_t id, int choice, std::vector<float> logits) {
  if (const int vocab = info_.model.vocab; logits.size() != size_t(vocab)) {  // else its sequence would wait forever
    throw Error(Code::kInvalidArgument, str("there are ", logits.size(), " logits where ", vocab, " are expected"));
  }
  send(Supply{client, id, choice, std::move(logits)});
}

EngineStats Engine::stats() const {
  std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting = queued_;
  if (constraints_) {
    stats.grammar_bytes = constraints_->bytes();
    stats.grammars = int(constraints_->grammars());
  }
  stats.ended = closing_ || broken_ != nullptr;
  return stats;
}

std::optional<Error> Engine::ending() const {
  std::lock_guard lock(mutex_);
  if (!over_) return std::nullopt;
  return broken_ ? ending_of(broken_) : Error(Code::kClosed, "the engine was closed");
}

void Engine::close() {
  std::lock_guard joining(joining_);
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_one();
  constraint_thread_.stop();
  mask_thread_.stop();
  if (!thread_.joinable()) return;
  thread_.join();
  {
    std::lock_guard lock(mutex_);
    constraints_.reset();
  }
  adapters_.close();
  forward_.reset();
  kv_.reset();
  model_ = {};
  backend_.reset();
  checkpoint_.reset();  // last: the weights of a CPU lie in its mapped files
  give_back_memory();
}

}  // namespace oss
