#include "native/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "kernels/common/mxfp4.h"
#include "kernels/common/q8.h"
#include "native/backend/cpu/choose_kernels.h"
#include "native/backend/cpu/sample_row.h"
#include "native/backend/registry.h"
#include "native/base/error.h"
#include "native/base/machine.h"
#include "native/base/str.h"

namespace oss {

// A range of weight rows that a thread takes at once. From 16 KB a range outlasts the taking of it (100 ns), and up to
// 128 KB it stays in L2 while the tokens pass. A range that is passed over once may be larger: where it begins, nothing has
// been prefetched.
static constexpr int64_t kRangeBytesLeast = 16 << 10, kRangeBytesMost = 128 << 10, kRangeBytesOnce = 1 << 20;

// Rows per range, a multiple of `unit`: about eight ranges per thread, so that a slow one leaves work to the others.
static int64_t rows_per_range(int64_t rows, int64_t row_bytes, int64_t unit, int threads,
                              int64_t most = kRangeBytesMost) {
  const int64_t bytes = std::clamp(rows * row_bytes / (8 * threads), kRangeBytesLeast, most);
  return std::max<int64_t>(1, bytes / (row_bytes * unit)) * unit;
}

static std::string cpu_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

static std::string what_auto_chooses() {
  const auto list = [](bool available, const char* numerics) {
    std::string names;
    for (const cpu::IsaStatus& isa : cpu::isa_status()) {
      if (isa.available != available || (*numerics != '\0' && isa.numerics != std::string(numerics))) continue;
      names += str(names.empty() ? "" : ", ", isa.isa, available ? "" : str(" (", isa.reason, ")"));
    }
    return names;
  };
  const cpu::Choice choice = cpu::choose_kernels("auto");
  std::string detail = cpu_name();
  if (choice.bf16 != nullptr) {
    detail += str("; numerics fast with ", choice.bf16->isa, ", exact with ", choice.kernels.isa, ": the fastest of ",
                  list(true, ""));
  } else {
    detail += str("; numerics exact with ", choice.kernels.isa, ": the fastest of ", list(true, "exact"));
  }
  const char* wanted = std::getenv("GPT_OSS_ISA");
  if (wanted != nullptr && *wanted != '\0') detail += str(", as GPT_OSS_ISA=", wanted, " asks");
  const std::string absent = list(false, "");
  if (!absent.empty()) detail += str("; not ", absent);
  return detail;
}

// What auto chooses, and why not something else.
BackendStatus cpu_status() {
  try {
    return {"cpu", true, what_auto_chooses()};
  } catch (const Error& error) {  // GPT_OSS_ISA
    return {"cpu", false, error.what()};
  }
}

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options) {
  if (options.threads < 0 || options.threads > 1024) {
    throw Error(Code::kInvalidArgument,
                str("expected an integer in [0, 1024] for threads but received ", options.threads));
  }
  const cpu::Choice choice = cpu::choose_kernels(options.numerics);
  const UsableThreads threads = options.threads > 0 ? UsableThreads{options.threads, "asked for"} : usable_threads();
  return std::make_unique<CpuBackend>(choice.kernels, threads.count, choice.bf16, options.dense_weights, threads.why);
}

DeviceInfo CpuBackend::info() const {
  return {.backend = "cpu",
          .device = cpu_name(),
          .isa = bf16_ != nullptr ? bf16_->isa : kernels_.isa,
          .threads = pool_.size(),
          .threads_why = threads_why_,
          .numerics = bf16_ != nullptr ? "fast" : "exact"};
}

DeviceMemory CpuBackend::memory() const {
  UsableMemory usable = usable_memory();
  return {.free_bytes = usable.bytes, .total_bytes = 0, .dedicated = false, .why = std::move(usable.why)};
}

// A cancel, and whoever decodes meanwhile, waits for one chunk of a prompt. Exact products gain nothing from larger ones;
// fast ones unpack each expert's weights once per chunk.
BackendDefaults CpuBackend::defaults() const {
  return {.kv_type = kKvF32, .max_batch_tokens = bf16_ != nullptr ? 512 : 256};
}

void CpuBackend::check(const StepLimits&, KvType type) const {
  if (type == kKvFP8) {
    throw Error(Code::kUnsupported, "kvCache.dtype \"fp8\" needs a GPU; the CPU has \"f32\" and \"bf16\"");
  }
}

Buffer CpuBackend::allocate(size_t bytes, const char* what) { return map_memory(bytes, what); }

