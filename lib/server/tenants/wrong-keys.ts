import { ApiError } from "../http/errors.js";

/** Wrong keys per minute and address that get 401; further ones get 429. */
const mostPerMinute = 30;
/** Maximum number of stored addresses: those with the latest wrong keys. */
const mostAddresses = 4096;
const minute = 60_000;

/** Counts the wrong keys that each address sends. */
export class WrongKeys {
  readonly #now: () => number;
  /** The time of the first wrong key of a minute, and the count since then, ordered by the latest wrong key. */
  readonly #addresses = new Map<string, { since: number; count: number }>();

  constructor(clock: () => Date) {
    this.#now = () => clock().getTime();
  }

  /** The error for a client that sent a wrong key. */
  refusal(address: string): ApiError {
    const now = this.#now();
    const { since, count } = this.#count(address, now);
    if (count <= mostPerMinute) return new ApiError(401, "This API key is not known here", { code: "invalid_api_key" });
    return new ApiError(429, `More than ${mostPerMinute} wrong API keys came from this address within a minute`, {
      code: "too_many_wrong_keys",
      retryAfter: Math.max(1, Math.ceil((since + minute - now) / 1000)),
    });
  }

  /** Number of stored addresses. */
  get size(): number {
    return this.#addresses.size;
  }

  #count(address: string, now: number): { since: number; count: number } {
    const known = this.#addresses.get(address);
    this.#addresses.delete(address);
    // If the clock was set back, a new minute begins.
    const isOver = known === undefined || now >= known.since + minute || now < known.since;
    const counted = isOver ? { since: now, count: 1 } : { since: known.since, count: known.count + 1 };
    this.#addresses.set(address, counted);
    for (const oldest of this.#addresses.keys()) {
      if (this.#addresses.size <= mostAddresses) break;
      this.#addresses.delete(oldest);
    }
    return counted;
  }
}
