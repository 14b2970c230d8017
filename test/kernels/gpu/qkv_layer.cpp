#include "test/kernels/gpu/qkv_layer.h"

#include <cmath>
#include <cstring>

namespace oss::test {
namespace {

constexpr int kHalf = kHeadDim / 2;

// The index of dim 0 of a token's key (or value), in elements.
size_t cache_place(const QkvLayer& layer, const QkvStep& step, int t, bool value, int kv_head) {
  const size_t plane = (size_t(step.page(t)) * 2 + value) * layer.kv_heads + kv_head;
  return (plane * kPageTokens + step.positions[t] % kPageTokens) * kHeadDim;
}

// [tokens, rows]: q, k and v; q and k rotated
std::vector<double> reference(const QkvLayer& layer, const QkvStep& step) {
  std::vector<double> out;
  for (int t = 0; t < step.size(); ++t) {
    const float* x = step.x.data() + size_t(t) * layer.hidden;
    for (int row = 0; row < layer.rows(); ++row) {
      double sum = layer.bias[row];
      for (int c = 0; c < layer.hidden; ++c) sum += double(x[c]) * layer.w[size_t(row) * layer.hidden + c];
      out.push_back(sum);
    }
    double* of_token = out.data() + size_t(t) * layer.rows();
    for (const int matrix : {0, 1, 2}) {
      const int first = matrix == 0 ? 0 : layer.heads + (matrix - 1) * layer.kv_heads;
      if (const Term* term = step.adapted() ? step.adapters.term(t, 1 + matrix) : nullptr)
        term->add(x, of_token + first * kHeadDim);
    }
    for (int head = 0; head < layer.heads + layer.kv_heads; ++head) {
      double* of_head = of_token + head * kHeadDim;
      for (int i = 0; i < kHalf; ++i) {
        const double a = of_head[i], b = of_head[i + kHalf];
        const double c = step.rope[t * kHeadDim + i], s = step.rope[t * kHeadDim + kHalf + i];
        of_head[i] = a * c - b * s;
        of_head[i + kHalf] = b * c + a * s;
      }
    }
  }
  return out;
}

template <typename Element>
void check_elements(const std::string& what, const QkvLayer& layer, const QkvStep& step, const QkvResult& actual,
                    double tolerance) {
  const std::vector<double> expected = reference(layer, step);
  tolerance *= 2 * largest(expected);  // cos and sin are exact here
  std::vector<Element> cache(actual.cache.size() / sizeof(Element));
  std::memcpy(cache.data(), actual.cache.data(), actual.cache.size());
  const size_t q_size = size_t(step.size()) * layer.heads * kHeadDim;
  for (int t = 0; t < step.size(); ++t) {
    for (int row = 0; row < layer.rows(); ++row) {
      const double wanted = expected[size_t(t) * layer.rows() + row];
      const int head = row / kHeadDim - layer.heads;  // of k, then of v
      bool good;
      if (head < 0) {
        good = is_rounded(actual.q[size_t(t) * layer.heads * kHeadDim + row], wanted, tolerance);
      } else {
        Element& element =
            cache[cache_place(layer, step, t, head >= layer.kv_heads, head % layer.kv_heads) + row % kHeadDim];
        good = is_rounded(element, wanted, tolerance);
        std::memset(&element, 0xCD, sizeof(Element));
      }
      if (!good) return fail(__FILE__, __LINE__, str(what, ": token ", t, ", row ", row, " is not ", wanted));
    }
  }
  for (size_t i = q_size; i < actual.q.size(); ++i) {
    if (!is_poison(actual.q[i])) return fail(__FILE__, __LINE__, str(what, ": wrote past the tokens of q"));
  }
  for (size_t i = 0; i < cache.size(); ++i) {
    if (!is_poison(cache[i])) return fail(__FILE__, __LINE__, str(what, ": wrote elsewhere in the cache, at ", i));
  }
}

}  // namespace

QkvLayer random_qkv_layer(int hidden, int heads, int kv_heads) {
  QkvLayer layer = {hidden, heads, kv_heads, {}, {}};
  layer.w = exact_values(size_t(layer.rows()) * hidden, 1, 0.25f);
  layer.bias = exact_values(layer.rows(), 2);
  return layer;
}

size_t QkvStep::cache_bytes(const QkvLayer& layer) const {
  return size_t(num_pages) * 2 * layer.kv_heads * kPageTokens * kHeadDim * kv_element_bytes(type);
}

QkvStep QkvStep::part(int first, int count) const {
  QkvStep out = *this;
  out.positions = rows_of(positions, 1, first, count);
  out.sequence = rows_of(sequence, 1, first, count);
  out.rope = rows_of(rope, kHeadDim, first, count);
  out.x = rows_of(x, int(x.size()) / size(), first, count);
  if (adapted()) out.adapters = adapters.part(first, count);
  return out;
}

QkvStep random_qkv_step(const QkvLayer& layer, int tokens, KvType type, KvGroup group) {
  QkvStep step;
  step.type = type;
  step.group = group;
  step.max_pages = 5;
  step.num_pages = 13;
  const int32_t first[] = {0, 60, 127};
  step.block_table = {7, 2, 9, -1, -1, 12, 0, 4, -1, -1, -1, 5, 11, 1, -1};
  for (int t = 0; t < tokens; ++t) {
    const int sequence = t % 3;
    step.sequence.push_back(sequence);
    step.positions.push_back(first[sequence] + t / 3);
    for (int i = 0; i < kHeadDim; ++i) {
      const double angle = step.positions.back() * std::pow(150000.0, -(i % kHalf) / 32.0);
      step.rope.push_back(float(i < kHalf ? std::cos(angle) : std::sin(angle)));
    }
  }
  step.x = exact_values(size_t(tokens) * layer.hidden, 3);
  return step;
}

void check_qkv(const std::string& what, const QkvLayer& layer, const QkvStep& step, const QkvResult& actual,
               double tolerance) {
  const std::string described = str(what, ": ", step.size(), " tokens, hidden ", layer.hidden, ", heads ", layer.heads,
                                    step.type == kKvFP8 ? ", e4m3" : ", bf16");
  if (step.type == kKvFP8)
    check_elements<uint8_t>(described, layer, step, actual, tolerance);
  else
    check_elements<uint16_t>(described, layer, step, actual, tolerance);
}

void check_qkv_part(const std::string& what, const QkvLayer& layer, const QkvStep& part, const QkvResult& actual,
                    int first, const QkvResult& of_all) {
  const size_t q_width = size_t(layer.heads) * kHeadDim, bytes = size_t(kv_element_bytes(part.type));
  if (std::memcmp(actual.q.data(), &of_all.q[size_t(first) * q_width], size_t(part.size()) * q_width * 2) != 0)
    fail(__FILE__, __LINE__, str(what, ": q differs"));
  for (int t = 0; t < part.size(); ++t) {
    for (const bool value : {false, true}) {
      for (int head = 0; head < layer.kv_heads; ++head) {
        const size_t at = cache_place(layer, part, t, value, head) * bytes;
        if (std::memcmp(&actual.cache[at], &of_all.cache[at], kHeadDim * bytes) != 0)
          fail(__FILE__, __LINE__, str(what, value ? ": v of token " : ": k of token ", t, " differs"));
      }
    }
  }
}

QkvStep adapted_qkv_step(const QkvLayer& layer, int tokens, KvType type) {
  QkvStep step = random_qkv_step(layer, tokens, type);
  const int hidden = layer.hidden, q_size = layer.heads * kHeadDim, kv_size = layer.kv_heads * kHeadDim;
  step.adapters.terms = {
      {Term(), Term(hidden, q_size, 5, 41), Term(hidden, kv_size, 3, 43), Term(hidden, kv_size, 8, 45)},
      {Term(8, 8, 1, 40), Term(), Term(hidden, kv_size, 16, 47), Term()}};
  for (int t = 0; t < tokens; ++t) step.adapters.of_token.push_back(t % 4 == 3 ? -1 : t % 4 == 2 ? 1 : 0);
  return step;
}

void check_qkv_terms(const std::string& what, const QkvLayer& layer, const QkvStep& step, const QkvResult& adapted,
                     const QkvResult& plain) {
  const size_t bytes = size_t(kv_element_bytes(step.type));
  for (int t = 0; t < step.size(); ++t) {
    const auto check = [&](const char* matrix, int head, bool same, int number) {
      const Term* term = step.adapters.term(t, number);
      if (same != (term == nullptr || term->rank == 0))
        fail(__FILE__, __LINE__,
             str(what, ": ", matrix, " of token ", t, ", head ", head,
                 same ? " lacks its term" : " has no term, but differs"));
    };
    const auto same_in_cache = [&](bool value, int head) {
      const size_t at = cache_place(layer, step, t, value, head) * bytes;
      return std::memcmp(&adapted.cache[at], &plain.cache[at], kHeadDim * bytes) == 0;
    };
    for (int head = 0; head < layer.heads; ++head) {
      const size_t at = (size_t(t) * layer.heads + head) * kHeadDim;
      check("q", head, std::memcmp(&adapted.q[at], &plain.q[at], kHeadDim * 2) == 0, 1);
    }
    for (int head = 0; head < layer.kv_heads; ++head) {
      check("k", head, same_in_cache(false, head), 2);
      check("v", head, same_in_cache(true, head), 3);
    }
  }
}

int GoldenRotations::all() { return int(golden("rope").tensors.at("x").shape[0]); }

GoldenRotations::GoldenRotations(int count) {
  const SafetensorsFile file = golden("rope");
  const std::vector<double> x = doubles(file.tensors.at("x")), cosines = doubles(file.tensors.at("cos_f64")),
                            sines = doubles(file.tensors.at("sin_f64")),
                            rotated = doubles(file.tensors.at("rotated_f64"));
  const int heads = 2, width = heads * kHeadDim, skipped = int(file.tensors.at("x").shape[0]) - count;
  // Each value is a sum of three bf16. Three identity matrices add them up to all 24 bits.
  const int hidden = 3 * width;
  layer = {hidden, heads, 1, {}, {}};
  layer.w.resize(size_t(layer.rows()) * hidden);
  layer.bias.resize(layer.rows());
  for (int row = 0; row < width; ++row) {
    for (int third = 0; third < 3; ++third) layer.w[size_t(row) * hidden + third * width + row] = 1;
  }
  step.max_pages = step.num_pages = 1;
  step.block_table = {0};
  for (int t = 0; t < count; ++t) {
    const std::vector<double> row = rows_of(x, width, skipped + t, 1);
    std::vector<float> rest(row.begin(), row.end());
    for (int third = 0; third < 3; ++third) {
      for (float& value : rest) {
        step.x.push_back(bf16_to_f32(f32_to_bf16(value)));
        value -= step.x.back();
      }
    }
    step.sequence.push_back(0);
    step.positions.push_back(t);  // another test covers the cache; angles come from the table
    for (const double cosine : rows_of(cosines, kHalf, skipped + t, 1)) step.rope.push_back(float(cosine));
    for (const double sine : rows_of(sines, kHalf, skipped + t, 1)) step.rope.push_back(float(sine));
  }
  q = rows_of(rotated, width, skipped, count);
}

void GoldenRotations::check(const std::string& what, const QkvResult& actual) const {
  // Before rounding: table, product and sum each add half a unit of float32.
  const double tolerance = 4 * 0x1p-24 * largest(q);
  for (size_t i = 0; i < q.size(); ++i) {
    if (!is_rounded(actual.q[i], q[i], tolerance))
      return fail(__FILE__, __LINE__, str(what, ": element ", i, " is not ", q[i]));
  }
}

}  // namespace oss::test
