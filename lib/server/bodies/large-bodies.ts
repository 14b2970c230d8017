import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { abortReason, onAbort, throwIfAborted } from "../../common/abort.js";
import { toJsonNumbers } from "../../common/exact-json.js";
import { GptOssError } from "../../errors.js";
import { ApiError } from "../http/errors.js";
import type { BodyLimits, CheckedBody } from "./body-check.js";

/** What the thread is asked, and answers. */
export interface BodyTask {
  /** The name of its `BodyCheck`. */
  check: string;
  /** The bytes of the body, one behind the other. */
  chunks: Uint8Array<ArrayBuffer>[];
  limits: BodyLimits;
}

export type BodyReport =
  /** `exact`: bigints stand where numbers with all their digits do. */
  | { read: CheckedBody; exact: boolean }
  | { refused: Pick<ApiError, "status" | "message" | "code" | "param"> }
  /** A fault of ours, as text. */
  | { failed: string };

/**
 * From here on a body is read on another thread. To parse and check one of this size takes the event loop some 2 ms, 20 ms
 * at the worst; the thread adds about one millisecond.
 */
export const largeBytes = 256 * 1024;

/**
 * Nothing to read for so long, and the thread ends: its heap stays as large as its largest body made it. One that was so
 * large that the heap counts is the last where no other waits.
 */
const idleMilliseconds = 2000;
const heavyBytes = 4 * 2 ** 20;

/** Bytes that may wait for the thread: of one client, which is refused with 429 beyond, and of all, 503. */
const mostWaiting = { client: 128 * 2 ** 20, all: 512 * 2 ** 20 };

/** As it is built, also for a test that runs the sources. */
const thread = new URL("../../../dist/server/bodies/thread.js", import.meta.url);

interface Job {
  task: BodyTask;
  client: string;
  bytes: number;
  resolve: (read: CheckedBody) => void;
  reject: (reason: unknown) => void;
}

/** Reads large bodies one after the other on one thread; clients take turns, however many bodies one of them sends. */
export class LargeBodies {
  /** Of each client that waits, the one whose turn is next first. */
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
   * @param options `maxHeapMegabytes` of the thread: a body of 32 MiB takes less than half of the default, whatever is in
   *   it; `waiting`: bytes that may wait for it
   */
  constructor({
    maxHeapMegabytes = 512,
    waiting = mostWaiting,
  }: { maxHeapMegabytes?: number; waiting?: typeof mostWaiting } = {}) {
    this.#maxHeapMegabytes = maxHeapMegabytes;
    this.#mostWaiting = waiting;
  }

  /** The thread takes the memory of `task.chunks`. @throws ApiError; the reason of an abort, at once */
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
      await setImmediate(); // its copy to this thread was a long turn already
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

  /** What waits is kept in memory. */
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
    if (at < 0) return; // it runs: its report is for nobody
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
      const message = "The body takes more memory to read than this server gives to one";
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

  /** Ends the thread, and all that waits for it. */
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
