import { type BatchOptions, goOnAt } from "./event-log.js";

/**
 * Returns the options for streaming an answer from its generation. Reported tokens are freed. A batch takes about as
 * much memory with likeliest tokens as without, because a whole batch waits while its reader is behind.
 */
export function streamed(topLogprobs: number | null): BatchOptions {
  return { most: Math.ceil(goOnAt / (1 + (topLogprobs ?? 0))), keep: false };
}
