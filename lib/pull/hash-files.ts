import { createReadStream } from "node:fs";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { abortReason, onAbort, throwIfAborted } from "../common/abort.js";
import { packageManifest } from "../package-root.js";
import { type Algorithm, newHash } from "./file-hash.js";

export interface HashTask {
  file: string;
  size: number;
  algorithm: Algorithm;
}

export type HashReport =
  | { bytes: number }
  | { hash: string }
  | { failed: { code: string | undefined; message: string } };

/** Smaller files are hashed faster than a thread starts. */
const threadBytes = 16 * 1024 * 1024;
/** More readers than this make a disk slower. */
const mostThreads = 4;

export interface HashOptions {
  signal: AbortSignal | undefined;
  onBytes: (task: HashTask, bytes: number) => void;
}

/**
 * Hashes files, several at the same time.
 *
 * @param onHash gets each hash, or the error of reading the file
 */
export async function hashFiles<Task extends HashTask>(
  tasks: readonly Task[],
  { signal, onBytes }: HashOptions,
  onHash: (task: Task, outcome: { hash: string } | { error: NodeJS.ErrnoException }) => void,
): Promise<void> {
  // The largest first, so that no thread is left alone with one at the end.
  const queue = [...tasks].sort((a, b) => b.size - a.size);
  const work = async () => {
    for (let task = queue.shift(); task !== undefined; task = queue.shift()) {
      throwIfAborted(signal);
      const one = task;
      const count = (bytes: number) => onBytes(one, bytes);
      const hashing = one.size < threadBytes ? hashHere(one, count) : hashOnThread(one, count, signal);
      const outcome = await hashing.then(
        (hash) => ({ hash }),
        (error: NodeJS.ErrnoException) => ({ error }),
      );
      throwIfAborted(signal);
      onHash(one, outcome);
    }
  };
  const workers = Math.min(mostThreads, availableParallelism());
  const done = await Promise.allSettled(Array.from({ length: workers }, work));
  for (const result of done) if (result.status === "rejected") throw result.reason;
}

async function hashHere({ file, size, algorithm }: HashTask, onBytes: (bytes: number) => void): Promise<string> {
  const hash = newHash(algorithm, size);
  for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    onBytes(chunk.length);
  }
  return hash.digest("hex");
}

function hashOnThread(task: HashTask, onBytes: (bytes: number) => void, signal?: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const { file, size, algorithm } = task;
    packageManifest(); // throws in a bundle
    const thread = new URL("../../dist/pull/hash-thread.js", import.meta.url);
    const worker = new Worker(thread, { workerData: { file, size, algorithm }, execArgv: [] });
    const forget = onAbort(signal, (reason) => settle(() => reject(reason)));
    function settle(how: () => void): void {
      forget();
      void worker.terminate();
      how();
    }
    worker.on("message", (report: HashReport) => {
      if ("bytes" in report) onBytes(report.bytes);
      else if ("hash" in report) settle(() => resolve(report.hash));
      else settle(() => reject(Object.assign(new Error(report.failed.message), { code: report.failed.code })));
    });
    worker.on("error", (error) => settle(() => reject(error)));
    worker.on("exit", () => settle(() => reject(new Error("the thread for hashes ended early"))));
    if (signal?.aborted) settle(() => reject(abortReason(signal)));
  });
}
