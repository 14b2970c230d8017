import { type Divergence, divergence } from "../support/divergence.js";
import type { Answer } from "./turn.js";

/** How near two engines are that run the same weights: the peer's logits beside ours. */
export interface Agreement extends Divergence {
  /** Tokens that both greedy continuations begin with, for each prompt, out of `continuationTokens`. */
  sameContinuation: number[];
  continuationTokens: number;
}

export function agreement(ours: Answer, peer: Answer): Agreement {
  return {
    ...divergence(ours.logits, peer.logits),
    sameContinuation: ours.continuations.map((tokens, i) => commonPrefix(tokens, peer.continuations[i]!)),
    continuationTokens: ours.continuations[0]!.length,
  };
}

function commonPrefix(a: number[], b: number[]): number {
  const differs = a.findIndex((token, i) => token !== b[i]);
  return differs === -1 ? a.length : differs;
}
