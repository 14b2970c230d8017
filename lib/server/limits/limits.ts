import type { Generation } from "../../generation/generation.js";
import { ApiError } from "../http/errors.js";

/** The amount that one client may use per minute. It refills continuously, in fractions. */
class Bucket {
  readonly perMinute: number;
  left: number;
  #refilled: number;

  constructor(perMinute: number, now: number) {
    this.perMinute = perMinute;
    this.left = perMinute;
    this.#refilled = now;
  }

  /** If the clock was set back, the bucket does not change. */
  refill(now: number): void {
    const minutes = Math.max(0, now - this.#refilled) / 60_000;
    this.left = Math.min(this.perMinute, this.left + minutes * this.perMinute);
    this.#refilled = now;
  }

  get isFull(): boolean {
    return this.left >= this.perMinute;
  }

  /** Seconds until the bucket holds `count`. */
  secondsTo(count: number): number {
    return (Math.max(0, count - this.left) * 60) / this.perMinute;
  }

  /** The headers with which OpenAI's API reports limits. */
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
  /** Completions in progress. */
  running: number;
}

export interface LimitOptions {
  requestsPerMinute: number;
  tokensPerMinute: number;
  concurrentRequests: number;
  clock: () => Date;
}

/** Stands for "no limit". */
const any = Number.MAX_SAFE_INTEGER;
/** Number of clients at which the server looks for clients that it can forget. */
const sweepAt = 4096;
/** Assumed tokens of an answer without a maximum, until its length is known. */
const presumedTokens = 1024;

/**
 * The limits of each client: buckets of requests and tokens, and a count of its running completions. A body counts as
 * one request for each completion that it asks for.
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
   * @param tell called with the headers that report the client's remaining limits, whenever they change
   * @param places requests at once that it counts as: 0 for one that generates nothing
   * @throws ApiError 429, with the seconds after which the client can try again.
   */
  enter(name: string, tell: (headers: Record<string, string>) => void = () => {}, places: 0 | 1 = 1): Ticket {
    const ticket = new Ticket(name, this.#client(name), this.#limits, tell);
    ticket.take(1, places);
    return ticket;
  }

  /** Number of known clients. */
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

  /** Forgets clients whose buckets are full again. */
  #sweep(now: number): void {
    for (const [name, { running, requests, tokens }] of this.#clients) {
      requests.refill(now);
      tokens.refill(now);
      if (running === 0 && requests.isFull && tokens.isFull) this.#clients.delete(name);
    }
    this.#sweepAt = Math.max(sweepAt, 2 * this.#clients.size);
  }
}

/** Read at the end. */
type Counted = Pick<Generation, "promptTokens" | "completionTokens">;

/** The part of its client's limits that one body uses, from its headers to the end of its answer. */
export class Ticket {
  /** The client's name: a key's name, or an address. */
  readonly client: string;
  readonly #client: Client;
  readonly #limits: LimitOptions;
  readonly #tell: (headers: Record<string, string>) => void;
  readonly #generations: Counted[] = [];
  #completions = 0;
  #places = 0;
  #reserved = 0;
  #hasLeft = false;

  /** Use `ClientLimits.enter` instead. */
  constructor(name: string, client: Client, limits: LimitOptions, tell: (headers: Record<string, string>) => void) {
    this.client = name;
    this.#client = client;
    this.#limits = limits;
    this.#tell = tell;
  }

  /** Takes the body's completions; `param` names their field. @throws ApiError 400 when waiting would not help, 429 */
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
  take(completions: number, places: number = completions): void {
    const { concurrentRequests, requestsPerMinute } = this.#limits;
    const { requests } = this.#client;
    if (places > 0 && this.#client.running + places > concurrentRequests) {
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
    this.#client.running += places;
    this.#places += places;
    this.#completions += completions;
    this.#tell(this.#headers());
  }

  /**
   * Reserves the tokens that prompts and answers may use; `leave` replaces them by the real number. An amount above a
   * minute's limit waits for one full minute's limit.
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

  /** Counts the tokens of this generation. */
  count(generation: Counted): void {
    this.#generations.push(generation);
  }

  /** Call it at the end of the answer. Further calls do nothing. */
  leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.#client.running -= this.#places;
    const used = this.#generations.map(({ promptTokens, completionTokens }) => promptTokens.length + completionTokens);
    this.#client.tokens.left += this.#reserved - used.reduce((sum, tokens) => sum + tokens, 0);
  }

  #headers(): Record<string, string> {
    return { ...this.#client.requests.headers("requests"), ...this.#client.tokens.headers("tokens") };
  }
}
