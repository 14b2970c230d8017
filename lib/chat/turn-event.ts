import type { Message } from "../harmony/message.js";
import type { SpelledToken } from "./visible-text.js";

/** The events of a turn of the assistant, for the library's chat and for every endpoint. */

/** The purpose of a message of the model. */
export type PartKind =
  | { kind: "reasoning" }
  | { kind: "text"; channel: "commentary" | "final" }
  | { kind: "call"; callId: string; name: string };

/** The header of a message as the model wrote it. */
export interface PartHeader {
  channel: string | null;
  recipient: string | null;
  contentType: string | null;
}

export type PartStart = { type: "part-start"; part: number; header: PartHeader } & PartKind;

export interface PartDelta {
  type: "part-delta";
  part: number;
  /**
   * The new text; for a call, a piece of the arguments' JSON text. Empty only where a stop string ends the part within
   * a token whose beginning was already reported.
   */
  text: string;
  /** The tokens that end in `text`, when log probabilities are requested. */
  tokens: readonly SpelledToken[];
}

export interface PartEnd {
  type: "part-end";
  part: number;
  /** The joined deltas. A part without a delta gets its end as well. */
  text: string;
  /** False when the turn was cut off in this part, also where its constraint closed it in time. */
  complete: boolean;
  /** The part as a message of the conversation. For a call, it has the `id` of the call. */
  message: Message;
  /** The tokens of the part, control tokens included. */
  tokens: readonly number[];
}

export interface ChoiceEnded {
  type: "choice-end";
  /** "tool_calls" when the choice ended with a complete call, "cancelled" when the turn was cancelled. */
  finishReason: "stop" | "length" | "tool_calls" | "cancelled";
  /** The stop string, or the stop token of the request, that ended the choice. */
  stopReason: string | number | null;
  usage: TurnUsage;
  /** The number of characters that the model wrote in headers, where they are no text. Absent: none. */
  strayCharacters?: number;
}

/** `part` numbers the parts of one choice in order: reasoning, visible text or call. Parts never interleave. */
export type TurnEvent = { choice: number } & (PartStart | PartDelta | PartEnd | ChoiceEnded);

export interface TurnUsage {
  promptTokens: number;
  cachedTokens: number;
  /** The tokens of the prompt that were computed and are kept for later prompts. */
  cacheWriteTokens: number;
  /** The number of sampled tokens of this choice up to its end, with control tokens, stop tokens and stop strings. */
  completionTokens: number;
  /** The number of tokens that are text of the analysis channel. */
  reasoningTokens: number;
}
