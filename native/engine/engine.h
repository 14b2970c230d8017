// The engine: a thread that takes commands, steps the model for all running sequences together, and publishes events.
//
// Only that thread touches the backend, the scheduler and the KV cache, so none of them needs a lock. Callers meet it at two
// places, both under a mutex held for moments: the command queue in, and the mailbox of each client out.
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
  int64_t context_length = 0;  // 0 = the model's, or what the KV cache holds if that is less
  int max_sequences = 64;
  int max_queue = 1024;
  int max_batch_tokens = 0;         // 0 = the backend's choice
  std::optional<KvType> kv_type{};  // none = the backend's choice
  uint64_t kv_bytes =
      0;  // 0 = on a card of its own all that is left, else room for 4 contexts in half of the free memory
  bool prefix_cache = true;
  std::string numerics = "auto";  // "exact" or "fast"; the backend refuses what it does not have
  DenseWeights dense_weights = DenseWeights::kBF16;
  std::string packed_weights = "auto";  // where a backend keeps what it packs: "auto", "memory" or a folder
  bool repeatable = false;              // the same bits in any batch, also where that costs time
};

struct EngineInfo {
  DeviceInfo device;
  Config model;
  std::string layout;   // of the checkpoint's files
  DeviceMemory memory;  // of which the plan was made
  int64_t context_length = 0;
  int max_sequences = 0, max_queue = 0, max_batch_tokens = 0;
  KvType kv_type = kKvF32;
  bool prefix_cache = true;
  DenseWeights dense_weights = DenseWeights::kBF16;
  PackedWeights packed_weights;
  bool repeatable = false;
  uint64_t weights_bytes = 0;  // mapped files
  uint64_t packed_bytes = 0;   // copies beside them
  uint64_t workspace_bytes = 0;
  uint64_t kv_bytes = 0;
  int64_t kv_tokens = 0;  // that layers which see everything can hold
};

struct EngineStats {
  int running = 0;     // sequences that have a place
  int waiting = 0;     // requests that could run if they had one
  int blocked = 0;     // sequences, running or not, that wait for their client: paused, or with logits to come back
  int aside = 0;       // those of them that are not running: others have their places
  bool ended = false;  // closed, or broken: nothing runs any more
  uint64_t steps = 0, prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, preemptions = 0;
  PageStats pages[kKvGroups];
  uint64_t grammar_bytes = 0;  // of compiled constraints, kept or in use, and the masks made of them
  int grammars = 0;            // that are kept
  Histogram step_ms, step_tokens, queue_ms, first_token_ms, inter_token_ms;
};

struct LoadProgress {
  const char* phase;  // "open" | "pack" | "ready"
  uint64_t loaded_bytes, total_bytes;
  std::string writes = "";  // a file that is being made, for later starts
};

class Engine {
 public:
  // Loads a checkpoint and starts the thread. `progress` may be called from this thread only; `cancelled` is polled.
  // Throws what open_checkpoint, make_backend and the allocations throw, kResourceLimit when the system refuses a thread;
  // nothing is left behind then.
  Engine(const std::string& path, const EngineOptions& options,
         const std::function<void(const LoadProgress&)>& progress, const std::function<bool()>& cancelled);
  ~Engine();  // as close()

  const EngineInfo& info() const { return info_; }

  // A client is whoever submits requests and hears of them. `wake` is called on any thread when the client's mailbox
  // becomes non-empty; it must not call back. After disconnect() it is not called any more and the client's requests end.
  uint64_t connect(std::function<void()> wake);
  void disconnect(uint64_t client);
  std::vector<Event> take_events(uint64_t client);

