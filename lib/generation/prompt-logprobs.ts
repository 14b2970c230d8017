import type { NativeEvent } from "../binding.js";
import type { GenerateOptions } from "./generate-options.js";
import type { PositionLogprobs } from "./results.js";

/** Options of `Engine.promptLogprobs`: some of those of `Engine.generate`. `logprobs` is the number of likeliest tokens. */
export type PromptLogprobsOptions = Pick<
  GenerateOptions,
  "logprobs" | "adapter" | "priority" | "tenant" | "cacheSalt" | "signal"
>;

export const promptLogprobsNames: ReadonlySet<string> = new Set([
  "logprobs",
  "adapter",
  "priority",
  "tenant",
  "cacheSalt",
  "signal",
] satisfies (keyof PromptLogprobsOptions)[]);

/** The id that stands where a position has no further likely token. */
const none = 2 ** 32 - 1;

/**
 * The log probability of each token of a prompt after the tokens before it. The first one has none: its entry is null.
 * A position takes 4 bytes, and 8 for each likeliest token. The entries are made when they are read.
 */
export class PromptLogprobs implements Iterable<PositionLogprobs | null> {
  readonly #tokens: Uint32Array;
  /** Null until the first positions are known: a request that waits needs no memory. */
  #known: { logprobs: Float32Array; width: number; topTokens: Uint32Array; topLogprobs: Float32Array } | null = null;

  /** @internal */
  constructor(tokens: Uint32Array) {
    this.#tokens = tokens;
  }

  /** The number of tokens of the prompt. */
  get length(): number {
    return this.#tokens.length;
  }

  /**
   * Returns the entry of the token at `index`; null for the first one, undefined outside of the prompt.
   *
   * @example
   * ```ts
   * const second = logprobs.at(1)?.logprob;
   * ```
   */
  at(index: number): PositionLogprobs | null | undefined {
    const token = Number.isInteger(index) ? this.#tokens[index] : undefined;
    if (token === undefined) return undefined;
    if (index === 0 || this.#known === null) return null;
    const { logprobs, width, topTokens, topLogprobs } = this.#known;
    const top: PositionLogprobs["top"] = [];
    for (let i = index * width; i < (index + 1) * width && topTokens[i] !== none; i++) {
      top.push({ token: topTokens[i]!, logprob: topLogprobs[i]! });
    }
    return { token, logprob: logprobs[index]!, top };
  }

  /** Returns the entries in the order of the prompt. */
  *[Symbol.iterator](): Generator<PositionLogprobs | null, void, undefined> {
    for (let index = 0; index < this.length; index++) yield this.at(index)!;
  }

  /**
   * Takes some adjacent positions. The engine may report a position again, with the same values.
   *
   * @internal
   */
  accept({ first, width, logprobs, topTokens, topLogprobs }: NativeEvent & { kind: "scores" }): void {
    this.#known ??= {
      logprobs: new Float32Array(this.length),
      width,
      topTokens: new Uint32Array(this.length * width).fill(none),
      topLogprobs: new Float32Array(this.length * width),
    };
    this.#known.logprobs.set(logprobs, first);
    this.#known.topTokens.set(topTokens, first * width);
    this.#known.topLogprobs.set(topLogprobs, first * width);
  }
}
