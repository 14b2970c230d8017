import type { ApiError } from "./errors.js";
import { done } from "./stream-answer.js";

/** A stream of chat completions or of completions. */
export interface CompletionStream {
  /** What every chunk says of the answer. */
  head: object;
  /** Each is the piece of one choice. */
  pieces: AsyncIterable<object>;
  /** The request's own. */
  options: { include_usage?: boolean | null } | undefined;
  usage: () => object | Promise<object>;
  /** How an error is told once the stream has begun. */
  failed: (error: unknown) => ApiError;
}

/** The chunks of the pieces, one with the usage where it is asked for, and the end; or an error in place of what is left. */
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
