import { ApiError } from "../http/errors.js";

/** Wrong keys of one address that are answered with 401 in a minute; further ones get 429. */
const mostPerMinute = 30;
/** Addresses that are remembered: those that were wrong last. */
const mostAddresses = 4096;
const minute = 60_000;

/** Counts the wrong keys that each address sends. */
export class WrongKeys {
  readonly #now: () => number;
  /** The first wrong key of a minute, and how many there were since; in the order of the last one. */
  readonly #addresses = new Map<string, { since: number; count: number }>();

  constructor(clock: () => Date) {
    this.#now = () => clock().getTime();
  }

  /** What a client is told who has sent a wrong key. */
  refusal(address: string): ApiError {
    const now = this.#now();
    const { since, count } = this.#count(address, now);
    if (count <= mostPerMinute) return new ApiError(401, "This API key is not known here", { code: "invalid_api_key" });
    return new ApiError(429, `More than ${mostPerMinute} wrong API keys came from this address within a minute`, {
      code: "too_many_wrong_keys",
      retryAfter: Math.max(1, Math.ceil((since + minute - now) / 1000)),
    });
  }

  /** Addresses that are remembered. */
  get size(): number {
    return this.#addresses.size;
  }

  #count(address: string, now: number): { since: number; count: number } {
    const known = this.#addresses.get(address);
    this.#addresses.delete(address);
    // A clock that was set back begins a new minute.
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
