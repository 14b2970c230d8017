import type { NativeTimings as Timings, TokenLogprob } from "../binding.js";

/** What comes of a generation. */

/** A token as it comes. */
export interface GeneratedToken {
  /** Token id. */
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

/** How a choice ended. */
export interface ChoiceEnd {
  /** Why it ended. */
  finishReason: FinishReason;
  /** As in `Usage`. */
  cachedTokens: number;
}

/**
 * "stop": a stop token, a stop text, or a constraint that is whole. "length": `maxTokens`, or the end of the
 * context. "cancelled": the reader left, or `cancel()`.
 */
export type FinishReason = "stop" | "length" | "cancelled";

/** Tokens of a request. */
export interface Usage {
  /** Tokens of the prompt. */
  promptTokens: number;
  /** Prompt tokens whose keys and values were reused instead of computed. */
  cachedTokens: number;
  /** Of all choices together. */
  completionTokens: number;
}

export type { Timings };

/** One position of a completion: its token, and the likeliest ones. */
export interface PositionLogprobs extends TokenLogprob {
  /** The likeliest tokens of this position, likeliest first. */
  top: TokenLogprob[];
}

/** One completion of a prompt. */
export interface Completion {
  /** Everything that was generated, the stop token included. */
  tokens: number[];
  /** The text of `tokens` without the stop token, and up to the stop string. */
  text: string;
  /** Why it ended. */
  finishReason: FinishReason;
  /** One for each of `tokens`, when `logprobs` asked for some. */
  logprobs?: PositionLogprobs[];
}

/** The completion is that of the first choice. */
export interface GenerationResult extends Completion {
  /** Every choice in order, when `n` asked for more than one. */
  choices?: (Completion & {
    /** Which of the `n` choices it is. */
    index: number;
  })[];
  /** Tokens of the request. */
  usage: Usage;
  /** Of the first choice. */
  timings: Timings;
}

/** What the engine made of a request before it runs. */
export interface Acceptance {
  /** Schemas that are given up because they cannot be compiled, of tools by name; `tool` null: the final format. */
  relaxed: RelaxedSchema[];
}

/** A schema that the answer was not held to. */
export interface RelaxedSchema {
  /** Name of the tool; null: the format of the final message. */
  tool: string | null;
  /** What of the schema is not supported. */
  reason: string;
}