void CpuBackend::run(const std::function<void()>& body) {
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

// Panels of `panel_rows` rows each, the last one filled up.
static int panels_for(const cpu::Bf16Kernels& bf16, int rows) { return (rows + bf16.panel_rows - 1) / bf16.panel_rows; }

constexpr int kMostPanelRows = 16;

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
  // Rows of a range share the panels in L2: four units of them when there are many panels.
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

void CpuBackend::qkv(const QkvArgs& args, const Step& step, Operand x, const QkvWeights& weights, Operand q,
                     void* cache) {
  const int q_size = args.heads * args.head_dim, kv_size = args.kv_heads * args.head_dim;
  float* k = qkv_work_.reserve<float>(2 * size_t(args.tokens) * kv_size, "keys and values");
  float* v = k + size_t(args.tokens) * kv_size;
  Packed packed = pack_rows(args.tokens, args.hidden, x.as<float>(), false, weights.q.data == nullptr);
  const auto project = [&](const Matrix& w, const Vector& bias, float* y) {
    const bool is_q8 = w.data == nullptr;
    if (packed.for_q8 != is_q8) packed = pack_rows(args.tokens, args.hidden, x.as<float>(), false, is_q8);
    multiply({.rows = args.tokens, .in = args.hidden, .out = w.rows, .accumulate = 0}, packed, w, &bias, y);
  };
  project(weights.q, weights.q_bias, q.as<float>());
  project(weights.k, weights.k_bias, k);
  project(weights.v, weights.v_bias, v);
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

CpuBackend::AttentionKernel CpuBackend::attention_kernel(const AttentionArgs& args) const {
  if (bf16_ != nullptr && bf16_->attention_chunk != nullptr && args.head_dim == kHeadDim) {
    return {bf16_->attention_tokens, bf16_->attention_work(args), bf16_->attention_chunk};
  }
  return {cpu::kAttentionTokens, cpu::attention_work_floats(args), kernels_.attention_chunk};
}

void CpuBackend::divide_attention(const AttentionArgs& args, const Step& step, int block_tokens) {
  constexpr int kChunkTokens = cpu::kChunkPages * kPageTokens;
  blocks_.clear();
  size_t parts = 0;
  for (int t = 0; t < args.tokens;) {
    int n = 1;
    while (n < block_tokens && t + n < args.tokens && step.sequence[t + n] == step.sequence[t] &&
           step.positions[t + n] == step.positions[t] + n) {
      ++n;
    }
    blocks_.push_back({.first = t,
                       .tokens = n,
                       .first_chunk = cpu::attention_first_key(args, step.positions[t]) / kChunkTokens,
                       .last_chunk = step.positions[t + n - 1] / kChunkTokens,
                       .first_part = parts});
    parts += blocks_.back().parts(args);
    t += n;
  }
}

void CpuBackend::attention(const AttentionArgs& args, const Step& step, Operand queries, const void* cache,
                           const Vector& sinks, Operand attended) {
  const float* q = queries.as<float>();
  float* out = attended.as<float>();
  if (args.tokens == 0) return;
  const AttentionKernel kernel = attention_kernel(args);
  divide_attention(args, step, kernel.tokens);
  const size_t q_row = size_t(args.heads) * args.head_dim;
  const std::span<const int32_t> table = step.block_tables[args.group];
  const auto task_of = [&](const TokenBlock& block, int kv_head) {
    return cpu::AttentionTask{.tokens = block.tokens,
                              .kv_head = kv_head,
                              .q = q + block.first * q_row,
                              .positions = step.positions.data() + block.first,
                              .pages = table.data() + size_t(step.sequence[block.first]) * args.max_pages,
                              .cache = cache};
  };
  int most_tokens = 0;
  for (const TokenBlock& block : blocks_) most_tokens = std::max(most_tokens, block.tokens);
  const size_t state_floats = cpu::attention_state_floats(args, most_tokens), work_floats = kernel.work_floats;
  const size_t thread_floats = work_floats + 2 * state_floats;
  float* work = attention_work_.reserve<float>(thread_floats * pool_.size(), "attention");

  // One pass per task when there are enough of them; else threads share the chunks of a long sequence. The sums are the
  // same either way.
  const int64_t num_tasks = int64_t(blocks_.size()) * args.kv_heads;
  const int64_t num_parts = int64_t(blocks_.back().first_part + blocks_.back().parts(args));
  const bool share = num_tasks < 2 * pool_.size() && num_parts > num_tasks && pool_.size() > 1;
  float* parts = nullptr;
  if (share) {
    parts = attention_parts_.reserve<float>(size_t(num_parts) * state_floats, "attention");
    pool_.parallel_for(num_parts, 1, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t part = begin; part < end; ++part) {
        const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), size_t(part),
                                            [](size_t p, const TokenBlock& b) { return p < b.first_part; });
        const TokenBlock& block = *(after - 1);
        const int chunks = block.last_chunk - block.first_chunk + 1, at = int(part - int64_t(block.first_part));
        kernel.chunk(args, task_of(block, at / chunks), block.first_chunk + at % chunks, work + thread_floats * thread,
                     parts + part * state_floats);
      }
    });
  }
  pool_.parallel_for(num_tasks, 1, [&](int64_t begin, int64_t end, int thread) {
    float* chunk_state = work + thread_floats * thread + work_floats;
    float* state = chunk_state + state_floats;
    for (int64_t i = begin; i < end; ++i) {
      const TokenBlock& block = blocks_[i / args.kv_heads];
      const int kv_head = int(i % args.kv_heads), chunks = block.last_chunk - block.first_chunk + 1;
      const cpu::AttentionTask task = task_of(block, kv_head);
      kernels_.attention_clear(args, block.tokens, state);
      for (int c = 0; c < chunks; ++c) {
        const float* from = chunk_state;
        if (share) {
          from = parts + (block.first_part + size_t(kv_head) * chunks + c) * state_floats;
        } else {
          kernel.chunk(args, task, block.first_chunk + c, chunk_state - work_floats, chunk_state);
        }
        kernels_.attention_merge(args, block.tokens, from, state);
      }
      kernels_.attention_finish(args, task, sinks.data, state, out + block.first * q_row);
    }
  });
}

