import { type Divergence, divergence } from "../support/divergence.js";
import type { Answer } from "./turn.js";

/** How close the logits of two engines with the same weights are: the peer's beside ours. */
export interface Agreement extends Divergence {
  /** The length of the common prefix of both greedy continuations, for each prompt, out of `continuationTokens`. */
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
