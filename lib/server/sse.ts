import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";

/** Server-sent events on a reply that Fastify no longer touches; its headers leave at once. */
export class EventStream {
  readonly #raw: ServerResponse;

  constructor(reply: FastifyReply) {
    reply.hijack();
    this.#raw = reply.raw;
    reply.headers({
      "content-type": "text/event-stream",
      "cache-control": "no-cache",
      "x-accel-buffering": "no",
    });
    for (const [name, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined) this.#raw.setHeader(name, value);
    }
    this.#raw.statusCode = 200;
    this.#raw.flushHeaders();
  }

  /** Resolves when there is room for more, or nobody listens any longer. */
  async send(data: unknown, event?: string): Promise<void> {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    await this.#write(`${event === undefined ? "" : `event: ${event}\n`}data: ${text}\n\n`);
  }

  /** A line that clients ignore; keeps proxies from taking a waiting stream for a dead one. */
  comment(text: string): void {
    if (this.#open) this.#raw.write(`: ${text}\n\n`);
  }

  end(): void {
    if (this.#open) this.#raw.end();
  }

  get #open(): boolean {
    return !this.#raw.writableEnded && !this.#raw.destroyed;
  }

  async #write(text: string): Promise<void> {
    if (!this.#open || this.#raw.write(text)) return;
    const left = new AbortController();
    try {
      await Promise.race([
        once(this.#raw, "drain", { signal: left.signal }),
        once(this.#raw, "close", { signal: left.signal }),
      ]);
    } finally {
      left.abort();
    }
  }
}
