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

/** Item types that the model always reads, each as one message. */
const readTypes: ReadonlySet<unknown> = new Set([
  "function_call",
  "function_call_output",
  "custom_tool_call",
  "custom_tool_call_output",
]);

/**
 * Replaces items of the oldest turns by undefined before the items are read, if a context of this length cannot reach
 * them.
 *
 * @throws ApiError when it must not drop turns
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
 * Drops the oldest turns before anything is rendered, when the context cannot hold that many turns.
 *
 * @throws ApiError when it must not drop turns
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
 * Returns the conversation without its oldest turns; a turn reaches from one user message to the next. The instructions
 * before the first turn stay, and so does the last turn. Returns null when there is only one turn.
 */
export function dropOldestTurns(items: readonly ConversationItem[], count: number): ConversationItem[] | null {
  const starts = items.flatMap(({ message }, index) => (message?.role === "user" ? [index] : []));
  if (starts.length < 2) return null;
  return [...items.slice(0, starts[0]), ...items.slice(starts[Math.min(count, starts.length - 1)])];
}
