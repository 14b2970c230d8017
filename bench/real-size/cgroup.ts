import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";

/**
 * A memory cgroup with a limit: the machine of this size that a process finds itself on. Page cache counts. Only root on
 * Linux can make one, with version 1 or 2 of the cgroups.
 */
export class MemoryLimit implements Disposable {
  readonly #folder: string;

  private constructor(folder: string, file: string, bytes: number) {
    this.#folder = folder;
    writeFileSync(path.join(folder, file), String(bytes));
  }

  /** Null: this system does not allow it. */
  static of(bytes: number): MemoryLimit | null {
    const name = `gpt-oss-real-size-${process.pid}`;
    const versions = [
      ["/sys/fs/cgroup/memory", "memory.limit_in_bytes"],
      ["/sys/fs/cgroup", "memory.max"],
    ] as const;
    for (const [root, file] of versions) {
      const folder = path.join(root, name);
      try {
        if (!existsSync(root)) continue;
        mkdirSync(folder);
        if (existsSync(path.join(folder, file))) return new MemoryLimit(folder, file, bytes);
        rmdirSync(folder);
      } catch {} // the next one, or none
    }
    return null;
  }

  /** Moves a process into it. Its later pages count. */
  add(pid: number): void {
    writeFileSync(path.join(this.#folder, "cgroup.procs"), String(pid));
  }

  /** The number of times that the kernel had to end a process. */
  kills(): number {
    for (const file of ["memory.oom_control", "memory.events"]) {
      const at = path.join(this.#folder, file);
      if (existsSync(at)) return Number(/^oom_kill (\d+)/m.exec(readFileSync(at, "utf8"))?.[1] ?? 0);
    }
    return 0;
  }

  [Symbol.dispose](): void {
    try {
      rmdirSync(this.#folder);
    } catch {} // a process is still leaving it
  }
}
