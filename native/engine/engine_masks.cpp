// Which tokens the constraints of a step's sequences allow. A mask that is quickly made is made at once; one that is not is
// made beside the steps (mask_job.h), and its sequence sits out until then: nobody else waits for it. It is the same mask
// wherever it is made, so what a sequence says does not depend on that.
#include <algorithm>
#include <utility>

#include "native/base/trace.h"
#include "native/engine/engine.h"

namespace oss {

// For all masks of a step together that are made at once: some 5 ms. Most of them were made before, or take microseconds.
// Whose last mask was slow gets less, so that some is left for others.
constexpr uint64_t kWorkOfStep = 50'000, kWorkOfSlowOne = 2'000;

// An author may be cut off by its request's limit, so its masks have none.
static int64_t tokens_left(const Sequence& sequence) {
  constexpr int64_t kNoLimit = int64_t(1) << 40;
  return sequence.request().author ? kNoLimit : sequence.request().max_tokens - sequence.completion();
}

static std::optional<Error> broken_constraint(const Sequence& sequence) {
  const auto& author = sequence.request().author;
  return author ? author->refusal(sequence.choice, sequence.completion(), *sequence.mask) : std::nullopt;
}

// Before a step: takes the parts out whose next token needs a mask that is not there yet.
void Engine::hold_back(std::vector<Scheduler::Part>& parts) {
  uint64_t work = kWorkOfStep;
  std::erase_if(parts, [&](const Scheduler::Part& part) { return part.rows > 0 && !has_mask(*part.sequence, work); });
}

// While the device is at a step: nobody asks for what it computes for those parts.
void Engine::give_up_unmasked(Launched& step) {
  uint64_t work = kWorkOfStep;
  for (Scheduler::Part& part : step.parts) {
    if (part.sequence != nullptr && !has_mask(*part.sequence, work)) part.sequence = nullptr;
  }
}

// False when the sequence sits out, until it is carried out that it is masked. Where its constraint cannot go on, any token
// is allowed: append_token() tells of that instead.
bool Engine::has_mask(Sequence& sequence, uint64_t& work_left) {
  if (!sequence.needs_mask()) return true;
  try {
    TraceSpan span("engine", "mask");
    const uint64_t work = sequence.masks_are_slow ? std::min(work_left, kWorkOfSlowOne) : work_left;
    grammar::Slice slice{.work = work, .waits = false};
    sequence.mask = sequence.matcher->mask(tokens_left(sequence), slice);
    work_left -= work - slice.work;
    sequence.masks_are_slow = sequence.mask == nullptr;
    if (sequence.mask == nullptr) {
      make_mask_apart(sequence);
      return false;
    }
    sequence.constraint_failure = broken_constraint(sequence);
  } catch (const std::exception& error) {
    sequence.constraint_failure = as_error(error);
  }
  return true;
}

void Engine::make_mask_apart(Sequence& sequence) {
  auto job = std::make_shared<MaskJob>();
  job->matcher = sequence.matcher;
  job->tokens_left = tokens_left(sequence);
  {
    std::lock_guard lock(mutex_);
    job->constraints = constraints_;
  }
  job->done = [this, of = std::weak_ptr<MaskJob>(job)] { send(Masked{of.lock()}); };
  mask_thread_.add(job);
  sequence.masking = std::move(job);
}

void Engine::carry_out(const Masked& masked) {
  for (Sequence* sequence : scheduler_->all()) {
    if (sequence->masking != masked.job) continue;
    sequence->masking.reset();
    sequence->constraint_failure = masked.job->failure;
    if (sequence->constraint_failure) return;
    sequence->mask = masked.job->mask();
    try {
      sequence->constraint_failure = broken_constraint(*sequence);
    } catch (const std::exception& error) {
      sequence->constraint_failure = as_error(error);
    }
    return;
  }
}

}  // namespace oss
