// Which tokens the constraints of a step's sequences allow. A cheap mask is made at once. A slow one is made on another
// thread (mask_job.h), and its sequence sits out until then, so that the others need not wait. The mask is the same
// wherever it is made, so the completion does not depend on that.
#include <algorithm>
#include <utility>

#include "native/base/trace.h"
#include "native/engine/engine.h"

namespace oss {

// The budget of all masks that are made within one step: about 5 ms. Most of them are cached, or take microseconds. A
// sequence whose last mask was slow gets less, so that some is left for others.
constexpr uint64_t kWorkOfStep = 50'000, kWorkOfSlowOne = 2'000;

// The limit of a request may cut an author off anywhere, so an author's masks have no limit.
static int64_t tokens_left(const Sequence& sequence) {
  constexpr int64_t kNoLimit = int64_t(1) << 40;
  return sequence.request().author ? kNoLimit : sequence.request().max_tokens - sequence.completion();
}

static std::optional<Error> broken_constraint(const Sequence& sequence) {
  const auto& author = sequence.request().author;
  return author ? author->refusal(sequence.choice, sequence.completion(), *sequence.mask) : std::nullopt;
}

// Before a step: removes the parts whose next token needs a mask that is not made yet.
void Engine::hold_back(std::vector<Scheduler::Part>& parts) {
  uint64_t work = kWorkOfStep;
  std::erase_if(parts, [&](const Scheduler::Part& part) { return part.rows > 0 && !has_mask(*part.sequence, work); });
}

// While the device runs a step: drops the parts without a mask; their results are discarded.
void Engine::give_up_unmasked(Launched& step) {
  uint64_t work = kWorkOfStep;
  for (Scheduler::Part& part : step.parts) {
    if (part.sequence != nullptr && !has_mask(*part.sequence, work)) part.sequence = nullptr;
  }
}

// False when the sequence sits out until its Masked command arrives. Where its constraint cannot continue, any token is
// allowed: append_token() reports the failure then.
bool Engine::has_mask(Sequence& sequence, uint64_t& work_left) {
  if (!sequence.needs_mask()) return true;
  try {
    TraceSpan span("engine", "mask");
    const uint64_t work = sequence.masks_are_slow ? std::min(work_left, kWorkOfSlowOne) : work_left;
    grammar::Slice slice{.work = work, .waits = false};
    sequence.set_mask(sequence.matcher->mask(tokens_left(sequence), slice));
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
    sequence->set_mask(masked.job->mask());
    try {
      sequence->constraint_failure = broken_constraint(*sequence);
    } catch (const std::exception& error) {
      sequence->constraint_failure = as_error(error);
    }
    return;
  }
}

}  // namespace oss
