import { ApiError } from "./errors.js";

interface Client {
  /** Requests that it may make now; fractions grow back with time. */
  tokens: number;
  refilled: number;
  running: number;
}

/** Clients that are kept in mind before those with nothing to remember are looked for. */
const sweepAt = 4096;

/** How much one client may ask for: a token bucket for each, and a count of what it has under way. */
export class ClientLimits {
  readonly #perMinute: number;
  readonly #concurrent: number;
  readonly #now: () => number;
  readonly #clients = new Map<string, Client>();
  #sweepAt = sweepAt;

  constructor(limits: { requestsPerMinute: number; concurrentRequests: number; clock: () => Date }) {
    this.#perMinute = limits.requestsPerMinute;
    this.#concurrent = limits.concurrentRequests;
    this.#now = () => limits.clock().getTime();
  }

  /**
   * Lets a request in; the returned function is called once when it is over.
   *
   * @throws ApiError 429, which says when another try is worth it.
   */
  enter(name: string): () => void {
    const client = this.#client(name);
    if (client.running >= this.#concurrent) {
      throw new ApiError(429, `At most ${this.#concurrent} requests at once are served to one client`, {
        code: "concurrency_limit_exceeded",
        retryAfter: 1,
      });
    }
    if (client.tokens < 1) {
      throw new ApiError(429, `At most ${this.#perMinute} requests per minute are served to one client`, {
        code: "rate_limit_exceeded",
        retryAfter: Math.ceil(((1 - client.tokens) * 60) / this.#perMinute),
      });
    }
    client.tokens--;
    client.running++;
    return () => {
      client.running--;
    };
  }

  /** Clients that are remembered. */
  get size(): number {
    return this.#clients.size;
  }

  #client(name: string): Client {
    const now = this.#now();
    const found = this.#clients.get(name);
    if (found) {
      // A clock that was set back gives nothing, and takes nothing.
      const minutes = Math.max(0, now - found.refilled) / 60_000;
      found.tokens = Math.min(this.#perMinute, found.tokens + minutes * this.#perMinute);
      found.refilled = now;
      return found;
    }
    if (this.#clients.size >= this.#sweepAt) this.#sweep(now);
    const client = { tokens: this.#perMinute, refilled: now, running: 0 };
    this.#clients.set(name, client);
    return client;
  }

  /** A client that was not here for a minute has its bucket full again: it need not be remembered. */
  #sweep(now: number): void {
    for (const [name, { running, refilled }] of this.#clients) {
      if (running === 0 && now - refilled >= 60_000) this.#clients.delete(name);
    }
    this.#sweepAt = Math.max(sweepAt, 2 * this.#clients.size);
  }
}
