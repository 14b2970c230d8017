#include "kernels/metal/embed.h"

#include "kernels/common/q8.h"
#include "native/backend/metal/operations.h"

namespace oss::metal {

void embed(Encoder& encoder, const EmbedArgs& args, const StepArrays& step, const Rows& table, int vocab, float* x) {
  const EmbedLaunch launch = {.hidden = args.hidden};
  const size_t tokens = size_t(args.tokens), hidden = size_t(args.hidden), weights = size_t(vocab) * hidden;
  const Argument ids = reads(step.token_ids, tokens);
  const Argument drawn = step.drawn_rows > 0 ? reads(step.drawn, size_t(step.drawn_rows)) : ids;
  if (table.is_q8()) {
    encoder.dispatch("embed_q8", {uint32_t(args.tokens)}, kEmbedThreads,
                     {bytes_of(launch), ids, drawn, reads(table.codes, weights),
                      reads(table.scales, weights / kQ8Block), writes(x, tokens * hidden)});
  } else {
    encoder.dispatch("embed", {uint32_t(args.tokens)}, kEmbedThreads,
                     {bytes_of(launch), ids, drawn, reads(table.bf16, weights), writes(x, tokens * hidden)});
  }
}

void gather_rows(Encoder& encoder, const EmbedArgs& args, const StepArrays& step, const float* x, float* rows) {
  const EmbedLaunch launch = {.hidden = args.hidden};
  const size_t count = size_t(args.tokens), hidden = size_t(args.hidden);
  encoder.dispatch("gather_rows", {uint32_t(args.tokens)}, kEmbedThreads,
                   {bytes_of(launch), reads(step.logit_tokens, count), reads(x, size_t(step.tokens) * hidden),
                    writes(rows, count * hidden)});
}

}  // namespace oss::metal
