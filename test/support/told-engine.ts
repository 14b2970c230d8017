import type { TurnEngine } from "../../lib/chat/turn.js";
import { Generation } from "../../lib/generation/generation.js";

/** An engine with the full vocabulary, for turns whose tokens a test supplies one by one. */

export interface ToldEngine extends TurnEngine {
  /** The latest generation. */
  readonly generation: Generation;
}

const native = { cancel() {}, pause() {}, supplyLogits() {} };

/** @param made makes another generation for each request, such as one whose calls a test checks */
export function toldEngine(
  made = (prompt: Uint32Array, topLogprobs: number) => new Generation(native, { id: 1, prompt, n: 1, topLogprobs }),
): ToldEngine {
  let generation: Generation | undefined;
  return {
    info: { model: { vocab: 201_088, eosTokens: [200_002] }, limits: { contextLength: 131_072 }, prefixCache: true },
    generate: (prompt, { logprobs = 0 }) => {
      generation = made(Uint32Array.from(prompt), logprobs);
      return generation;
    },
    get generation() {
      return generation!;
    },
  };
}

const timings = { queueMilliseconds: 0, prefillMilliseconds: 0, decodeMilliseconds: 0 };

/** All tokens that a model writes, and the finish reason. */
export function write(
  generation: Generation,
  tokens: readonly number[],
  reason: "stop" | "length" | "cancelled" = "stop",
): void {
  for (const token of tokens) {
    generation.accept({ id: 1, index: 0, kind: "token", token, text: "", logprob: -token, top: [] });
  }
  generation.accept({ id: 1, index: 0, kind: "done", reason, text: "", cachedTokens: 0, timings });
}
