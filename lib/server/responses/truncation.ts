import { contextOverflow } from "../../errors.js";
import { leastOfMessage } from "../../harmony/render.js";
import { badRequest } from "../http/error-response.js";
import { ApiError } from "../http/errors.js";
import type { ConversationItem } from "./conversation.js";

function tooLong(contextLength: number): ApiError {
  const { message } = contextOverflow(contextLength, null, "input");
  return badRequest("input", message, "context_length_exceeded");
}

/** Whether a turn was refused because the context cannot hold it. */
export function isTooLong(error: unknown): boolean {
  return error instanceof ApiError && error.code === "context_length_exceeded";
}

/** What the model always reads, each a message. */
const readTypes: ReadonlySet<unknown> = new Set([
  "function_call",
  "function_call_output",
  "custom_tool_call",
  "custom_tool_call_output",
]);

/**
 * Before the items of an input are read, one by one: those of the oldest turns that no context of this length reaches, which
 * are not worth reading, become undefined.
 *
 * @throws ApiError where nothing may be dropped
 */
export function passOutOfReach(input: unknown[], contextLength: number, truncation: unknown): void {
  const items = input as ({ role?: unknown; type?: unknown } | null)[];
  let least = 0;
  let firstKept: number | null = null;
  for (let index = items.length - 1; index >= 0; index--) {
    const isUser = items[index]?.role === "user";
    if (isUser || readTypes.has(items[index]?.type)) least += leastOfMessage;
    if (least >= contextLength) {
      if (truncation !== "auto" || firstKept === null) throw tooLong(contextLength);
      const from = items.findIndex((item) => item?.role === "user");
      input.fill(undefined, from, firstKept);
      return;
    }
    if (isUser) firstKept = index;
  }
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
