// How the engine's thread draws tokens from the logits of a step, with the sampling options of the request.
#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "native/engine/engine.h"

namespace oss {

// Arguments with which the highest logit wins, whatever the request asks for.
static SamplingArgs certain(SamplingArgs args) {
  args.temperature = 0;
  args.repetition_penalty = 1;
  args.presence_penalty = args.frequency_penalty = 0;
  args.mask_reserved = 0;
  return args;
}

// Reports the log probabilities of the prompt's tokens that follow the rows of a part. Each is drawn with certainty, so
// that every device computes it as it does for a completion. The last token of the prompt has no successor in it.
void Engine::score(Sequence& sequence, const Scheduler::Part& part, int first_row) {
  const Request& request = sequence.request();
  const int64_t first = part.begin + part.tokens - part.rows + 1;
  const int64_t rows = std::min(part.rows, int64_t(request.prompt.size()) - first);
  if (rows <= 0) return;
  const size_t vocab = size_t(info_.model.vocab);
  const std::vector<SamplingArgs> args(size_t(rows), certain(request.sampling));
  std::vector<SamplingContext::Bias> biases;
  std::vector<SamplingContext> contexts;
  biases.reserve(size_t(rows));
  for (int64_t row = 0; row < rows; ++row) {
    biases.push_back({request.prompt[size_t(first + row)], std::numeric_limits<float>::max()});
    contexts.push_back({.seen = {}, .bias = {&biases.back(), 1}, .top_logprobs = request.top_logprobs});
  }
  backend_->sample(int(rows), int(vocab), forward_->logits() + size_t(first_row) * vocab, args, contexts);
  std::vector<Sampled> scores = backend_->sampled();
  for (int64_t row = 0; row < rows; ++row) {
    // Another token is drawn where this one has no number as its logit.
    if (scores[size_t(row)].token != biases[size_t(row)].token) {
      scores[size_t(row)].logprob = -std::numeric_limits<float>::infinity();
    }
  }
  tell(sequence, {.kind = Event::Kind::kScores, .scores = std::move(scores), .first = first});
}

// Draws from adjacent rows of the logits.
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
        // A token outside the model's vocabulary needs no ban.
        if (uint32_t(token) < vocab) bias.push_back({token, -std::numeric_limits<float>::infinity()});
      }
    }
    std::span<const SamplingContext::Seen> seen = sequence.seen;
    if (request.author) {
      // Drawn like any other token, so that its log probability comes from the model.
      args.back() = certain(args.back());
      bias = {{*request.author->token(sequence.choice, draws[i].position), std::numeric_limits<float>::max()}};
      seen = {};
    }
    contexts.push_back({.seen = seen, .bias = bias, .top_logprobs = request.top_logprobs});
    if (sequence.mask != nullptr && !request.author) {
      contexts.back().allowed = sequence.wished != nullptr ? *sequence.wished : *sequence.mask;
    }
  }
  backend_->sample(int(args.size()), int(vocab), forward_->logits() + size_t(draws.front().row) * vocab, args,
                   contexts);
}

// Rows of sequences that need only their logits may lie between the rows of the draws.
void Engine::draw_now(std::span<const Draw> draws) {
  for (size_t first = 0; first < draws.size();) {
    size_t last = first + 1;
    while (last < draws.size() && draws[last].row == draws[last - 1].row + 1) ++last;
    const std::span<const Draw> together = draws.subspan(first, last - first);
    // Only draws without a result are repeated, one by one.
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
    attempt(*draws[i].sequence, [&] { append_token(draws[i], std::move(sampled[i]), now); });
  }
}

// Whether the logits of a step must stay until its draws are known. A step ahead would overwrite them.
bool Engine::may_draw_again(const Launched& step) {
  return std::any_of(step.parts.begin(), step.parts.end(), [](const Scheduler::Part& part) {
    return part.sequence != nullptr && part.sequence->wished != nullptr;
  });
}

// Draws once more if the limit of the request leaves no room for what follows the drawn token. The distribution is that
// of a draw within the limit, and the choice is known to be cut.
Sampled Engine::within_limit(const Draw& draw, Sampled sampled) {
  Sequence& sequence = *draw.sequence;
  if (std::exchange(sequence.wished, nullptr) == nullptr) return sampled;
  if (grammar::allows(*sequence.mask, sampled.token)) return sampled;
  sequence.is_cut = true;
  return std::move(sample({&draw, 1}).front());
}

void Engine::append_token(const Draw& draw, Sampled drawn, Clock::time_point now) {
  Sequence& sequence = *draw.sequence;
  if (sequence.shared->failed) return;
  if (sequence.constraint_failure) return fail(sequence, *sequence.constraint_failure);
  Sampled sampled = within_limit(draw, std::move(drawn));
  const int32_t token = sampled.token;
  if (sequence.matcher != nullptr) sequence.matcher->accept(token);
  sequence.mask = nullptr;
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
    const bool cut = sequence.is_cut && !piece.stopped;
    end(sequence, cut ? FinishReason::kLength : FinishReason::kStop, piece.stopped ? "" : sequence.text.end());
  } else if (sequence.completion() >= request.max_tokens) {
    end(sequence, FinishReason::kLength, sequence.text.end());
  } else if (request.author && !request.author->token(sequence.choice, sequence.completion())) {
    end(sequence, FinishReason::kStop, sequence.text.end());
  }
}

}  // namespace oss
