import { type BatchOptions, goOnAt } from "../../generation/event-log.js";

/**
 * How an answer is read from its generation: nothing is kept of what is told, and what comes together is about as much with
 * likeliest tokens as without, for a reader that is behind has all of it waiting in the server's memory.
 */
export function streamed(topLogprobs: number | null): BatchOptions {
  return { most: Math.ceil(goOnAt / (1 + (topLogprobs ?? 0))), keep: false };
}
