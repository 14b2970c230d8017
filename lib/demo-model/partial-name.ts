import { randomUUID } from "node:crypto";
import { hostname } from "node:os";

/**
 * The name of an unfinished file identifies its writer: the host and the process. A container counts as a host.
 * `FILE.HOST.PID.UUID.partial`
 */

const abandonedAfter = 3_600_000; // milliseconds, where no check is possible; writing takes well under a second

const host = () => hostname().replace(/[^A-Za-z0-9-]/g, "-");

export function partialName(name: string): string {
  return `${name}.${host()}.${process.pid}.${randomUUID()}.partial`;
}

/**
 * Whether the writer of this file is gone: its process has ended, or the file is an hour old where that is not known.
 */
export function isAbandoned(name: string, ageMilliseconds: number): boolean {
  if (!name.endsWith(".partial")) return false;
  if (ageMilliseconds > abandonedAfter) return true;
  const [, machine, pid] = /\.([A-Za-z0-9-]+)\.(\d+)\.[0-9a-f-]{36}\.partial$/.exec(name) ?? [];
  return machine === host() && !isAlive(Number(pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
