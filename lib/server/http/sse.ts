import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { setImmediate } from "node:timers/promises";
import type { FastifyReply } from "fastify";
import { jsonPieces } from "./json-pieces.js";

/** What a reader may take for what was written before nothing more is computed for it. */
const patienceMilliseconds = 1000;

/** Server-sent events on a reply that Fastify no longer touches; its headers leave at once. */
export class EventStream {
  readonly #raw: ServerResponse;
  readonly #hold: (held: boolean) => void;
  /** Within an event that is written in pieces, where no comment may stand. */
  #isWriting = false;

  /** @param hold stops and restarts the work on what is still to be sent, for a reader that is behind */
  constructor(reply: FastifyReply, hold: (held: boolean) => void = () => {}) {
    this.#hold = hold;
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
    let text = `${event === undefined ? "" : `event: ${event}\n`}data: `;
    const pieces = typeof data === "string" ? [data] : jsonPieces(data);
    this.#isWriting = true;
    let isFirst = true;
    for (const piece of pieces) {
      if (!isFirst) {
        await this.#write(text);
        await setImmediate();
        text = "";
      }
      text += piece;
      isFirst = false;
    }
    this.#isWriting = false;
    await this.#write(`${text}\n\n`);
  }

  /** A line that clients ignore; keeps proxies from taking a waiting stream for a dead one. */
  comment(text: string): void {
    if (this.#open && !this.#isWriting && !this.#raw.writableNeedDrain) this.#raw.write(`: ${text}\n\n`);
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
    let isHeld = false;
    const slow = setTimeout(() => {
      isHeld = true;
      this.#hold(true);
    }, patienceMilliseconds);
    try {
      await Promise.race([
        once(this.#raw, "drain", { signal: left.signal }),
        once(this.#raw, "close", { signal: left.signal }),
      ]);
    } finally {
      left.abort();
      clearTimeout(slow);
      if (isHeld) this.#hold(false);
    }
  }
}
