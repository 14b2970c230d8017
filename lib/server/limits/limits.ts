import type { Generation } from "../../generation/generation.js";
import { ApiError } from "../http/errors.js";

/** What one client may use of something in a minute; fractions grow back with time. */
class Bucket {
  readonly perMinute: number;
  left: number;
  #refilled: number;

  constructor(perMinute: number, now: number) {
    this.perMinute = perMinute;
    this.left = perMinute;
    this.#refilled = now;
  }

  /** A clock that was set back gives nothing, and takes nothing. */
  refill(now: number): void {
    const minutes = Math.max(0, now - this.#refilled) / 60_000;
    this.left = Math.min(this.perMinute, this.left + minutes * this.perMinute);
    this.#refilled = now;
  }

  get isFull(): boolean {
    return this.left >= this.perMinute;
  }

  /** Seconds until there are so many. */
  secondsTo(count: number): number {
    return (Math.max(0, count - this.left) * 60) / this.perMinute;
  }

  /** As OpenAI's API tells it. */
  headers(of: "requests" | "tokens"): Record<string, string> {
    if (this.perMinute === any) return {};
    return {
      [`x-ratelimit-limit-${of}`]: String(this.perMinute),
      [`x-ratelimit-remaining-${of}`]: String(Math.max(0, Math.floor(this.left))),
      [`x-ratelimit-reset-${of}`]: `${Math.ceil(this.secondsTo(this.perMinute))}s`,
    };
  }
}

export const rateLimitHeaders = (["requests", "tokens"] as const).flatMap((of) =>
  ["limit", "remaining", "reset"].map((what) => `x-ratelimit-${what}-${of}`),
);

interface Client {
  requests: Bucket;
  tokens: Bucket;
  /** Completions under way. */
  running: number;
}

export interface LimitOptions {
  requestsPerMinute: number;
  tokensPerMinute: number;
  concurrentRequests: number;
  clock: () => Date;
}

/** No limit. */
const any = Number.MAX_SAFE_INTEGER;
/** Clients that are kept in mind before those with nothing to remember are looked for. */
const sweepAt = 4096;
/** Tokens that an answer without a maximum of its own is taken to have, until it is known. */
const presumedTokens = 1024;

/**
 * How much one client may ask for: buckets of requests and tokens for each, and a count of what it has under way. A body
 * counts as many requests as it asks for completions.
 */
export class ClientLimits {
  readonly #limits: LimitOptions;
  readonly #clients = new Map<string, Client>();
  #sweepAt = sweepAt;

  constructor(limits: LimitOptions) {
    this.#limits = limits;
  }

  /**
   * Lets a request in.
   *
   * @param tell is called with the headers that say what the client has left, whenever that changes
   * @throws ApiError 429, which says when another try is worth it.
   */
  enter(name: string, tell: (headers: Record<string, string>) => void = () => {}): Ticket {
    const ticket = new Ticket(name, this.#client(name), this.#limits, tell);
    ticket.take(1);
    return ticket;
  }

  /** Clients that are remembered. */
  get size(): number {
    return this.#clients.size;
  }

  #client(name: string): Client {
    const now = this.#limits.clock().getTime();
    const found = this.#clients.get(name);
    if (found) {
      found.requests.refill(now);
      found.tokens.refill(now);
      return found;
    }
    if (this.#clients.size >= this.#sweepAt) this.#sweep(now);
    const { requestsPerMinute, tokensPerMinute } = this.#limits;
    const client = {
      requests: new Bucket(requestsPerMinute, now),
      tokens: new Bucket(tokensPerMinute, now),
      running: 0,
    };
    this.#clients.set(name, client);
    return client;
  }

  /** A client whose buckets are full again need not be remembered. */
  #sweep(now: number): void {
    for (const [name, { running, requests, tokens }] of this.#clients) {
      requests.refill(now);
      tokens.refill(now);
      if (running === 0 && requests.isFull && tokens.isFull) this.#clients.delete(name);
    }
    this.#sweepAt = Math.max(sweepAt, 2 * this.#clients.size);
  }
}

/** What one body holds of its client's limits, from its headers to the end of its answer. */
export class Ticket {
  /** Who asks: a key's name, or an address. */
  readonly client: string;
  readonly #client: Client;
  readonly #limits: LimitOptions;
  readonly #tell: (headers: Record<string, string>) => void;
  readonly #generations: Generation[] = [];
  #completions = 0;
  #reserved = 0;

  /** Made by `ClientLimits.enter`. */
  constructor(name: string, client: Client, limits: LimitOptions, tell: (headers: Record<string, string>) => void) {
    this.client = name;
    this.#client = client;
    this.#limits = limits;
    this.#tell = tell;
  }

  /** The body asks for so many completions: `param` says where. @throws ApiError 400 when no wait would help, 429 */
  ask(completions: number, param: string): void {
    const { concurrentRequests, requestsPerMinute } = this.#limits;
    const most = Math.min(concurrentRequests, requestsPerMinute);
    if (completions > most) {
      throw new ApiError(
        400,
        `${param} asks for ${completions} completions; the limits of one client allow ${most} at once`,
        { param, code: "invalid_value" },
      );
    }
    this.take(completions - this.#completions);
  }

  /** @throws ApiError 429 */
  take(completions: number): void {
    const { concurrentRequests, requestsPerMinute } = this.#limits;
    const { requests } = this.#client;
    if (this.#client.running + completions > concurrentRequests) {
      throw new ApiError(429, `At most ${concurrentRequests} requests at once are served to one client`, {
        code: "concurrency_limit_exceeded",
        retryAfter: 1,
      });
    }
    if (requests.left < completions) {
      this.#tell(this.#headers());
      throw new ApiError(429, `At most ${requestsPerMinute} requests per minute are served to one client`, {
        code: "rate_limit_exceeded",
        retryAfter: Math.ceil(requests.secondsTo(completions)),
      });
    }
    requests.left -= completions;
    this.#client.running += completions;
    this.#completions += completions;
    this.#tell(this.#headers());
  }

  /**
   * Takes what prompts and answers may have in tokens, until `leave` knows better. More than a minute's worth waits for a
   * whole minute's.
   *
   * @throws ApiError 429
   */
  reserve(promptTokens: number, completions: number, maxTokens: number = presumedTokens): void {
    const { tokens } = this.#client;
    const wanted = Math.min(promptTokens + completions * maxTokens, tokens.perMinute);
    if (tokens.left < wanted) {
      this.#tell(this.#headers());
      throw new ApiError(429, `At most ${tokens.perMinute} tokens per minute are served to one client`, {
        code: "rate_limit_exceeded",
        retryAfter: Math.ceil(tokens.secondsTo(wanted)),
      });
    }
    tokens.left -= wanted;
    this.#reserved += wanted;
    this.#tell(this.#headers());
  }

  /** What is generated for it counts. */
  count(generation: Generation): void {
    this.#generations.push(generation);
  }

  /** Once, when its answer is over. */
  leave(): void {
    this.#client.running -= this.#completions;
    const used = this.#generations.map(({ promptTokens, completionTokens }) => promptTokens.length + completionTokens);
    this.#client.tokens.left += this.#reserved - used.reduce((sum, tokens) => sum + tokens, 0);
  }

  #headers(): Record<string, string> {
    return { ...this.#client.requests.headers("requests"), ...this.#client.tokens.headers("tokens") };
  }
}
