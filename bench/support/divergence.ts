/** The difference between the distributions of one engine and those of a reference, over the same positions. */
export interface Divergence {
  positions: number;
  /** Positions where both have the same best token. */
  sameTop: number;
  /**
   * Where they differ: the greatest log probability of the reference's choice minus that of the engine's, by the
   * reference.
   */
  greatestGap: number;
  /** Mean over positions of sum p log(p / q), in nats; p is the reference. */
  kl: number;
  /** Far below the mean when a few positions have sent a token to another expert, which a rounding error can do. */
  medianKl: number;
  /** Root mean square difference of log probabilities, over tokens that have 0.1 % or more in the reference. */
  rmsLogProbability: number;
}

/** Compares logits; each row covers the vocabulary. */
export function divergence(reference: ArrayLike<number>[], actual: ArrayLike<number>[]): Divergence {
  if (actual.length !== reference.length) throw new Error(`${actual.length} rows against ${reference.length}`);
  const divergences: number[] = [];
  let squares = 0;
  let likely = 0;
  let sameTop = 0;
  let greatestGap = 0;
  for (const [position, row] of reference.entries()) {
    const p = logSoftmax(row);
    const q = logSoftmax(actual[position]!);
    let kl = 0;
    const gap = p[indexOfGreatest(p)]! - p[indexOfGreatest(q)]!;
    if (gap === 0) sameTop++;
    greatestGap = Math.max(greatestGap, gap);
    for (let i = 0; i < p.length; i++) {
      kl += Math.exp(p[i]!) * (p[i]! - q[i]!);
      if (p[i]! < Math.log(0.001)) continue;
      squares += (p[i]! - q[i]!) ** 2;
      likely++;
    }
    divergences.push(kl);
  }
  const positions = reference.length;
  return {
    positions,
    sameTop,
    greatestGap,
    kl: divergences.reduce((a, b) => a + b, 0) / positions,
    medianKl: divergences.sort((a, b) => a - b)[Math.floor(positions / 2)]!,
    rmsLogProbability: Math.sqrt(squares / likely),
  };
}

function logSoftmax(logits: ArrayLike<number>): Float64Array {
  const greatest = logits[indexOfGreatest(logits)]!;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - greatest);
  if (!Number.isFinite(sum)) throw new Error("Some logits are missing or not finite");
  return Float64Array.from(logits, (logit) => logit - greatest - Math.log(sum));
}

function indexOfGreatest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
