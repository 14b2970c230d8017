import { type BatchOptions, goOnAt } from "./event-log.js";

/**
 * How an answer is read from its generation. Nothing is kept of what is told. A batch takes about as much memory with
 * likeliest tokens as without, because all of it waits while its reader is behind.
 */
export function streamed(topLogprobs: number | null): BatchOptions {
  return { most: Math.ceil(goOnAt / (1 + (topLogprobs ?? 0))), keep: false };
}
