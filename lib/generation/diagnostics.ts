import { channel } from "node:diagnostics_channel";
import type { FinishReason, Timings } from "./results.js";

/**
 * What happens to the requests of this thread, for `node:diagnostics_channel`. A message is built only while somebody
 * subscribes to its channel; `id` is unique within the thread.
 */
export const channels = {
  /** RequestMessage (of engine.ts): the engine has taken a request. */
  request: channel("gpt-oss:request"),
  /** FirstTokenMessage */
  firstToken: channel("gpt-oss:first-token"),
  /** DoneMessage: once for every request that began. */
  done: channel("gpt-oss:done"),
};

/** What `gpt-oss:first-token` of `node:diagnostics_channel` publishes. */
export interface FirstTokenMessage {
  /** That of the request. */
  id: number;
  /** Tokens of the prompt. */
  promptTokens: number;
}

/** What `gpt-oss:done` of `node:diagnostics_channel` publishes, once for each request. */
export type DoneMessage = {
  /** That of the request. */
  id: number;
  /** Tokens of the prompt. */
  promptTokens: number;
  /** Tokens of all choices. */
  completionTokens: number;
  /** Tokens of the choice that has most. */
  longestCompletion: number;
} & RequestOutcome;

/** Of the first choice; or what the result rejects with. */
export type RequestOutcome =
  | {
      /** Why it ended. */
      finishReason: FinishReason;
      /** As in `Usage`. */
      cachedTokens: number;
      /** How long it took. */
      timings: Timings;
    }
  | {
      /** What the result rejects with. */
      error: unknown;
    };
