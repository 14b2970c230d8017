import { symlink } from "node:fs/promises";
import { freeBytes } from "./disk-space.js";
import type { WriteBytes } from "./partial.js";
import type { TransferLimits } from "./transfer.js";

/** What differs between a user's call and a test of it. */
export interface Machine {
  env: NodeJS.ProcessEnv;
  freeBytes: (folder: string) => Promise<number>;
  symlink: (target: string, link: string) => Promise<void>;
  /** Writes bytes of a partial file, as `FileHandle.writev` does. */
  write: WriteBytes;
  limits: TransferLimits & {
    stallMilliseconds: number;
    /** Files up to this size come several at a time, larger ones one after the other in ranges. */
    smallBytes: number;
  };
}

export const thisMachine = (): Machine => ({
  env: process.env,
  freeBytes,
  symlink,
  write: (file, parts, position) => file.writev(parts, position),
  limits: {
    connections: 8,
    rangeBytes: 32 * 1024 * 1024,
    tries: 6,
    firstPauseMilliseconds: 1000,
    stallMilliseconds: 30_000,
    smallBytes: 8 * 1024 * 1024,
  },
});
