import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import type { CompletedRequest } from "./answer.js";
import { poissonArrivals } from "./arrivals.js";
import { RequestFailure } from "./failure.js";
import type { LevelResult } from "./metrics.js";

/** When requests are sent. */
export type Arrivals =
  /** Each client sends its next request when its last one ended. */
  | { kind: "closed"; concurrency: number }
  /** Requests arrive by themselves, `rate` in a second on average. With `maxConcurrency`, more of them wait here. */
  | { kind: "open"; rate: number; maxConcurrency: number | null };

export interface LevelOptions {
  arrivals: Arrivals;
  requests: number;
  /** For the times of arrivals. */
  random: () => number;
  /** Sends a request. Rejects with a `RequestFailure` that is counted, or with the reason of the signal. */
  send: (signal: AbortSignal) => Promise<CompletedRequest>;
  /** Its abort ends the level: requests under way are stopped and do not count. */
  signal: AbortSignal;
  /** Called after each request that counts. */
  onEnd: () => void;
}

/** A level of load that runs. */
export class Level {
  readonly #options: LevelOptions;
  readonly #completed: CompletedRequest[] = [];
  readonly #failures: string[] = [];
  /** Stops all requests after an error that is no failure of one. */
  readonly #fault = new AbortController();
  readonly #signal: AbortSignal;
  #begun = 0;

  constructor(options: LevelOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#fault.signal]);
    setMaxListeners(0, this.#signal);
  }

  /** The results so far. */
  get soFar(): { completed: readonly CompletedRequest[]; failures: readonly string[] } {
    return { completed: this.#completed, failures: this.#failures };
  }

  /** Resolves also after an abort, with what was measured until then. */
  async run(): Promise<LevelResult> {
    const before = performance.eventLoopUtilization();
    const started = performance.now();
    const { arrivals } = this.#options;
    if (arrivals.kind === "closed") await this.#clients(arrivals.concurrency);
    else await this.#arrive(arrivals.rate, arrivals.maxConcurrency ?? Number.POSITIVE_INFINITY, started);
    if (this.#fault.signal.aborted) throw this.#fault.signal.reason;
    const milliseconds = performance.now() - started;
    const { utilization } = performance.eventLoopUtilization(before);
    return { ...this.soFar, milliseconds, clientBusy: utilization };
  }

  get #isOver(): boolean {
    return this.#begun >= this.#options.requests || this.#signal.aborted;
  }

  async #clients(count: number): Promise<void> {
    const client = async () => {
      while (!this.#isOver) await this.#one();
    };
    await Promise.all(Array.from({ length: Math.min(count, this.#options.requests) }, client));
  }

  async #arrive(rate: number, most: number, started: number): Promise<void> {
    const { requests, random } = this.#options;
    const running = new Set<Promise<void>>();
    let waiting = 0;
    const next = (): void => {
      const run = this.#one().then(() => {
        running.delete(run);
        if (waiting === 0 || this.#signal.aborted) return;
        waiting--;
        next();
      });
      running.add(run);
    };
    for (const arrival of poissonArrivals(rate, requests, random)) {
      await this.#until(started + arrival);
      if (this.#signal.aborted) break;
      if (running.size < most) next();
      else waiting++;
    }
    while (running.size > 0) await Promise.all(running);
  }

  async #until(at: number): Promise<void> {
    const milliseconds = at - performance.now();
    if (milliseconds <= 0 || this.#signal.aborted) return;
    await sleep(milliseconds, undefined, { signal: this.#signal }).catch(() => {});
  }

  /** Never rejects. */
  async #one(): Promise<void> {
    this.#begun++;
    try {
      this.#completed.push(await this.#options.send(this.#signal));
    } catch (error) {
      if (error instanceof RequestFailure) this.#failures.push(error.message);
      else if (!this.#signal.aborted) this.#fault.abort(error);
      if (this.#signal.aborted) return;
    }
    this.#options.onEnd();
  }
}
