#include "native/backend/low_rank.h"

namespace oss {

std::vector<LowRank*> number_terms(AdapterWeights& weights, int experts) {
  std::vector<LowRank*> terms;
  const auto give = [&](LowRank& term, int number) {
    term.number = number;
    if (!term.empty()) terms.push_back(&term);
  };
  int begin = 0;
  for (LayerAdapter& layer : weights.layers) {
    give(layer.q, begin + kTermQ);
    give(layer.k, begin + kTermK);
    give(layer.v, begin + kTermV);
    give(layer.o, begin + kTermO);
    give(layer.router, begin + kTermRouter);
    for (size_t e = 0; e < layer.gate_up.size(); ++e) give(layer.gate_up[e], gate_up_term(begin, int(e)));
    for (size_t e = 0; e < layer.down.size(); ++e) give(layer.down[e], down_term(begin, experts, int(e)));
    begin += terms_of_layer(experts);
  }
  give(weights.lm_head, begin);
  return terms;
}

}  // namespace oss
