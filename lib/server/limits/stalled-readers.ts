import type { ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";
import { whenOver } from "../http/disconnect.js";

/** An answer in progress. */
interface Watched {
  raw: ServerResponse;
  /** Bytes that the system had taken at its last progress. `since` is the time of that. */
  taken: number;
  since: number;
}

/**
 * Closes the connections of clients that do not read their answers, streamed or whole: unread answers would stay in
 * memory. Only time in which data waits to be read counts.
 */
export class StalledReaders {
  readonly #milliseconds: number;
  readonly #watched = new Set<Watched>();
  readonly #cut = new WeakSet<ServerResponse>();
  readonly #timer: NodeJS.Timeout;

  /** @param milliseconds time for which a reader may take none of the waiting data; up to a quarter longer */
  constructor(milliseconds: number) {
    this.#milliseconds = milliseconds;
    this.#timer = setInterval(() => this.#look(performance.now()), Math.max(1, Math.ceil(milliseconds / 4)));
    this.#timer.unref();
  }

  watch(reply: FastifyReply): void {
    const watched: Watched = { raw: reply.raw, taken: -1, since: 0 };
    this.#watched.add(watched);
    whenOver(reply, () => this.#watched.delete(watched));
  }

  /** Whether an answer was cut because the client did not read it. */
  hasCut(reply: FastifyReply): boolean {
    return this.#cut.has(reply.raw);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(now: number): void {
    for (const watched of this.#watched) {
      const { raw } = watched;
      const { socket } = raw; // undefined until earlier answers on the same connection are written
      if (!socket || raw.writableLength === 0) {
        watched.taken = -1;
        continue;
      }
      const taken = socket.bytesWritten - socket.writableLength;
      if (taken !== watched.taken) {
        watched.taken = taken;
        watched.since = now;
      } else if (now - watched.since >= this.#milliseconds) {
        this.#cut.add(raw);
        socket.destroy();
      }
    }
  }
}
