import { ApiError } from "../errors.js";
import type { ConversationItem } from "./conversation.js";

/** Whether a turn was refused because the context cannot hold it. */
export function isTooLong(error: unknown): boolean {
  return error instanceof ApiError && error.code === "context_length_exceeded";
}

/**
 * The conversation without its oldest turns, each from one user message to the next; what stands before the first, its
 * instructions, stays, and so does the last. null when there is no other.
 */
export function dropOldestTurns(items: readonly ConversationItem[], count: number): ConversationItem[] | null {
  const starts = items.flatMap(({ message }, index) => (message?.role === "user" ? [index] : []));
  if (starts.length < 2) return null;
  return [...items.slice(0, starts[0]), ...items.slice(starts[Math.min(count, starts.length - 1)])];
}
