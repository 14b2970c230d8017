import { readFileSync } from "node:fs";

/**
 * Milliseconds of processor time of this process's first thread, without those of the engine. Linux counts nanoseconds
 * per thread. Elsewhere this is the busy time of the event loop, other programs included.
 */
export function threadMilliseconds(): number {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ")[0]) / 1e6;
  } catch {
    return performance.eventLoopUtilization().active;
  }
}
