import type { SpelledToken } from "./visible-text.js";

/** What happens in a turn of the assistant, whoever asked for it. */

/** `part` counts what one choice writes: a reasoning, a visible text or a call, in order; parts never interleave. */
export type TurnEvent = { choice: number } & (
  | { type: "part-start"; part: number; kind: "reasoning" }
  | { type: "part-start"; part: number; kind: "text"; channel: "commentary" | "final" }
  | { type: "part-start"; part: number; kind: "call"; callId: string; name: string }
  /**
   * `text` is never empty; of a call it is a piece of the arguments' JSON text. `tokens`: those that end in a visible text,
   * when log probabilities were asked for.
   */
  | { type: "part-delta"; part: number; text: string; tokens: readonly SpelledToken[] }
  /** complete: false when the turn was cut off in it. A part that got no delta gets its end all the same. */
  | { type: "part-end"; part: number; text: string; complete: boolean; tokens: readonly number[] }
  /** "tool_calls" when it ended with a complete call. `stopReason`: the stop string or stop token id that ended it. */
  | {
      type: "choice-end";
      finishReason: "stop" | "length" | "tool_calls";
      stopReason: string | number | null;
      usage: TurnUsage;
    }
);

export interface TurnUsage {
  promptTokens: number;
  cachedTokens: number;
  /** Every sampled id of this choice, control and stop tokens included. */
  completionTokens: number;
  /** Those among them that are text of the analysis channel. */
  reasoningTokens: number;
}
