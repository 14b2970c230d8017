// The engine: a thread that takes commands, steps the model for all running sequences together, and publishes events.
//
// Only that thread touches the backend, the scheduler and the KV cache, so none of them needs a lock. Callers use two
// shared places, the command queue and the mailbox of each client. One mutex guards both and is held briefly.
#pragma once
#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "native/backend/backend.h"
#include "native/base/thread.h"
#include "native/checkpoint/checkpoint.h"
#include "native/engine/adapters.h"
#include "native/engine/constraint_job.h"
#include "native/engine/histogram.h"
#include "native/engine/job_thread.h"
#include "native/engine/kv_cache.h"
#include "native/engine/mask_job.h"
#include "native/engine/scheduler.h"
#include "native/engine/sequence.h"
#include "native/engine/step.h"
#include "native/model/forward.h"
#include "native/model/model.h"

namespace oss {

struct EngineOptions {
  std::string backend = "auto";
  int threads = 0;             // 0 = the backend's choice
  int64_t context_length = 0;  // 0 = the model's length, or what the KV cache holds if that is less
  int max_sequences = 64;
  int max_queue = 1024;
  int max_batch_tokens = 0;         // 0 = the backend's choice
  std::optional<KvType> kv_type{};  // none = the backend's choice
  uint64_t kv_bytes =
      0;  // 0 = all memory left on a dedicated device, else room for 4 contexts in half of the free memory
  bool prefix_cache = true;
  std::string numerics = "auto";  // "auto", "exact" or "fast"; a backend refuses a mode that it does not support
  DenseWeights dense_weights = DenseWeights::kBF16;
  ExpertWeights expert_weights = ExpertWeights::kMXFP4;
  std::string packed_weights = "auto";  // where a backend keeps its packed weights: "auto", "memory" or a folder
  bool repeatable = false;              // the same bits in any batch, even if that costs time
  std::vector<AdapterOption> adapters{};
};

struct EngineInfo {
  DeviceInfo device;
  std::string backend_why;  // why this backend: "asked for", or what "auto" found
  Config model;
  std::string layout;                              // layout of the checkpoint's files
  std::shared_ptr<const Conversions> conversions;  // null when nothing is converted
  DeviceMemory memory;                             // the memory on which the plan is based
  int64_t context_length = 0;
  int max_sequences = 0, max_queue = 0, max_batch_tokens = 0;
  KvType kv_type = kKvF32;
  bool prefix_cache = true;
  DenseWeights dense_weights = DenseWeights::kBF16;
  ExpertWeights expert_weights = ExpertWeights::kMXFP4;
  PackedWeights packed_weights;
  bool repeatable = false;
  uint64_t weights_bytes = 0;  // mapped files
  uint64_t packed_bytes = 0;   // packed copies in addition to them, and adapters that were loaded with the model
  uint64_t workspace_bytes = 0;
  uint64_t kv_bytes = 0;
  int64_t kv_tokens = 0;  // the capacity of the layers with full attention
  std::vector<AdapterInfo> merged_adapters{};
};

struct EngineStats {
  int running = 0;     // sequences that hold a place
  int waiting = 0;     // requests that could run if a place were free
  int blocked = 0;     // sequences, running or waiting, that wait for their client: paused, or with logits to come back
  int aside = 0;       // blocked sequences without a place: they gave it to others
  bool ended = false;  // closed or failed: nothing runs any more
  uint64_t steps = 0, prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, preemptions = 0;
  PageStats pages[kKvGroups];
  uint64_t grammar_bytes = 0;  // bytes of compiled constraints, kept or in use, and of their masks
  int grammars = 0;            // compiled constraints that are kept
  Histogram step_ms, step_tokens, queue_ms, first_token_ms, inter_token_ms;
};

struct LoadProgress {
  const char* phase;  // "open" | "pack" | "ready"
  uint64_t loaded_bytes, total_bytes;
  std::string writes = "";  // a file that is being written for later starts
};

class Engine {
 public:
  // Loads a checkpoint and starts the thread. `progress` is called from the calling thread only; `cancelled` is polled.
  // Throws what open_checkpoint, make_backend and the allocations throw, and kResourceLimit when the system refuses a
  // thread. Everything is freed then.
  Engine(const std::string& path, const EngineOptions& options,
         const std::function<void(const LoadProgress&)>& progress, const std::function<bool()>& cancelled);
  ~Engine();  // calls close()

