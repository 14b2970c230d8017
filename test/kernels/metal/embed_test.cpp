#include "test/kernels/gpu/values.h"
#include "test/kernels/metal/support.h"

namespace oss::test {

TEST("metal embed: exactly the rows of the step's tokens, given or drawn before, widened") {
  for_each_metal_device([](MetalDevice& device) {
    const int vocab = 11, capacity = 6;
    const std::vector<int32_t> given = {10, -2, 3, -1}, ids = {10, 0, 3, 7};
    std::vector<SampleResult> drawn(2);
    drawn[0].token = 7;
    drawn[1].token = 0;
    const MetalArray<int32_t> token_ids(device, given), known(device, ids);
    const MetalArray<SampleResult> drawn_there(device, drawn);
    for (const int hidden : {4, 32, 2880, 3200}) {
      const std::vector<float> table = exact_values(size_t(vocab) * hidden, 1);
      // As in a mapped file: aligned to 8 bytes, not to more.
      std::vector<uint16_t> shifted = to_bf16(table);
      shifted.insert(shifted.begin(), 4, 0x7FC0);
      const MetalArray<uint16_t> table_there(device, shifted);
      for (const bool is_drawn : {true, false}) {
        metal::StepArrays step;
        step.tokens = int(ids.size());
        step.token_ids = is_drawn ? token_ids.data() : known.data();
        if (is_drawn) {
          step.drawn = drawn_there.data();
          step.drawn_rows = int(drawn.size());
        }
        const MetalArray<float> x(device, size_t(capacity) * hidden);
        metal::embed(device.encoder, {step.tokens, hidden}, step, table_there.data() + 4, vocab, x.data());
        check_rows(device.name, x.read(), table, hidden, ids);
      }
    }
  });
}

TEST("metal gather_rows: exactly the rows whose logits are needed") {
  for_each_metal_device([](MetalDevice& device) {
    const int tokens = 7, capacity = 5;
    const std::vector<int32_t> wanted = {6, 2, 3};
    const MetalArray<int32_t> logit_tokens(device, wanted);
    metal::StepArrays step;
    step.tokens = tokens;
    step.rows = int(wanted.size());
    step.logit_tokens = logit_tokens.data();
    for (const int hidden : {4, 32, 2880}) {
      const std::vector<float> x = random_floats(size_t(tokens) * hidden, 1);
      const MetalArray<float> from(device, x), rows(device, size_t(capacity) * hidden);
      metal::gather_rows(device.encoder, {step.rows, hidden}, step, from.data(), rows.data());
      check_rows(device.name, rows.read(), x, hidden, wanted);
    }
  });
}

TEST("metal embed: a barrier before the rows are gathered, and nothing encoded for no tokens") {
  for_each_metal_device([](MetalDevice& device) {
    const MetalArray<int32_t> token_ids(device, std::vector<int32_t>{-1}),
        logit_tokens(device, std::vector<int32_t>{0});
    const MetalArray<SampleResult> drawn(device, std::vector<SampleResult>(1));
    const MetalArray<uint16_t> table(device, to_bf16(exact_values(3 * 32, 1)));
    const MetalArray<float> x(device, 32), rows(device, 32);
    metal::StepArrays step;
    step.tokens = step.rows = step.drawn_rows = 1;
    step.token_ids = token_ids.data();
    step.drawn = drawn.data();
    step.logit_tokens = logit_tokens.data();
    metal::embed(device.encoder, {1, 32}, step, table.data(), 3, x.data());
    metal::gather_rows(device.encoder, {1, 32}, step, x.data(), rows.data());
    const std::vector<float> gathered = rows.read(), embedded = x.read();
    CHECK(gathered == embedded);
    CHECK_EQ(device.encoder.barriers(), 1);
    metal::embed(device.encoder, {0, 32}, step, table.data(), 3, x.data());  // no tokens, no dispatch
    CHECK_EQ(device.encoder.dispatches(), 2);
  });
}

}  // namespace oss::test
