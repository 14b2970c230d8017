#include "native/backend/cpu/sample_row.h"

#include "kernels/common/penalty.h"
#include "kernels/cpu/sample.h"

namespace oss {
namespace {

// Penalties and bias are in the logits while this lives: log probabilities are of the raw ones. It costs what the
// context holds, nothing when that asks for nothing.
class Adjusted {
 public:
  Adjusted(const SamplingArgs& args, const SamplingContext& context, float* logits) : logits_(logits) {
    const bool penalized = args.repetition_penalty != 1 || args.presence_penalty != 0 || args.frequency_penalty != 0;
    before_.reserve((penalized ? context.seen.size() : 0) + context.bias.size());
    if (penalized) {
      for (const auto& [token, in_completion] : context.seen) {
        set(token, penalize(logits[token], args.repetition_penalty, args.presence_penalty, args.frequency_penalty,
                            in_completion));
      }
    }
    for (const auto& [token, bias] : context.bias) set(token, logits[token] + bias);
  }
  ~Adjusted() {
    // Backwards: a token that changed twice gets its first value last.
    for (auto change = before_.rbegin(); change != before_.rend(); ++change) logits_[change->token] = change->logit;
  }
  Adjusted(const Adjusted&) = delete;
  Adjusted& operator=(const Adjusted&) = delete;

 private:
  struct Change {
    int32_t token;
    float logit;
  };

  void set(int32_t token, float logit) {
    before_.push_back({token, logits_[token]});
    logits_[token] = logit;
  }

  float* logits_;
  std::vector<Change> before_;
};

int draw(const SamplingArgs& args, const SamplingContext& context, float* logits, int vocab) {
  const Adjusted adjusted(args, context, logits);
  return cpu::draw_token(args, logits, vocab);
}

}  // namespace

Sampled sample_row(const SamplingArgs& args, const SamplingContext& context, float* logits, int vocab) {
  const int token = draw(args, context, logits, vocab);
  const cpu::LogSoftmax logprob(logits, vocab);
  Sampled out{.token = token, .logprob = logprob(token), .top = {}};
  if (context.top_logprobs > 0) {
    std::vector<int32_t> top(size_t(context.top_logprobs));
    const int count = cpu::top_tokens(args, logits, vocab, context.top_logprobs, top.data());
    for (int i = 0; i < count; ++i) out.top.push_back({top[i], logprob(top[i])});
  }
  return out;
}

}  // namespace oss
