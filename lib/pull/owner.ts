import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";

/**
 * The process that works on a download, as a text for file names: host, process id, and when the process started. The
 * start tells a dead owner from a new process with its id.
 */

const host = createHash("sha256").update(hostname()).digest("hex").slice(0, 8);

export const thisProcess = `${host}-${process.pid}-${startOf(process.pid)}`;

export interface Owner {
  processId: number;
  /** Whether the owner runs; null: on another host, so nobody here knows. */
  isAlive: boolean | null;
}

/** Null for a text that names no owner. */
export function ownerOf(text: string): Owner | null {
  const match = /^([0-9a-f]{8})-(\d+)-(\d+)$/.exec(text);
  if (match === null) return null;
  const processId = Number(match[2]);
  return { processId, isAlive: match[1] === host ? isRunning(processId, match[3]!) : null };
}

function isRunning(processId: number, start: string): boolean {
  try {
    process.kill(processId, 0); // sends nothing
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  return startOf(processId) === start;
}

/** Clock ticks from the start of the machine to that of the process; 0 where the system does not tell. */
function startOf(processId: number): string {
  if (process.platform !== "linux") return "0";
  try {
    const stat = readFileSync(`/proc/${processId}/stat`, "utf8");
    // The second field is the program's name, which can have spaces and brackets.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "0";
  } catch {
    return "0";
  }
}
