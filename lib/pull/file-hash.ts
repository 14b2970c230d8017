import { createHash, type Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";

/** The two kinds of hashes that the hub has: sha256 of large files, and git's object id of small ones. */
export type Algorithm = "sha256" | "git-sha1";

/** Bytes of a hash's step. It takes the event loop about a millisecond. */
const stepBytes = 1024 * 1024;

export function algorithmOf(hash: string): Algorithm | null {
  if (/^[0-9a-f]{64}$/.test(hash)) return "sha256";
  return /^[0-9a-f]{40}$/.test(hash) ? "git-sha1" : null;
}

/** A hash for a file of this size. Git hashes the size before the bytes. */
export function newHash(algorithm: Algorithm, size: number): Hash {
  return algorithm === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}

/** Hashes a file from its beginning while its later parts are still being written. */
export class PrefixHash {
  readonly #file: FileHandle;
  readonly #hashes: readonly Hash[];
  #at = 0;
  #wanted = 0;
  #running: Promise<void> = Promise.resolve();
  #isRunning = false;
  #failure: unknown;

  constructor(file: FileHandle, hashes: readonly Hash[]) {
    this.#file = file;
    this.#hashes = hashes;
  }

  /** Says that the file is complete up to there. */
  reach(end: number): void {
    this.#wanted = Math.max(this.#wanted, end);
    if (this.#isRunning || this.#at >= this.#wanted) return;
    this.#isRunning = true;
    this.#running = this.#run();
  }

  /** Waits for the bytes reached so far. @throws the error of reading */
  async settled(): Promise<void> {
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Ends the work after the current step. */
  async stop(): Promise<void> {
    this.#wanted = this.#at;
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      const buffer = Buffer.allocUnsafe(stepBytes);
      while (this.#at < this.#wanted) {
        const length = Math.min(stepBytes, this.#wanted - this.#at);
        const { bytesRead } = await this.#file.read(buffer, 0, length, this.#at);
        if (bytesRead === 0) throw new Error("the file ends early: another program changed it");
        for (const hash of this.#hashes) hash.update(buffer.subarray(0, bytesRead));
        this.#at += bytesRead;
      }
    } catch (error) {
      this.#failure = error;
    } finally {
      this.#isRunning = false;
    }
  }
}
