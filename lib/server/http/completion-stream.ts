import type { ApiError } from "./errors.js";
import { done } from "./stream-answer.js";

/** A stream of chat completions or of completions. */
export interface CompletionStream {
  /** The members that every chunk repeats. */
  head: object;
  /** Each value is the piece of one choice. */
  pieces: AsyncIterable<object>;
  /** `stream_options` of the request. */
  options: { include_usage?: boolean | null } | undefined;
  usage: () => object | Promise<object>;
  /** Converts an error after the stream has begun. */
  failed: (error: unknown) => ApiError;
}

/** Yields a chunk for each piece, the usage if requested, and the end. An error replaces the rest of the stream. */
export async function* completionStream({
  head,
  pieces,
  options,
  usage,
  failed,
}: CompletionStream): AsyncGenerator<unknown, void, undefined> {
  const hasUsage = options?.include_usage === true;
  const chunk = (choices: object[], told: object | null) => ({ ...head, choices, ...(hasUsage && { usage: told }) });
  try {
    for await (const piece of pieces) yield chunk([piece], null);
    if (hasUsage) yield chunk([], await usage());
    yield done;
  } catch (error) {
    yield failed(error);
  }
}
