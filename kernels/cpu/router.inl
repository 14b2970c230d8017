// Router:  index[t,:] = the top_k experts by logit, best first, on equal logits the lower expert first
//          weight[t,k] = exp(logits[t, index[t,k]] - largest) / Σ over the chosen
//   logits  [tokens, experts]  f32      index, weight  [tokens, top_k]
//
// Four passes over 32 logits, too little to tune.
void router(const RouterArgs& args, const float* logits /*[tokens, experts]*/, int32_t* index /*[tokens, top_k]*/,
            float* weight /*[tokens, top_k]*/) {
  for (int t = 0; t < args.tokens; ++t, logits += args.experts, index += args.top_k, weight += args.top_k) {
    float total = 0;
    for (int k = 0; k < args.top_k; ++k) {
      int best = -1;
      for (int e = 0; e < args.experts; ++e) {
        bool taken = false;
        for (int j = 0; j < k; ++j) taken = taken || index[j] == e;
        if (!taken && (best < 0 || logits[e] > logits[best])) best = e;
      }
      index[k] = best;
      weight[k] = exp(logits[best] - logits[index[0]]);
      total += weight[k];
    }
    for (int k = 0; k < args.top_k; ++k) weight[k] /= total;
  }
}
