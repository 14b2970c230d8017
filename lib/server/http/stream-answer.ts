import type { FastifyBaseLogger, FastifyReply } from "fastify";
import { type ApiError, apiError } from "./errors.js";
import { EventStream } from "./sse.js";

/** The data of OpenAI's API that marks a complete stream. */
export const done = "[DONE]";

export interface StreamOptions<T> {
  /** Milliseconds of silence before a comment is sent. Default 15,000. */
  keepAliveMilliseconds?: number | undefined;
  /** The event name of each value. Default: events have no name. */
  nameOf?: (value: T) => string;
  /** Pauses or resumes the work on the values, for a client that reads too slowly. */
  hold?: (held: boolean) => void;
}

/** Converts a failure after a stream has begun for the client. It is logged, unless the client is gone. */
export function streamFailure(error: unknown, logger: FastifyBaseLogger, signal: AbortSignal): ApiError {
  const told = apiError(error);
  if (told.status >= 500 && !signal.aborted) logger.error({ err: error }, "a stream ended with an error");
  return told;
}

/**
 * Streams the values as the answer, and sends comments during silence. It asks `values` for more only after a slow
 * reader has read.
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
