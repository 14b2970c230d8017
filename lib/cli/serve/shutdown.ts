import type { FastifyInstance } from "fastify";
import { exitCodes } from "../exit.js";

const signals = ["SIGTERM", "SIGINT"] as const;

/** Ends the server after a signal: the first one lets requests finish, the second ends the process at once. */
export class Shutdown {
  /** Resolves with the first signal. */
  readonly requested: Promise<void>;
  readonly #app: FastifyInstance;

  /** The first signal aborts `loading`. */
  constructor(app: FastifyInstance, loading: AbortController) {
    this.#app = app;
    let request: () => void;
    this.requested = new Promise((resolve) => {
      request = resolve;
    });
    let asked = false;
    for (const signal of signals) {
      process.on(signal, () => {
        if (asked) process.exit(exitCodes.interrupted);
        asked = true;
        app.log.info({ signal }, "shutting down; a second signal quits at once");
        loading.abort(new Error(signal));
        request();
      });
    }
  }

  /** Resolves when the last request has its answer, or its time is over. */
  async drain(): Promise<void> {
    await this.#app.drain();
    this.#app.log.info("drained");
  }

  async close(): Promise<void> {
    const closed = this.#app.close();
    // No request is left: a connection that is still open is idle, or its client does not read.
    this.#app.server.closeAllConnections();
    await closed;
  }
}
