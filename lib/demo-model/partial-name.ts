import { randomUUID } from "node:crypto";
import { hostname } from "node:os";

/**
 * Files that are being written have a name that tells by whom: by a process of a machine, or of a container, which is a
 * machine of its own here. `FILE.HOST.PID.UUID.partial`
 */

const abandonedAfter = 3_600_000; // milliseconds, where nobody can be asked; writing takes well under a second

const host = () => hostname().replace(/[^A-Za-z0-9-]/g, "-");

export function partialName(name: string): string {
  return `${name}.${host()}.${process.pid}.${randomUUID()}.partial`;
}

/** Whether nobody writes this file any more: its process has ended, or, where that cannot be known, it is an hour old. */
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
