import type { NativeTimings as Timings, TokenLogprob } from "../binding.js";

/** The results of a generation. */

/** A generated token. */
export interface GeneratedToken {
  /** Token id. */
  token: number;
  /**
   * The text that is certain after this token. Empty for the stop token, and while a character or a possible stop
   * string is incomplete.
   */
  text: string;
  /** Natural logarithm of the token's probability under the model itself, before penalties, temperature and filters. */
  logprob: number;
  /** The likeliest tokens of this position, likeliest first. Present only when `logprobs` asks for them. */
  top?: TokenLogprob[];
  /** The index of the token's choice among the `n` choices. */
  index: number;
  /** The end of the choice. Present on its last token, unless the choice was cancelled. */
  last?: ChoiceEnd;
}

/** How a choice ended. */
export interface ChoiceEnd {
  /** The reason for the end. */
  finishReason: FinishReason;
  /** As in `Usage`. */
  cachedTokens: number;
}

/**
 * "stop": a stop token, a stop string, or a complete constrained text. "length": `maxTokens` or the end of the context
 * cut the completion. A constrained text is whole all the same, if the limit had room for its shortest form: it was
 * closed in time where the model would have written more. "cancelled": the reader left, or `cancel()`.
 */
export type FinishReason = "stop" | "length" | "cancelled";

/** The numbers of tokens of a request. */
export interface Usage {
  /** The number of tokens of the prompt. */
  promptTokens: number;
  /** The number of prompt tokens whose keys and values were reused instead of computed. */
  cachedTokens: number;
  /** The number of tokens of all choices together. */
  completionTokens: number;
}

export type { Timings };

/** One position of a completion: its token and the likeliest tokens. */
export interface PositionLogprobs extends TokenLogprob {
  /** The likeliest tokens of this position, likeliest first. */
  top: TokenLogprob[];
}

/** One completion of a prompt. */
export interface Completion {
  /** All generated tokens, the stop token included. */
  tokens: number[];
  /** The text of `tokens` without the stop token, and up to the stop string. */
  text: string;
  /** The reason for the end. */
  finishReason: FinishReason;
  /** One entry for each of `tokens`, when `logprobs` asks for them. */
  logprobs?: PositionLogprobs[];
}

/** The result of a request. The members of `Completion` are those of the first choice. */
export interface GenerationResult extends Completion {
  /** Every choice in order, when `n` is above 1. */
  choices?: (Completion & {
    /** The index of the choice among the `n` choices. */
    index: number;
  })[];
  /** The numbers of tokens of the request. */
  usage: Usage;
  /** The times of the first choice. */
  timings: Timings;
}

/** The compilation result of a request's constraint, before the request runs. */
export interface Acceptance {
  /** Schemas that cannot be compiled and are not enforced. */
  relaxed: RelaxedSchema[];
}

/** A schema that does not constrain the answer. */
export interface RelaxedSchema {
  /** The name of the tool. Null: the format of the final message. */
  tool: string | null;
  /** The unsupported part of the schema. */
  reason: string;
}