void CpuBackend::router(const RouterArgs& args, const float* logits, int32_t* index, float* weight) {
  pool_.parallel_for(args.tokens, 64, [&](int64_t begin, int64_t end, int) {
    const RouterArgs part = {int(end - begin), args.experts, args.top_k};
    kernels_.router(part, logits + begin * args.experts, index + begin * args.top_k, weight + begin * args.top_k);
  });
}

void CpuBackend::group_by_expert(const ExpertsArgs& args, const int32_t* index) {
  const int num_pairs = args.tokens * args.top_k;
  pair_begin_.assign(size_t(args.experts) + 1, 0);
  for (int p = 0; p < num_pairs; ++p) ++pair_begin_[size_t(index[p]) + 1];
  chosen_.clear();
  for (int e = 0; e < args.experts; ++e) {
    if (pair_begin_[e + 1] > 0) chosen_.push_back(e);
    pair_begin_[e + 1] += pair_begin_[e];
  }
  pairs_.resize(num_pairs);
  // Placing moves each begin to its end, which is the next one's begin: afterwards they move one up.
  for (int p = 0; p < num_pairs; ++p) pairs_[pair_begin_[index[p]]++] = p;
  for (int e = args.experts; e > 0; --e) pair_begin_[e] = pair_begin_[e - 1];
  pair_begin_[0] = 0;
}

static cpu::ExpertWeights weights_of(const ExpertMatrix& matrix, int expert) {
  const size_t rows = size_t(expert) * matrix.rows, num_blocks = rows * (matrix.cols / kMxBlock);
  return {matrix.blocks + num_blocks * kMxBlockBytes, matrix.scales + num_blocks, matrix.bias + rows};
}

void CpuBackend::experts(const ExpertsArgs& args, Operand operand, const int32_t* index, const float* weight,
                         const ExpertMatrix& gate_up, const ExpertMatrix& down, float* x) {
  group_by_expert(args, index);
  if (bf16_ != nullptr) {
    experts_fast(args, operand.as<float>(), weight, gate_up, down, x);
  } else {
    experts_exact(args, operand.as<float>(), weight, gate_up, down, x);
  }
}

void CpuBackend::experts_exact(const ExpertsArgs& args, const float* normed, const float* weight,
                               const ExpertMatrix& gate_up, const ExpertMatrix& down, float* x) {
  float* split = split_.reserve<float>(size_t(args.tokens) * args.hidden, "the experts' inputs");
  float* act = act_.reserve<float>(pairs_.size() * args.intermediate, "the experts' activations");
  float* out = out_.reserve<float>(pairs_.size() * args.hidden, "the experts' outputs");

  pool_.parallel_for(args.tokens, 8, [&](int64_t begin, int64_t end, int) {
    kernels_.experts_split(size_t(end - begin) * args.hidden, normed + begin * args.hidden,
                           split + begin * args.hidden);
  });

  // A range is one block of 32 activations: 64 rows of gate and up, 98 KB in the 20b.
  const int act_blocks = args.intermediate / kMxBlock;
  pool_.parallel_for(int64_t(chosen_.size()) * act_blocks, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int expert = chosen_[i / act_blocks], block = int(i % act_blocks) * kMxBlock;
      const auto pairs = pairs_of(expert);
      kernels_.experts_gate_up(args, weights_of(gate_up, expert), block, block + kMxBlock, pairs.data(),
                               int(pairs.size()), split, act);
    }
  });

  // A range of output rows goes through all experts, so the same thread can sum them up.
  const int64_t row_bytes = int64_t(chosen_.size()) * (args.intermediate / kMxBlock) * (kMxBlockBytes + 1);
  const int64_t grain = rows_per_range(args.hidden, row_bytes, 16, pool_.size());
  pool_.parallel_for(args.hidden, grain, [&](int64_t begin, int64_t end, int) {
    for (const int expert : chosen_) {
      const auto pairs = pairs_of(expert);
      kernels_.experts_down(args, weights_of(down, expert), int(begin), int(end), pairs.data(), int(pairs.size()), act,
                            out);
    }
    kernels_.experts_sum(args, int(begin), int(end), weight, out, x);
  });
}

