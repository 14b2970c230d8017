import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { abortReason, onAbort, throwIfAborted } from "../../common/abort.js";
import { toJsonNumbers } from "../../common/exact-json.js";
import { GptOssError } from "../../errors.js";
import { ApiError } from "../http/errors.js";
import type { BodyLimits, CheckedBody } from "./body-check.js";

/** A task for the thread, and the thread's reports. */
export interface BodyTask {
  /** The name of the `BodyCheck`. */
  check: string;
  /** The bytes of the body, in order. */
  chunks: Uint8Array<ArrayBuffer>[];
  limits: BodyLimits;
}

export type BodyReport =
  /** `exact`: some numbers are bigints, to keep all their digits. */
  | { read: CheckedBody; exact: boolean }
  | { refused: Pick<ApiError, "status" | "message" | "code" | "param"> }
  /** A fault of the server, as text. */
  | { failed: string };

/**
 * From this size on, another thread reads a body. Parsing and checking one of this size takes the event loop some 2 ms,
 * 20 ms at worst. The thread adds about one millisecond.
 */
export const largeBytes = 256 * 1024;

/**
 * The thread ends after this idle time, because its heap stays as large as its largest body made it. After a body of
 * many megabytes, the thread ends at once when no other body waits.
 */
const idleMilliseconds = 2000;
const heavyBytes = 4 * 2 ** 20;

/** Maximum bytes that wait for the thread: per client (429 beyond), and of all clients (503 beyond). */
const mostWaiting = { client: 128 * 2 ** 20, all: 512 * 2 ** 20 };

/** The built file, also when a test runs the sources. */
const thread = new URL("../../../dist/server/bodies/thread.js", import.meta.url);

interface Job {
  task: BodyTask;
  client: string;
  bytes: number;
  resolve: (read: CheckedBody) => void;
  reject: (reason: unknown) => void;
}

/** Reads large bodies one after the other on one thread. Clients take turns, whatever number of bodies each sends. */
export class LargeBodies {
  /** The waiting jobs of each client. The first client has the next turn. */
  readonly #waiting = new Map<string, Job[]>();
  #running: Job | null = null;
  #worker: Worker | null = null;
  /** Whether the thread has read a body of many megabytes. */
  #isHeavy = false;
  #idle: NodeJS.Timeout | undefined;
  #closed = false;
  readonly #maxHeapMegabytes: number;
  readonly #mostWaiting: typeof mostWaiting;

  /**
   * @param options `maxHeapMegabytes`: heap limit of the thread. A body of 32 MiB takes less than half of the default,
   *   whatever its content. `waiting`: maximum bytes that wait for the thread
   */
  constructor({
    maxHeapMegabytes = 512,
    waiting = mostWaiting,
  }: { maxHeapMegabytes?: number; waiting?: typeof mostWaiting } = {}) {
    this.#maxHeapMegabytes = maxHeapMegabytes;
    this.#mostWaiting = waiting;
  }

