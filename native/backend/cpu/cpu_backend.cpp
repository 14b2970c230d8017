#include "native/backend/cpu/cpu_backend.h"

#include <cstring>

#include "kernels/common/q8.h"
#include "native/backend/cpu/sample_row.h"
#include "native/base/error.h"
#include "native/base/machine.h"

namespace oss {

DeviceInfo CpuBackend::info() const {
  return {.backend = "cpu",
          .device = cpu_name(),
          .isa = bf16_ != nullptr ? bf16_->isa : kernels_.isa,
          .threads = pool_.size(),
          .threads_why = threads_why_,
          .numerics = bf16_ != nullptr ? "fast" : "exact"};
}

DeviceMemory cpu_memory() {
  UsableMemory usable = usable_memory();
  return {.free_bytes = usable.bytes, .total_bytes = 0, .dedicated = false, .why = std::move(usable.why)};
}

static size_t bytes_of(std::initializer_list<const Scratch*> works) {
  size_t sum = 0;
  for (const Scratch* work : works) sum += work->bytes();
  return sum;
}

size_t CpuBackend::work_bytes() const {
  return bytes_of({&qkv_work_, &attention_work_, &attention_parts_, &split_, &act_, &out_, &products_, &panels_,
                   &panels_low_, &bf16_work_});
}

size_t CpuBackend::low_rank_work_bytes() const {
  return bytes_of({&low_rank_work_, &term_inputs_, &gate_up_term_rows_, &down_term_rows_});
}

Buffer CpuBackend::allocate(size_t bytes, const char* what) { return map_memory(bytes, what); }

void CpuBackend::run(const std::function<void()>& body, bool /*may_repeat*/) {
  body();
  weights_.check_files();
}

void CpuBackend::embed(const EmbedArgs& args, const Matrix& table, const Step& step, float* x) {
  pool_.parallel_for(args.tokens, 8, [&](int64_t begin, int64_t end, int) {
    const size_t hidden = size_t(args.hidden);
    for (int64_t t = begin; t < end; ++t) {
      const size_t at = size_t(step.tokens[t]) * hidden;
      if (table.data != nullptr) {
        kernels_.widen(hidden, table.data + at, x + t * args.hidden);
      } else {
        kernels_.widen_q8(hidden / kQ8Block, table.q8_codes + at, table.q8_scales + at / kQ8Block, x + t * args.hidden);
      }
    }
  });
}

void CpuBackend::rms_norm(const RmsNormArgs& args, RowsOf, const float* x, const Vector& w, Operand out) {
  float* y = out.as<float>();
  pool_.parallel_for(args.rows, 8, [&](int64_t begin, int64_t end, int) {
    const RmsNormArgs part = {int(end - begin), args.hidden, args.eps};
    kernels_.rms_norm(part, x + begin * args.hidden, w.data, y + begin * args.hidden);
  });
}

void CpuBackend::gather_rows(const Step& step, int hidden, const float* x, float* rows) {
  for (int r = 0; r < step.num_rows; ++r) {
    std::memcpy(rows + size_t(r) * hidden, x + size_t(step.logit_tokens[r]) * hidden, size_t(hidden) * sizeof(float));
  }
}

void CpuBackend::sample(int rows, int vocab, float* logits, std::span<const SamplingArgs> args,
                        std::span<const SamplingContext> contexts) {
  std::vector<Sampled> out(args.size());
  if (rows == 1) {
    // A thread takes 64 blocks of logits at once, which take 5 us.
    const auto share = [&](int count, const auto& body) {
      pool_.parallel_for(count, 64, [&](int64_t begin, int64_t end, int) { body(int(begin), int(end)); });
    };
    out[0] = sample_row(args[0], contexts[0], logits, vocab, {kernels_, share});
  } else {
    pool_.parallel_for(rows, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        out[r] = sample_row(args[r], contexts[r], logits + r * vocab, vocab, {kernels_});
      }
    });
  }
  drawn_.push_back(std::move(out));
}

std::vector<Sampled> CpuBackend::sampled() {
  std::vector<Sampled> oldest = std::move(drawn_.front());
  drawn_.erase(drawn_.begin());
  return oldest;
}

void CpuBackend::read(const float* from, std::span<float> to) { std::memcpy(to.data(), from, to.size_bytes()); }

void CpuBackend::write(std::span<const float> from, float* to) { std::memcpy(to, from.data(), from.size_bytes()); }

}  // namespace oss