void CpuBackend::experts_fast(const ExpertsArgs& args, const float* normed, const float* weight,
                              const ExpertMatrix& gate_up, const ExpertMatrix& down, float* x) {
  expert_panels_.clear();
  panel_begin_.clear();
  for (const int expert : chosen_) {
    panel_begin_.push_back(int(expert_panels_.size()));
    for (int pair = pair_begin_[expert]; pair < pair_begin_[expert + 1]; pair += bf16_->panel_rows) {
      expert_panels_.push_back({pair, std::min(bf16_->panel_rows, pair_begin_[expert + 1] - pair)});
    }
  }
  const size_t num_panels = expert_panels_.size();
  const size_t panel_elements = size_t(bf16_->panel_rows) * args.hidden;
  const size_t act_elements = size_t(bf16_->panel_rows) * args.intermediate;
  const size_t work_elements = bf16_->packed_work_elements(std::max(args.hidden, args.intermediate));
  uint16_t* panels = panels_.reserve<uint16_t>(num_panels * panel_elements, "the experts' inputs");
  uint16_t* act = act_.reserve<uint16_t>(num_panels * act_elements, "the experts' activations");
  uint16_t* work = bf16_work_.reserve<uint16_t>(work_elements * pool_.size(), "the experts' weights in tiles");
  float* out = out_.reserve<float>(pairs_.size() * args.hidden, "the experts' outputs");

  pool_.parallel_for(int64_t(num_panels), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end; ++p) {
      const auto [first, n] = expert_panels_[p];
      const float* from[kMostPanelRows];
      for (int i = 0; i < n; ++i) from[i] = normed + size_t(pairs_[first + i] / args.top_k) * args.hidden;
      bf16_->pack_packed(args.hidden, from, n, panels + p * panel_elements, nullptr);
    }
  });

  // Calls body(chosen, first, last, thread) on blocks of 32 rows of each chosen expert. Long ranges, because kernels ask for
  // the rows ahead, which is in vain at the end of a range.
  const auto for_each_expert = [&](int rows, const auto& body) {
    constexpr int kRangesPerThread = 24;
    const int blocks = rows / kMxBlock;
    const int64_t count = int64_t(chosen_.size()) * blocks;
    pool_.parallel_for(count, std::max<int64_t>(1, count / (kRangesPerThread * pool_.size())),
                       [&](int64_t begin, int64_t end, int thread) {
                         while (begin < end) {
                           const int64_t chosen = begin / blocks, first = chosen * blocks;
                           const int64_t last = std::min(end, first + blocks);
                           body(size_t(chosen), int(begin - first) * kMxBlock, int(last - first) * kMxBlock, thread);
                           begin = last;
                         }
                       });
  };
  for_each_expert(args.intermediate, [&](size_t chosen, int begin, int end, int thread) {
    const int expert = chosen_[chosen], panel = panel_begin_[chosen];
    bf16_->experts_gate_up(args, weights_of(gate_up, expert), begin, end, int(pairs_of(expert).size()),
                           panels + panel * panel_elements, act + panel * act_elements, work + thread * work_elements);
  });
  for_each_expert(args.hidden, [&](size_t chosen, int begin, int end, int thread) {
    const int expert = chosen_[chosen], panel = panel_begin_[chosen];
    const auto pairs = pairs_of(expert);
    bf16_->experts_down(args, weights_of(down, expert), begin, end, pairs.data(), int(pairs.size()),
                        act + panel * act_elements, out, work + thread * work_elements);
  });
  pool_.parallel_for(args.hidden, 480, [&](int64_t begin, int64_t end, int) {
    kernels_.experts_sum(args, int(begin), int(end), weight, out, x);
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
    // A thread takes 64 blocks of logits at once, 5 us.
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
