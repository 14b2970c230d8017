import type { Message } from "../harmony/message.js";
import type { SpelledToken } from "./visible-text.js";

/** What happens in a turn of the assistant, whoever asked for it. */

/** What a message of the model is for. */
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
   * Of a call a piece of the arguments' JSON text. Empty only where a stop string ends the part within a token whose
   * beginning was told already.
   */
  text: string;
  /** The tokens that end in it, when log probabilities were asked for. */
  tokens: readonly SpelledToken[];
}

export interface PartEnd {
  type: "part-end";
  part: number;
  /** Its deltas, joined. A part that got no delta gets its end all the same. */
  text: string;
  /** False when the turn was cut off in it. */
  complete: boolean;
  /** The part as a message of the conversation; that of a call has the `id` of the call. */
  message: Message;
  /** What it was read from, control tokens included. */
  tokens: readonly number[];
}

export interface ChoiceEnded {
  type: "choice-end";
  /** "tool_calls" when it ended with a complete call, "cancelled" when the turn was. */
  finishReason: "stop" | "length" | "tool_calls" | "cancelled";
  /** The stop string, or the stop token of the request's own, that ended it. */
  stopReason: string | number | null;
  usage: TurnUsage;
}

/** `part` counts what one choice writes: a reasoning, a visible text or a call, in order; parts never interleave. */
export type TurnEvent = { choice: number } & (PartStart | PartDelta | PartEnd | ChoiceEnded);

export interface TurnUsage {
  promptTokens: number;
  cachedTokens: number;
  /** Every sampled id of this choice up to its end: control tokens, stop tokens and those of a stop string included. */
  completionTokens: number;
  /** Those among them that are text of the analysis channel. */
  reasoningTokens: number;
}
