import type { Answer } from "./turn.js";

/** How near two engines are that run the same weights. */
export interface Agreement {
  positions: number;
  /** Positions where both prefer the same token. */
  sameTop: number;
  /** Where they do not: how much likelier ours finds its own choice, at most, as a difference of log probabilities. */
  greatestGap: number;
  /** Mean over positions of sum p log(p / q), p ours, in nats. */
  kl: number;
  /** Far below the mean where few positions have sent a token to another expert, which a rounding error can do. */
  medianKl: number;
  /** Root mean square difference of log probabilities, of tokens that ours gives 0.1 % or more. */
  rmsLogProbability: number;
  /** Tokens that both greedy continuations begin with, for each prompt, out of `continuationTokens`. */
  sameContinuation: number[];
  continuationTokens: number;
}

export function agreement(ours: Answer, peer: Answer): Agreement {
  const divergences: number[] = [];
  let squares = 0;
  let likely = 0;
  let sameTop = 0;
  let greatestGap = 0;
  for (const [position, row] of ours.logits.entries()) {
    const p = logSoftmax(row);
    const q = logSoftmax(peer.logits[position]!);
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
  const positions = ours.logits.length;
  return {
    positions,
    sameTop,
    greatestGap,
    kl: divergences.reduce((a, b) => a + b, 0) / positions,
    medianKl: divergences.sort((a, b) => a - b)[Math.floor(positions / 2)]!,
    rmsLogProbability: Math.sqrt(squares / likely),
    sameContinuation: ours.continuations.map((tokens, i) => commonPrefix(tokens, peer.continuations[i]!)),
    continuationTokens: ours.continuations[0]!.length,
  };
}

function logSoftmax(logits: Float32Array): Float64Array {
  const greatest = logits[indexOfGreatest(logits)]!;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - greatest);
  if (!Number.isFinite(sum)) throw new Error("Some logits are missing or not finite");
  return Float64Array.from(logits, (logit) => logit - greatest - Math.log(sum));
}

function indexOfGreatest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

function commonPrefix(a: number[], b: number[]): number {
  const differs = a.findIndex((token, i) => token !== b[i]);
  return differs === -1 ? a.length : differs;
}
