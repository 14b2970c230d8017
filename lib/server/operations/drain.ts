import { notReady } from "../http/errors.js";

/**
 * Time for aborted requests to answer their clients. The server does not wait longer for a client that does not read.
 */
const graceMilliseconds = 2000;

/** The running requests, and the shutdown that waits for them. */
export class Drain {
  readonly #milliseconds: number;
  readonly #running = new Set<{ aborts: ((reason: unknown) => void)[] }>();
  #draining: Promise<void> | undefined;
  #expired: Error | undefined;
  #idle: (() => void) | undefined;
  readonly #atStart: (() => void)[] = [];

  constructor(milliseconds: number) {
    this.#milliseconds = milliseconds;
  }

  get isDraining(): boolean {
    return this.#draining !== undefined;
  }

  /** Number of running requests. */
  get running(): number {
    return this.#running.size;
  }

  /** @throws ApiError 503 once draining has begun. */
  refuseNew(): void {
    if (this.isDraining) throw notReady("The server is shutting down", 5);
  }

  /** Registers a callback for the start of draining. */
  onStart(callback: () => void): void {
    this.#atStart.push(callback);
  }

  /** Registers a request that has begun. */
  begin(): RunningRequest {
    const entry: { aborts: ((reason: unknown) => void)[] } = { aborts: [] };
    this.#running.add(entry);
    return {
      onAbort: (abort) => {
        if (this.#expired) abort(this.#expired);
        else entry.aborts.push(abort);
      },
      end: () => {
        this.#running.delete(entry);
        if (this.#running.size === 0) this.#idle?.();
      },
    };
  }

  /**
   * Refuses new requests from now on. Resolves when the last request has ended, at the latest after the draining time.
   */
  start(): Promise<void> {
    if (this.#draining === undefined) {
      this.#draining = this.#finish();
      for (const begun of this.#atStart) begun();
    }
    return this.#draining;
  }

  async #finish(): Promise<void> {
    if (this.#running.size === 0) return;
    const idle = new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
    let cut: NodeJS.Timeout | undefined;
    const expire = setTimeout(() => {
      this.#abortAll();
      cut = setTimeout(() => this.#idle?.(), graceMilliseconds);
    }, this.#milliseconds);
    await idle;
    clearTimeout(expire);
    clearTimeout(cut);
  }

  #abortAll(): void {
    this.#expired = notReady("The server was shut down before this request had ended", 5);
    for (const { aborts } of this.#running) for (const abort of aborts) abort(this.#expired);
  }
}

export interface RunningRequest {
  /** Registers a callback for the end of the draining time. */
  onAbort(abort: (reason: unknown) => void): void;
  end(): void;
}
