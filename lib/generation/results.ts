import type { NativeTimings, TokenLogprob } from "../binding.js";

/** What comes of a generation. */

export interface GeneratedToken {
  token: number;
  /**
   * What is certain to be text with this token: empty for the stop token, and while a character or a possible stop
   * string is incomplete.
   */
  text: string;
  /** Natural logarithm of the token's probability under the model itself, before penalties, temperature and filters. */
  logprob: number;
  /** The likeliest tokens of this position, likeliest first; only when `logprobs` asked for some. */
  top?: TokenLogprob[];
  /** Which of the `n` choices it belongs to. */
  index: number;
  /** On the last token of a choice, unless it was cancelled: how it ended. */
  last?: ChoiceEnd;
}

export interface ChoiceEnd {
  finishReason: FinishReason;
  cachedTokens: number;
}

export type FinishReason = "stop" | "length" | "cancelled";

export interface Usage {
  promptTokens: number;
  /** Prompt tokens whose keys and values were reused instead of computed. */
  cachedTokens: number;
  /** Of all choices together. */
  completionTokens: number;
}

/** Milliseconds: waiting for a place, from there to the first token, from the first to the last token. */
export type Timings = NativeTimings;

/** One position of a completion: its token, and the likeliest ones. */
export interface PositionLogprobs extends TokenLogprob {
  top: TokenLogprob[];
}

export interface Completion {
  /** Everything that was generated, the stop token included. */
  tokens: number[];
  /** The text of `tokens` without the stop token, and up to the stop string. */
  text: string;
  finishReason: FinishReason;
  /** One for each of `tokens`, when `logprobs` asked for some. */
  logprobs?: PositionLogprobs[];
}

/** The completion is that of the first choice. */
export interface GenerationResult extends Completion {
  /** Every choice in order, when `n` asked for more than one. */
  choices?: (Completion & { index: number })[];
  usage: Usage;
  /** Of the first choice. */
  timings: Timings;
}

/** What the engine made of a request before it runs. */
export interface Acceptance {
  /** Schemas that are given up because they cannot be compiled, of tools by name; `tool` null: the final format. */
  relaxed: RelaxedSchema[];
}

export interface RelaxedSchema {
  tool: string | null;
  /** What of the schema is not supported. */
  reason: string;
}
