#include "native/backend/cpu/sample_row.h"

#include <bit>
#include <limits>

#include "kernels/common/penalty.h"

namespace oss {
namespace {

bool is_penalized(const SamplingArgs& args) {
  return args.repetition_penalty != 1 || args.presence_penalty != 0 || args.frequency_penalty != 0;
}

// Applies penalties and bias to the logits until it is destroyed, since log probabilities use the raw ones. The cost is
// proportional to the context.
class Adjusted {
 public:
  Adjusted(const SamplingArgs& args, const SamplingContext& context, float* logits) : logits_(logits) {
    before_.reserve((is_penalized(args) ? context.seen.size() : 0) + context.bias.size());
    if (is_penalized(args)) {
      for (const auto& [token, in_completion] : context.seen) {
        set(token, penalize(logits[token], args.repetition_penalty, args.presence_penalty, args.frequency_penalty,
                            in_completion));
      }
    }
    for (const auto& [token, bias] : context.bias) set(token, logits[token] + bias);
  }
  ~Adjusted() {
    // Backwards, so that a token that changed twice gets its first value last.
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

// Calls visit(token) for each token that is not allowed.
template <typename Visit>
void for_each_hidden(std::span<const uint32_t> allowed, int vocab, const Visit& visit) {
  for (size_t word = 0; word < allowed.size(); ++word) {
    for (uint32_t bits = ~allowed[word]; bits != 0; bits &= bits - 1) {
      const int token = int(word) * 32 + std::countr_zero(bits);
      if (token < vocab) visit(token);
    }
  }
}

// Hides forbidden tokens from draws until it is destroyed. The cost is proportional to their number: in free text, few.
class Hidden {
 public:
  Hidden(std::span<const uint32_t> allowed, float* logits, int vocab)
      : allowed_(allowed), logits_(logits), vocab_(vocab) {
    // Reserve first: if this fails, no logit has changed.
    size_t count = 0;
    for_each_hidden(allowed_, vocab_, [&](int) { ++count; });
    before_.reserve(count);
    for_each_hidden(allowed_, vocab_, [&](int token) {
      before_.push_back(logits_[token]);
      logits_[token] = -std::numeric_limits<float>::infinity();
    });
  }
  ~Hidden() {
    size_t next = 0;
    for_each_hidden(allowed_, vocab_, [&](int token) { logits_[token] = before_[next++]; });
  }
  Hidden(const Hidden&) = delete;
  Hidden& operator=(const Hidden&) = delete;

 private:
  std::span<const uint32_t> allowed_;
  float* logits_;
  int vocab_;
  std::vector<float> before_;
};

// Returns the allowed tokens in ascending order; more than `most` if there are more.
std::vector<int32_t> first_allowed(std::span<const uint32_t> allowed, size_t most) {
  std::vector<int32_t> tokens;
  for (size_t word = 0; word < allowed.size() && tokens.size() <= most; ++word) {
    for (uint32_t bits = allowed[word]; bits != 0; bits &= bits - 1) {
      tokens.push_back(int32_t(word) * 32 + std::countr_zero(bits));
    }
  }
  return tokens;
}

// A draw reads only the candidates, in the order of their ids. So where few tokens are allowed, these alone form the
// row: inside a constraint's fixed text there is often a single one.
int32_t draw_allowed(const SamplingArgs& args, std::span<const uint32_t> allowed, float* logits, int vocab,
                     const cpu::SampleMachine& machine) {
  constexpr size_t kFew = 1024;
  constexpr int32_t kFirstReserved = 200000;  // from here on, ids in the row must be the original ids
  if (allowed.empty()) return cpu::LogitRow(machine, args, logits, vocab).draw();
  const std::vector<int32_t> few = first_allowed(allowed, kFew);
  if (few.size() == 1) return few[0];
  if (few.size() <= kFew && few.back() < kFirstReserved) {
    std::vector<float> row;
    for (const int32_t token : few) row.push_back(logits[token]);
    return few[size_t(cpu::LogitRow(machine, args, row.data(), int(row.size())).draw())];
  }
  const Hidden hidden(allowed, logits, vocab);
  const int32_t token = cpu::LogitRow(machine, args, logits, vocab).draw();
  return (allowed[size_t(token) / 32] >> (token % 32) & 1) != 0 ? token : few[0];
}

bool is_adjusted(const SamplingArgs& args, const SamplingContext& context) {
  return is_penalized(args) || !context.bias.empty();
}

}  // namespace

Sampled sample_row(const SamplingArgs& args, const SamplingContext& context, float* logits, int vocab,
                   const cpu::SampleMachine& machine) {
  cpu::LogitRow row(machine, args, logits, vocab);
  Sampled out;
  if (is_adjusted(args, context)) {
    const Adjusted adjusted(args, context, logits);
    out.token = draw_allowed(args, context.allowed, logits, vocab, machine);
  } else if (!context.allowed.empty()) {
    out.token = draw_allowed(args, context.allowed, logits, vocab, machine);
  } else {
    out.token = row.draw();
  }
  out.logprob = row.logprob(out.token);
  for (const int32_t token : row.top(context.top_logprobs)) out.top.push_back({token, row.logprob(token)});
  return out;
}

}  // namespace oss
