import { Readable } from "node:stream";
import type { FastifyBaseLogger, FastifyReply } from "fastify";
import { asApiError, errorBody } from "./error-response.js";
import { ApiError } from "./errors.js";

/** Server-sent events. A reader that is slow is waited for: nothing more is asked of `frames` until it has read. */

export const done = "data: [DONE]\n\n";

export function data(value: unknown): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}

export function event(type: string, value: unknown): string {
  return `event: ${type}\n${data(value)}`;
}

/** How an error is told once the stream has begun. */
export function errorFrame(error: unknown, logger: FastifyBaseLogger): string {
  if (!(error instanceof ClientGone)) logger.error({ err: error }, "a stream ended with an error");
  return data(errorBody(asApiError(error)));
}

/** Aborted when the client goes before it has the whole answer. */
export function disconnection({ raw }: FastifyReply): AbortSignal {
  const controller = new AbortController();
  raw.once("close", () => {
    if (!raw.writableFinished) controller.abort(new ClientGone());
  });
  return controller.signal;
}

/** 499, as web servers call it; nobody is there to read it. */
export class ClientGone extends ApiError {
  constructor() {
    super(499, "The client closed the connection");
  }
}

/** Answers with a stream of frames; headers go at once, and comments while there is nothing to say. */
export function sendFrames(
  reply: FastifyReply,
  frames: AsyncIterable<string>,
  keepAliveMilliseconds = 15_000,
): FastifyReply {
  reply.headers({
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
  });
  async function* body(): AsyncGenerator<string, void, undefined> {
    reply.raw.flushHeaders(); // here they are set: the first read comes from the pipe into the answer
    yield* keptAlive(frames[Symbol.asyncIterator](), keepAliveMilliseconds);
  }
  return reply.send(Readable.from(body()));
}

async function* keptAlive(
  frames: AsyncIterator<string>,
  milliseconds: number,
): AsyncGenerator<string, void, undefined> {
  let coming: Promise<IteratorResult<string>> | null = null;
  try {
    for (;;) {
      coming ??= frames.next();
      const frame = await within(coming, milliseconds);
      if (frame === null) {
        yield ": keep-alive\n\n";
        continue;
      }
      coming = null;
      if (frame.done) return;
      yield frame.value;
    }
  } finally {
    // Not waited for: a generator in the middle of something returns only after that.
    coming?.catch(() => {});
    frames.return?.().catch(() => {});
  }
}

/** Null when it takes longer. */
async function within<T>(promise: Promise<T>, milliseconds: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(resolve, milliseconds, null);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
