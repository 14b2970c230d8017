import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { setImmediate } from "node:timers/promises";
import type { FastifyReply } from "fastify";
import { jsonPieces } from "./json-pieces.js";

/** Time that a reader may take for the written data before the work on further data pauses. */
const patienceMilliseconds = 1000;

/** Server-sent events on a reply that Fastify no longer handles. The headers are sent at once. */
export class EventStream {
  readonly #raw: ServerResponse;
  readonly #hold: (held: boolean) => void;
  /** True while an event is written in pieces, where a comment must not stand. */
  #isWriting = false;

  /** @param hold pauses or resumes the work on further data, for a client that reads too slowly */
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

  /** Resolves when the stream accepts more data, or the connection has ended. */
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

  /** Sends a line that clients ignore. It keeps proxies from closing a silent stream. */
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
