import { GptOssError } from "../../errors.js";
import { ApiError } from "../errors.js";
import type { ConversationItem } from "./conversation.js";

/** The refusal of a turn that the context cannot hold, in the words of this endpoint; null for any other error. */
export function tooLong(error: unknown): ApiError | null {
  const code = "context_length_exceeded";
  if (error instanceof GptOssError && error.code === "CONTEXT_OVERFLOW") {
    return new ApiError(400, error.message, { code, param: "input" });
  }
  if (!(error instanceof ApiError) || error.code !== code) return null;
  // The turn knows the field by its name in chat completions.
  const param = error.param === "max_tokens" ? "max_output_tokens" : "input";
  return new ApiError(400, error.message, { code, param });
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