  const EngineInfo& info() const { return info_; }

  // A client submits requests and receives their events. `wake` is called on any thread when the client's mailbox
  // becomes non-empty; it must not call the engine. After disconnect() `wake` is not called again and the client's
  // requests end.
  uint64_t connect(std::function<void()> wake);
  void disconnect(uint64_t client);
  std::vector<Event> take_events(uint64_t client);

  // May be called on any thread. submit throws kInvalidArgument, kContextOverflow, kQueueFull, kOutOfMemory or kClosed;
  // everything after that is an event. A request with a constraint text is queued at once, and waits there until it is
  // compiled. A full queue still takes a request if another tenant will then hold more places than the tenant of the
  // request. The newest request of the tenant that holds most places then ends with kQueueFull.
  void submit(Request request);
  void cancel(uint64_t client, uint64_t id);
  void cancel_choice(uint64_t client, uint64_t id, int choice);
  // A paused choice gets no further tokens. It keeps its place and its pages until another sequence needs them, and
  // then stands aside. At most max_queue requests stand aside. If there is one more, one of them ends with kQueueFull:
  // of the tenant with the most of them, the one that stands aside longest.
  void pause(uint64_t client, uint64_t id, int choice, bool paused);
  // Answers kProcess; `logits` has shape [vocab].
  void supply_logits(uint64_t client, uint64_t id, int choice, std::vector<float> logits);
  // May be called on any thread. load_adapter throws kClosed, and as NamedAdapters::load does.
  AdapterInfo load_adapter(const AdapterOption& option);
  void unload_adapter(const std::string& name) { adapters_.unload(name); }
  std::vector<AdapterInfo> adapters() const { return adapters_.list(); }
  EngineStats stats() const;
  // Returns the reason why the engine has ended, by close() or by a failure; set once the last event is in its mailbox.
  // A request without a final event has ended with this error: without memory there may be no event for it.
  std::optional<Error> ending() const;

  // Stops the current step between two layers, rejects every request with kClosed, joins the thread, and frees weights
  // and cache. Idempotent; info() and stats() stay.
  void close();

 private:
  struct Cancel {
    uint64_t client;
    std::optional<uint64_t> id{};  // none: all requests of the client
    std::optional<int> choice{};   // none: all choices
  };
  struct Pause {
    uint64_t client, id;
    int choice;
    bool paused;
  };
  struct Supply {
    uint64_t client, id;
    int choice;
    std::vector<float> logits;
  };
  struct Compiled {
    uint64_t client, id;
    CompiledConstraint constraint;
  };
  struct Masked {
    std::shared_ptr<const MaskJob> job;
  };
  using Command = std::variant<Request, Cancel, Pause, Supply, Compiled, Masked>;
  struct Client {
    std::function<void()> wake;
    std::vector<Event> mailbox;
  };

  // A step that the device runs, or has run.
  struct Launched {
    std::vector<Scheduler::Part> parts;  // sequence null: it has ended meanwhile
    int num_tokens = 0;
    bool queued = false;  // the draws are queued, one for each part with a row
  };
  struct Draw {
    Sequence* sequence;  // null: the sequence has ended, and its draw is discarded
    int row;             // row of the logits
    int64_t position;    // in the completion
  };

