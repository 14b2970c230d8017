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

export interface FirstTokenMessage {
  id: number;
  promptTokens: number;
}

/** `completionTokens` are those of all choices, `longestCompletion` those of the one that has most. */
export type DoneMessage = {
  id: number;
  promptTokens: number;
  completionTokens: number;
  longestCompletion: number;
} & RequestOutcome;

/** Of the first choice; or what the result rejects with. */
export type RequestOutcome =
  | { finishReason: FinishReason; cachedTokens: number; timings: Timings }
  | { error: unknown };
