/** A request to an engine of the addon, and its events. */

export interface NativeSamplingParams {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  /** 64 bits. */
  seed: bigint;
  maskReserved: boolean;
}

/** The inputs of a draw besides logits and params. `lib/generation/sampling.ts` defines their use. */
export interface NativeSamplingContext {
  /** The index of the choice among the n choices. */
  choice: number;
  prompt: Uint32Array;
  completion: Uint32Array;
  bias: { tokens: Uint32Array; values: Float32Array };
  topLogprobs: number;
}

/** Times of a request, in milliseconds. */
export interface NativeTimings {
  /** From the request until it runs. */
  queueMilliseconds: number;
  /** From the start of the run to the first token. */
  prefillMilliseconds: number;
  /** From the first to the last token. */
  decodeMilliseconds: number;
}

/** A token and its log probability. */
export interface TokenLogprob {
  /** Token id. */
  token: number;
  /** Natural logarithm of the token's probability under the model itself. */
  logprob: number;
}

/** `index` is the event's choice among the n choices. Every choice ends with one "done", or all with one "error". */
export type NativeEvent = {
  id: number;
  index: number;
} /** Once for a request with a constraint: it is compiled and waits to run. `tool` null: the final format. */ & (
  | { kind: "accepted"; relaxed: { tool: string | null; reason: string }[] }
  | { kind: "token"; token: number; text: string; logprob: number; top?: TokenLogprob[] }
  /** A row of logits for the request's logitsProcessor. The choice waits until `supplyLogits` returns it. */
  | { kind: "process"; tokens: Uint32Array; logits: Float32Array }
  | { kind: "logits"; logits: Float32Array }
  /**
   * Log probabilities of adjacent tokens of the prompt, from `first` on, and `width` likely tokens for each; 2^32 - 1
   * where there are fewer. A request that lost its pages reports them again.
   */
  | {
      kind: "scores";
      first: number;
      width: number;
      logprobs: Float32Array;
      topTokens: Uint32Array;
      topLogprobs: Float32Array;
    }
  /** `text`: text that was held back as a possible stop string or an incomplete character, and is text after all. */
  | {
      kind: "done";
      reason: "stop" | "length" | "cancelled";
      text: string;
      cachedTokens: number;
      timings: NativeTimings;
    }
  | { kind: "error"; error: Error }
);

export interface NativeRequest {
  id: number;
  prompt: Uint32Array;
  /** Choices that share the prompt's pages. Choice i draws from the random stream (seed, i). */
  n: number;
  maxTokens: number;
  /** The number of first tokens that are not stop tokens: stop tokens are banned until then. */
  minTokens: number;
  stopTokens: Uint32Array;
  /** Texts that end the completion. They are not part of its text. */
  stop: string[];
  sampling: NativeSamplingParams;
  bias: { tokens: Uint32Array; values: Float32Array };
  topLogprobs: number;
  /** Higher runs sooner. The effect is bounded by one minute of waiting. */
  priority: number;
  /** The name of the client. Tenants take turns, and share the queue. */
  tenant: string;
  /** Prefixes are shared only within one salt. */
  cacheSalt: string;
  /** The name of an adapter that is loaded; "": none. */
  adapter: string;
  /** Whether logits go through JavaScript before each draw. */
  processed: boolean;
  /** The checked JSON text of a `Constraint`. The addon compiles it on a separate thread. */
  constraint: string | null;
  /** Above 0: compute the logits of this many last positions of the prompt instead of a completion. */
  logitsLast: number;
  /** With `logitsLast`: "scores" of the prompt instead of its logits. */
  scored?: boolean;
}
