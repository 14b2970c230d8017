// The engine: a thread that takes commands, steps the model for all running sequences together, and publishes events.
//
// Only that thread touches the backend, the KV pages and the running list, so none of them needs a lock. Callers meet it
// at two places, both under one mutex held for moments: the command queue in, the mailbox out.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "native/backend/backend.h"
#include "native/engine/page_pool.h"
#include "native/engine/sequence.h"
#include "native/engine/step.h"
#include "native/model/forward.h"
#include "native/model/model.h"

namespace oss {

struct EngineOptions {
  std::string backend = "auto";
  int threads = 0;              // 0 = the backend's choice
  int64_t context_length = 0;   // 0 = the model's, or what the KV cache holds if that is less
  int max_sequences = 64;
  int max_queue = 1024;
  int max_batch_tokens = 256;   // a CPU gains nothing from larger prefill chunks, and a cancel waits for one chunk
  uint64_t kv_bytes = 0;        // 0 = room for 4 full contexts, at most half of the memory available
};

struct EngineInfo {
  DeviceInfo device;
  Config model;
  std::string layout;            // of the checkpoint's files
  int64_t context_length = 0;
  int max_sequences = 0, max_queue = 0, max_batch_tokens = 0;
  uint64_t weights_bytes = 0;    // mapped files
  uint64_t packed_bytes = 0;     // copies beside them
  uint64_t workspace_bytes = 0;
  uint64_t kv_bytes = 0;
  int64_t kv_tokens = 0;
};

struct EngineStats {
  int running = 0, waiting = 0;
  uint64_t steps = 0, prompt_tokens = 0, completion_tokens = 0, preemptions = 0;
  double step_ms = 0;  // sum over all steps
  int pages_total = 0, pages_free = 0;
};

struct LoadProgress {
  const char* phase;  // "open" | "pack" | "ready"
  uint64_t loaded_bytes, total_bytes;
};

class Engine {
 public:
  // Loads a checkpoint and starts the thread. `progress` may be called from this thread only; `cancelled` is polled.
  // Throws what open_checkpoint, make_backend and the allocations throw; nothing is left behind then.
  Engine(const std::string& path, const EngineOptions& options, const std::function<void(const LoadProgress&)>& progress,
         const std::function<bool()>& cancelled);
  ~Engine();  // as close()

  const EngineInfo& info() const { return info_; }

  // Called on the engine thread when the mailbox becomes non-empty; take_events() empties it. Set before the first submit.
  void on_events(std::function<void()> wake);
  std::vector<Event> take_events();

  // Any thread. submit throws kInvalidArgument, kContextOverflow, kQueueFull or kClosed; everything after that is an event.
  void submit(Request request);
  void cancel(uint64_t id);
  EngineStats stats() const;

  // Ends the step that runs (between two layers), rejects every request with kClosed, joins the thread, and frees weights
  // and cache. Idempotent; info() and stats() stay.
  void close();

 private:
  void loop();
  void take_commands();
  void drop_cancelled();
  void admit();
  void ensure_pages();
  void preempt(size_t index);
  void step();
  void read_logits(Sequence& sequence, int first_row, int64_t rows);
  void sample_next(const std::vector<std::pair<Sequence*, int>>& rows);
  void append_token(Sequence& sequence, const Sampled& sampled, Clock::time_point now);
  void end(std::unique_ptr<Sequence>& sequence, FinishReason reason);
  void fail_all(Code code, const std::string& message);
  void publish();

  std::unique_ptr<Backend> backend_;
  Model model_;
  EngineInfo info_;

  // The engine thread's own.
  std::unique_ptr<Forward> forward_;
  std::unique_ptr<KvStorage> kv_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<StepBuilder> builder_;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // oldest first
  std::vector<Event> outbox_;                       // of this step
  int logit_rows_ = 0;                              // of one step, at most
  EngineStats counters_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<Request> submitted_;
  std::vector<uint64_t> cancelled_;
  std::vector<Event> mailbox_;
  std::function<void()> wake_;
  EngineStats stats_;
  int queued_ = 0;            // submitted and not yet running
  std::string broken_;        // why the engine ended by itself; empty while it lives

  std::atomic<bool> closing_{false};
  std::mutex joining_;        // close() from two threads: the second waits for the first
  std::thread thread_;
};

}  // namespace oss
