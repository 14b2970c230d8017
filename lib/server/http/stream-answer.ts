import type { FastifyBaseLogger, FastifyReply } from "fastify";
import { type ApiError, apiError } from "./errors.js";
import { EventStream } from "./sse.js";

/** What OpenAI's API says when a stream is complete. */
export const done = "[DONE]";

export interface StreamOptions<T> {
  /** Silence after which there is a comment. Default 15,000. */
  keepAliveMilliseconds?: number | undefined;
  /** The name of each value's event. Default: they have none. */
  nameOf?: (value: T) => string;
  /** Stops and restarts the work on the values, for a reader that is behind. */
  hold?: (held: boolean) => void;
}

/** What a client is told of a failure once its stream has begun; the log hears of it, unless the client is gone. */
export function streamFailure(error: unknown, logger: FastifyBaseLogger, signal: AbortSignal): ApiError {
  const told = apiError(error);
  if (told.status >= 500 && !signal.aborted) logger.error({ err: error }, "a stream ended with an error");
  return told;
}

/**
 * Answers with a stream of values, and with comments while there is nothing to say. A slow reader is waited for: nothing
 * more is asked of `values` until it has read.
 */
export async function streamAnswer<T>(
  reply: FastifyReply,
  values: AsyncIterable<T>,
  { keepAliveMilliseconds = 15_000, nameOf, hold }: StreamOptions<T> = {},
): Promise<FastifyReply> {
  const stream = new EventStream(reply, hold);
  const silence = setInterval(() => stream.comment("keep-alive"), keepAliveMilliseconds);
  try {
    for await (const value of values) {
      silence.refresh();
      await stream.send(value, nameOf?.(value));
    }
  } finally {
    clearInterval(silence);
    stream.end();
  }
  return reply;
}
