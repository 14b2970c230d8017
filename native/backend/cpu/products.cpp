// Products with dense weights: packs their activations and divides their rows among the threads. q, k and v are three
// such products.
#include <cstring>

#include "kernels/common/q8.h"
#include "native/backend/cpu/cpu_backend.h"
#include "native/backend/cpu/ranges.h"

namespace oss {

CpuBackend::Packed CpuBackend::pack_rows(int rows, int cols, const float* x, bool precise, bool for_q8) {
  if (bf16_ == nullptr) return {.rows = x};
  const int num_panels = panels_for(*bf16_, rows);
  const size_t elements = size_t(bf16_->panel_rows) * cpu::panel_cols(cols);
  uint16_t* panels = panels_.reserve<uint16_t>(num_panels * elements, "packed activations");
  uint16_t* low = precise ? panels_low_.reserve<uint16_t>(num_panels * elements, "packed activations") : nullptr;
  const auto pack = for_q8 ? bf16_->pack_packed : bf16_->pack;
  pool_.parallel_for(num_panels, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end; ++p) {
      const float* from[kMostPanelRows];
      const int first = int(p) * bf16_->panel_rows, n = std::min(bf16_->panel_rows, rows - first);
      for (int i = 0; i < n; ++i) from[i] = x + size_t(first + i) * cols;
      pack(cols, from, n, panels + p * elements, low != nullptr ? low + p * elements : nullptr);
    }
  });
  return {.rows = x, .for_q8 = for_q8, .panels = panels, .low = low};
}

void CpuBackend::multiply(const LinearArgs& args, const Packed& x, const Matrix& w, const Vector* bias, float* y) {
  const float* b = bias != nullptr ? bias->data : nullptr;
  const bool is_q8 = w.data == nullptr;
  const cpu::Q8Weights q8 = {w.q8_codes, w.q8_scales};
  const int64_t row_bytes = is_q8 ? int64_t(args.in) / kQ8Block * kQ8BlockBytes : int64_t(args.in) * 2;
  const bool once = args.rows <= (bf16_ != nullptr ? bf16_->panel_rows : 1);
  const auto range = [&](int unit) {
    return rows_per_range(args.out, row_bytes, unit, pool_.size(), once ? kRangeBytesOnce : kRangeBytesMost);
  };
  if (bf16_ == nullptr) {
    pool_.parallel_for(args.out, range(4), [&](int64_t begin, int64_t end, int) {
      if (is_q8) {
        kernels_.linear_q8(args, int(begin), int(end), x.rows, q8, b, y);
      } else {
        kernels_.linear(args, int(begin), int(end), x.rows, w.data, b, y);
      }
    });
    return;
  }
  const size_t work_elements = is_q8 ? bf16_->packed_work_elements(args.in) : 0;
  uint16_t* work = bf16_work_.reserve<uint16_t>(work_elements * pool_.size(), "weights in bf16");
  // The rows of a range share the panels in L2: with many panels, a range has a multiple of four units.
  const int unit = bf16_->row_unit * (panels_for(*bf16_, args.rows) > 4 ? 4 : 1);
  pool_.parallel_for(args.out, range(unit), [&](int64_t begin, int64_t end, int thread) {
    if (is_q8) {
      bf16_->linear_q8(args, int(begin), int(end), x.panels, x.low, q8, b, y, work + thread * work_elements);
    } else {
      bf16_->linear(args, int(begin), int(end), x.panels, x.low, w.data, b, y);
    }
  });
}

void CpuBackend::linear(const LinearArgs& args, RowsOf, Operand x, const Matrix& w, const Vector* bias, float* y) {
  multiply(args, pack_rows(args.rows, args.in, x.as<float>(), args.precise != 0, w.data == nullptr), w, bias, y);
}

void CpuBackend::qkv(const QkvArgs& args, const Step& step, Operand x, const QkvWeights& weights, AdapterRows adapters,
                     Operand q, void* cache) {
  const int q_size = args.heads * args.head_dim, kv_size = args.kv_heads * args.head_dim;
  float* k = qkv_work_.reserve<float>(2 * size_t(args.tokens) * kv_size, "keys and values");
  float* v = k + size_t(args.tokens) * kv_size;
  Packed packed = pack_rows(args.tokens, args.hidden, x.as<float>(), false, weights.q.data == nullptr);
  std::vector<const LowRank*> terms(adapters.size());
  const auto project = [&](const Matrix& w, const Vector& bias, const LowRank LayerAdapter::* term, float* y) {
    const bool is_q8 = w.data == nullptr;
    if (packed.for_q8 != is_q8) packed = pack_rows(args.tokens, args.hidden, x.as<float>(), false, is_q8);
    multiply({.rows = args.tokens, .in = args.hidden, .out = w.rows, .accumulate = 0}, packed, w, &bias, y);
    if (adapters.empty()) return;
    for (size_t t = 0; t < terms.size(); ++t) terms[t] = adapters[t] != nullptr ? &(adapters[t]->*term) : nullptr;
    low_rank(RowsOf::kTokens, terms, x, y);
  };
  project(weights.q, weights.q_bias, &LayerAdapter::q, q.as<float>());
  project(weights.k, weights.k_bias, &LayerAdapter::k, k);
  project(weights.v, weights.v_bias, &LayerAdapter::v, v);
  rope({.tokens = args.tokens, .heads = args.heads, .head_dim = args.head_dim, .row_stride = q_size}, step,
       q.as<float>());
  rope({.tokens = args.tokens, .heads = args.kv_heads, .head_dim = args.head_dim, .row_stride = kv_size}, step, k);
  kv_write({.kv_heads = args.kv_heads, .head_dim = args.head_dim, .group = args.group, .type = args.type}, step, k, v,
           cache);
}

void CpuBackend::rope(const RopeArgs& args, const Step& step, float* x) {
  pool_.parallel_for(args.tokens, 8, [&](int64_t begin, int64_t end, int) {
    RopeArgs part = args;
    part.tokens = int(end - begin);
    kernels_.rope(part, step.rope.data() + begin * args.head_dim, x + begin * args.row_stride);
  });
}

void CpuBackend::kv_write(const KvArgs& args, const Step& step, const float* k, const float* v, void* cache) {
  const size_t head_dim = size_t(args.head_dim), plane = kPageTokens * head_dim, kv_heads = size_t(args.kv_heads);
  const std::span<const int32_t> table = step.block_tables[args.group];
  // `at` counts elements from the start of the cache.
  const auto write_row = [&](size_t at, const float* from) {
    if (args.type == kKvBF16) {
      kernels_.narrow(head_dim, from, static_cast<uint16_t*>(cache) + at);
    } else {
      std::memcpy(static_cast<float*>(cache) + at, from, head_dim * sizeof(float));
    }
  };
  pool_.parallel_for(step.num_tokens, 8, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int position = step.positions[t];
      const int32_t page = table[size_t(step.sequence[t]) * step.max_pages + position / kPageTokens];
      const size_t keys = size_t(page) * 2 * kv_heads * plane + size_t(position % kPageTokens) * head_dim;
      for (size_t h = 0; h < kv_heads; ++h) {
        const size_t from = (size_t(t) * kv_heads + h) * head_dim;
        write_row(keys + h * plane, k + from);
        write_row(keys + (kv_heads + h) * plane, v + from);
      }
    }
  });
}

}  // namespace oss
