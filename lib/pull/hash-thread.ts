// A thread that hashes one large file.
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { newHash } from "./file-hash.js";
import type { HashReport, HashTask } from "./hash-files.js";

const stepBytes = 4 * 1024 * 1024;

function report(message: HashReport): void {
  parentPort!.postMessage(message);
}

try {
  const { file, algorithm } = workerData as HashTask;
  const handle = openSync(file, "r");
  try {
    const own = newHash(algorithm, fstatSync(handle).size);
    const buffer = Buffer.allocUnsafe(stepBytes);
    for (;;) {
      const bytes = readSync(handle, buffer, 0, stepBytes, null);
      if (bytes === 0) break;
      own.update(buffer.subarray(0, bytes));
      report({ bytes });
    }
    report({ hash: own.digest("hex") });
  } finally {
    closeSync(handle);
  }
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  report({ failed: { code, message } });
}