  /** The thread takes over the memory of `task.chunks`. @throws ApiError; the reason of an abort, at once */
  async read(task: BodyTask, { client, signal }: { client: string; signal: AbortSignal }): Promise<CheckedBody> {
    throwIfAborted(signal);
    if (this.#closed) throw closed();
    const bytes = task.chunks.reduce((sum, { length }) => sum + length, 0);
    this.#refuseFlood(client, bytes);
    let ignore = () => {};
    try {
      const read = await new Promise<CheckedBody>((resolve, reject) => {
        const job: Job = { task, client, bytes, resolve, reject };
        ignore = onAbort(signal, () => {
          this.#withdraw(job);
          reject(abortReason(signal));
        });
        const jobs = this.#waiting.get(client);
        if (jobs === undefined) this.#waiting.set(client, [job]);
        else jobs.push(job);
        this.#next();
      });
      await setImmediate(); // receiving the copy already took a long turn of the event loop
      throwIfAborted(signal);
      return read;
    } finally {
      ignore();
    }
  }

  close(): void {
    this.#closed = true;
    this.#end(closed());
  }

  /** Limits the waiting bodies, because they stay in memory. */
  #refuseFlood(client: string, bytes: number): void {
    const bytesOf = (jobs: readonly Job[]) => jobs.reduce((sum, job) => sum + job.bytes, bytes);
    const more = { code: "queue_full", retryAfter: 1 };
    if (bytesOf(this.#waiting.get(client) ?? []) > this.#mostWaiting.client) {
      throw new ApiError(429, "Too many large bodies of this client wait to be read", more);
    }
    if (bytesOf([...this.#waiting.values()].flat()) > this.#mostWaiting.all) {
      throw new ApiError(503, "Too many large bodies wait to be read", more);
    }
  }

  #withdraw(job: Job): void {
    const jobs = this.#waiting.get(job.client);
    const at = jobs?.indexOf(job) ?? -1;
    if (at < 0) return; // it runs already: its report is ignored
    jobs!.splice(at, 1);
    if (jobs!.length === 0) this.#waiting.delete(job.client);
  }

  #next(): void {
    if (this.#running !== null) return;
    const [turn] = this.#waiting;
    if (turn === undefined) {
      this.#idle = setTimeout(() => this.#stop(), this.#isHeavy ? 0 : idleMilliseconds).unref();
      return;
    }
    const [client, [job, ...rest]] = turn as [string, [Job, ...Job[]]];
    this.#waiting.delete(client);
    if (rest.length > 0) this.#waiting.set(client, rest);
    clearTimeout(this.#idle);
    this.#running = job;
    this.#isHeavy ||= job.bytes >= heavyBytes;
    try {
      this.#worker ??= this.#start();
      this.#worker.postMessage(
        job.task,
        job.task.chunks.map(({ buffer }) => buffer),
      );
    } catch (error) {
      this.#settle({ failed: String(error) });
    }
  }

  #start(): Worker {
    const worker = new Worker(thread, {
      name: "gpt-oss large bodies",
      resourceLimits: { maxOldGenerationSizeMb: this.#maxHeapMegabytes },
    });
    worker.unref();
    worker.on("message", (report: BodyReport) => {
      if (worker === this.#worker) this.#settle(report);
    });
    worker.on("error", (error: NodeJS.ErrnoException) => {
      if (worker !== this.#worker) return;
      this.#worker = null;
      const message = "Reading the body takes more memory than this server allows";
      const isLarge = error.code === "ERR_WORKER_OUT_OF_MEMORY";
      this.#settle(
        isLarge
          ? { refused: { status: 413, message, code: "request_too_large", param: null } }
          : { failed: String(error.stack) },
      );
    });
    return worker;
  }

  #settle(report: BodyReport): void {
    const job = this.#running;
    this.#running = null;
    if (job !== null) {
      if ("read" in report) {
        if (report.exact) toJsonNumbers(report.read.fields);
        job.resolve(report.read);
      } else if ("refused" in report) {
        const { status, message, ...more } = report.refused;
        job.reject(new ApiError(status, message, more));
      } else job.reject(new GptOssError("INTERNAL", `A body could not be read: ${report.failed}`));
    }
    if (!this.#closed) this.#next();
  }

  /** Ends the thread, and rejects every waiting job. */
  #end(reason: unknown): void {
    const jobs = [...this.#waiting.values()].flat();
    if (this.#running !== null) jobs.push(this.#running);
    this.#waiting.clear();
    this.#running = null;
    for (const job of jobs) job.reject(reason);
    this.#stop();
  }

  #stop(): void {
    clearTimeout(this.#idle);
    const worker = this.#worker;
    this.#worker = null;
    this.#isHeavy = false;
    void worker?.terminate();
  }
}

function closed(): GptOssError {
  return new GptOssError("CLOSED", "The server was closed");
}
