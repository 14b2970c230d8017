import { channel } from "node:diagnostics_channel";
import type { FinishReason, Timings } from "./results.js";

/**
 * The channels of `node:diagnostics_channel` for the requests of this thread. A message is built only while its channel
 * has a subscriber. `id` is unique within the thread.
 */
export const channels = {
  /** RequestMessage (of engine.ts): the engine has accepted a request. */
  request: channel("gpt-oss:request"),
  /** FirstTokenMessage */
  firstToken: channel("gpt-oss:first-token"),
  /** DoneMessage: once for every request that started. */
  done: channel("gpt-oss:done"),
};

/** The message of `gpt-oss:first-token` of `node:diagnostics_channel`. */
export interface FirstTokenMessage {
  /** The id of the request. */
  id: number;
  /** The number of tokens of the prompt. */
  promptTokens: number;
}

/** The message of `gpt-oss:done` of `node:diagnostics_channel`, once for each request. */
export type DoneMessage = {
  /** The id of the request. */
  id: number;
  /** The number of tokens of the prompt. */
  promptTokens: number;
  /** The number of tokens of all choices. */
  completionTokens: number;
  /** The number of tokens of the longest choice. */
  longestCompletion: number;
} & RequestOutcome;

/** The outcome of the first choice, or the error that the result rejects with. */
export type RequestOutcome =
  | {
      /** The reason for the end. */
      finishReason: FinishReason;
      /** As in `Usage`. */
      cachedTokens: number;
      /** The times of the request. */
      timings: Timings;
    }
  | {
      /** The error that the result rejects with. */
      error: unknown;
    };