  // Any thread. submit throws kInvalidArgument, kContextOverflow, kQueueFull, kOutOfMemory or kClosed; everything after that
  // is an event. A request with a constraint text has its place in the queue at once, and waits there until it is compiled.
  // A full queue still takes a request of a tenant that holds fewer places than another one will then: the newest request of
  // the tenant that holds most ends with kQueueFull in its stead.
  void submit(Request request);
  void cancel(uint64_t client, uint64_t id);
  void cancel_choice(uint64_t client, uint64_t id, int choice);
  // A paused choice gets no further tokens; it keeps place and pages while nobody else needs them, and then stands aside.
  // max_queue requests may stand aside: one more, and that of the tenant with the most of them which does so longest ends
  // with kQueueFull.
  void pause(uint64_t client, uint64_t id, int choice, bool paused);
  // The answer to kProcess, [vocab].
  void supply_logits(uint64_t client, uint64_t id, int choice, std::vector<float> logits);
  EngineStats stats() const;
  // Once the last event is in its mailbox: why the engine has ended, by close() or by itself. Requests that no event ends
  // have ended with this: where memory is refused, there may be none for events.
  std::optional<Error> ending() const;

  // Ends the step that runs (between two layers), rejects every request with kClosed, joins the thread, and frees weights
  // and cache. Idempotent; info() and stats() stay.
  void close();

 private:
  struct Cancel {
    uint64_t client;
    std::optional<uint64_t> id{};  // none: everything of the client
    std::optional<int> choice{};   // none: all of them
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

  // A step that the device has, or has had.
  struct Launched {
    std::vector<Scheduler::Part> parts;  // sequence null: it has ended meanwhile
    int num_tokens = 0;
    bool queued = false;  // its draws are under way, one for each part with a row
  };
  struct Draw {
    Sequence* sequence;  // null: it has ended, and nobody asks for this
    int row;             // of the logits
    int64_t position;    // in the completion
  };

  void send(Command command);
  void find_constraint(Request& request);
  void compiled(uint64_t client, uint64_t id, const CompiledConstraint& constraint);
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
  // Masks (engine_masks.cpp).
  void hold_back(std::vector<Scheduler::Part>& parts);
  void give_up_unmasked(Launched& step);
  bool has_mask(Sequence& sequence, uint64_t& work_left);
  void make_mask_apart(Sequence& sequence);
  void queue_draws(std::span<const Draw> draws);
  void draw_now(std::span<const Draw> draws);
  // Throws kOutOfMemory or std::bad_alloc before any token is known.
  std::vector<Sampled> sample(std::span<const Draw> draws);
  void append_tokens(std::span<const Draw> draws, std::vector<Sampled> sampled);
  void append_token(Sequence& sequence, Sampled sampled, Clock::time_point now);
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

  // The engine thread's own.
  std::unique_ptr<Forward> forward_;
  std::unique_ptr<KvStorage> kv_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<StepBuilder> builder_;
  std::optional<Launched> ahead_;                   // the step after the one that is told of next
  std::vector<std::pair<uint64_t, Event>> outbox_;  // of this step, by client
  double author_ms_ = 0;                            // that this step takes beyond its computing
  EngineStats counters_;
  uint64_t arrivals_ = 0;
  bool any_failed_ = false;     // requests whose sequences are still there
  bool any_displaces_ = false;  // requests that were taken into a full queue

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<Command> commands_;
  std::map<uint64_t, Client> clients_;
  uint64_t last_client_ = 0;
  EngineStats stats_;
  int queued_ = 0;  // requests submitted and not yet running, but for those that stand aside
  std::map<std::string, int> queued_by_tenant_;        // the same, for each tenant that has some
  bool over_ = false;                                  // the thread tells nothing more
  std::exception_ptr broken_;                          // why the engine ended by itself; null while it lives
  std::shared_ptr<grammar::Constraints> constraints_;  // null once the engine is closed

  JobThread constraint_thread_{"constraints"}, mask_thread_{"masks"};

  std::atomic<bool> closing_{false};
  std::mutex joining_;  // close() from two threads: the second waits for the first
  Thread thread_;
};

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

}  // namespace oss