  // Runs `body` on the backend from any thread; throws kClosed when it is gone.
  template <typename Body>
  auto with_backend(const Body& body);
  std::shared_ptr<const AdapterWeights> hold(std::shared_ptr<const AdapterWeights> host);
  void send(Command command);
  void find_constraint(Request& request);
  void compiled(uint64_t client, uint64_t id, const CompiledConstraint& constraint, const std::atomic<bool>& is_over);
  void accept(uint64_t client, uint64_t id, const grammar::Constraint& constraint);
  void count_queue();
  void post(uint64_t client, Event&& event);
  void loop() noexcept;
  void run();
  void break_off(std::exception_ptr why) noexcept;
  static Error ending_of(const std::exception_ptr& thrown);
  void take_commands();
  void carry_out(Request request);
  void carry_out(const Cancel& cancel);
  void carry_out(const Pause& pause);
  void carry_out(Supply supply);
  void carry_out(const Compiled& compiled);
  void carry_out(const Masked& masked);
  bool step();
  bool begin(Launched& step);
  bool run_apart(const std::vector<Scheduler::Part>& parts);
  bool launch(Launched& step);
  void draw(Launched& step);
  void finish(const Launched& step);
  static int64_t drawn_position(const Scheduler::Part& part);
  void read_logits(Sequence& sequence, int first_row, int64_t rows);
  void score(Sequence& sequence, const Scheduler::Part& part, int first_row);
  // Masks of constraints (engine_masks.cpp).
  void hold_back(std::vector<Scheduler::Part>& parts);
  void give_up_unmasked(Launched& step);
  bool has_mask(Sequence& sequence, uint64_t& work_left);
  void make_mask_apart(Sequence& sequence);
  void queue_draws(std::span<const Draw> draws);
  void draw_now(std::span<const Draw> draws);
  // Throws kOutOfMemory or std::bad_alloc before any token is drawn.
  std::vector<Sampled> sample(std::span<const Draw> draws);
  void append_tokens(std::span<const Draw> draws, std::vector<Sampled> sampled);
  void append_token(const Draw& draw, Sampled drawn, Clock::time_point now);
  Sampled within_limit(const Draw& draw, Sampled sampled);
  static bool may_draw_again(const Launched& step);
  void end(Sequence& sequence, FinishReason reason, std::string text);
  template <typename Body>
  void attempt(Sequence& sequence, const Body& body);
  void fail(Sequence& sequence, const Error& error);
  void remove_failed();
  void make_room();
  void remove(Sequence& sequence);
  void fail_all(Code code, const std::string& message);
  void tell(Sequence& sequence, Event event);
  void take_author_time();
  void publish();

  std::unique_ptr<const Checkpoint> checkpoint_;  // its mapped files may be the weights themselves
  std::unique_ptr<Backend> backend_;
  Model model_;
  EngineInfo info_;
  NamedAdapters adapters_;

  // Used by the engine thread only.
  std::unique_ptr<Forward> forward_;
  std::unique_ptr<KvStorage> kv_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<StepBuilder> builder_;
  std::optional<Launched> ahead_;                   // the step after the one that is reported next
  std::vector<std::pair<uint64_t, Event>> outbox_;  // the events of this step, by client
  double author_ms_ = 0;                            // time that authors add to this step
  EngineStats counters_;
  uint64_t arrivals_ = 0;
  bool any_failed_ = false;     // failed requests whose sequences are still scheduled
  bool any_displaces_ = false;  // requests that were accepted into a full queue

  mutable std::mutex mutex_;  // guards the members below
  std::condition_variable changed_;
  std::vector<Command> commands_;
  std::map<uint64_t, Client> clients_;
  uint64_t last_client_ = 0;
  EngineStats stats_;
  int queued_ = 0;  // requests submitted and not yet running, except those that stand aside
  std::map<std::string, int> queued_by_tenant_;        // the same, for each tenant with queued requests
  bool over_ = false;                                  // the thread posts no more events
  std::exception_ptr broken_;                          // why the engine failed; null while it runs
  std::shared_ptr<grammar::Constraints> constraints_;  // null once the engine is closed

  JobThread constraint_thread_{"constraints"}, mask_thread_{"masks"};

  std::atomic<bool> closing_{false};
  std::mutex joining_;  // close() on two threads: the second waits for the first. Guards backend_ on other threads
  Thread thread_;
};

// Runs `body`. If memory is refused to it, only the request of this sequence fails. A body that throws must do so
// before it removes the sequence.
template <typename Body>
void Engine::attempt(Sequence& sequence, const Body& body) {
  try {
    body();
  } catch (const std::exception& error) {
    if (!is_out_of_memory(error)) throw;
    if (!sequence.shared->failed) fail(sequence, as_error(error));
  }
}

}  // namespace oss
