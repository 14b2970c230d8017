import { contextOverflow } from "../../errors.js";
import { leastOfMessage } from "../../harmony/render.js";
import { ApiError } from "../errors.js";
import type { ConversationItem } from "./conversation.js";

function tooLong(contextLength: number): ApiError {
  const { message } = contextOverflow(contextLength, null);
  return new ApiError(400, message, { code: "context_length_exceeded", param: "input" });
}

/** Whether a turn was refused because the context cannot hold it. */
export function isTooLong(error: unknown): boolean {
  return error instanceof ApiError && error.code === "context_length_exceeded";
}

/** The same before the items of an input are read, one by one. @throws ApiError */
export function refuseMany(input: unknown, contextLength: number): void {
  if (!Array.isArray(input)) return;
  let least = 0;
  for (const item of input as ({ role?: unknown } | null)[]) if (item?.role === "user") least += leastOfMessage;
  if (least >= contextLength) throw tooLong(contextLength);
}

/**
 * The same before anything is rendered: what more turns there are than the context has room for is dropped, where it may.
 *
 * @throws ApiError where it may not
 */
export function withinContext(
  items: readonly ConversationItem[],
  contextLength: number,
  truncation: "auto" | "disabled",
): readonly ConversationItem[] {
  const turns = items.reduce((count, { message }) => count + (message?.role === "user" ? 1 : 0), 0);
  const excess = turns - Math.floor(contextLength / leastOfMessage);
  if (excess <= 0) return items;
  const shorter = truncation === "auto" ? dropOldestTurns(items, excess) : null;
  if (shorter === null) throw tooLong(contextLength);
  return shorter;
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
