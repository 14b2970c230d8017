import type { FastifyReply } from "fastify";
import { EventStream } from "./sse.js";

/** What OpenAI's API says when a stream is complete. */
export const done = "[DONE]";

/**
 * Answers with a stream of values, and with comments while there is nothing to say. A slow reader is waited for: nothing
 * more is asked of `values` until it has read.
 */
export async function streamAnswer(
  reply: FastifyReply,
  values: AsyncIterable<unknown>,
  keepAliveMilliseconds = 15_000,
): Promise<FastifyReply> {
  const stream = new EventStream(reply);
  const silence = setInterval(() => stream.comment("keep-alive"), keepAliveMilliseconds);
  try {
    for await (const value of values) {
      silence.refresh();
      await stream.send(value);
    }
  } finally {
    clearInterval(silence);
    stream.end();
  }
  return reply;
}
