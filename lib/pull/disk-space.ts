import { statfs } from "node:fs/promises";
import path from "node:path";
import { GptOssError } from "../errors.js";

/** The bytes that this user can still write to the disk of a folder. The folder need not be there yet. */
export async function freeBytes(folder: string): Promise<number> {
  const around = path.dirname(folder);
  try {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  } catch (error) {
    if (around === folder || !isAbsent(error)) throw error;
    return freeBytes(around);
  }
}

function isAbsent(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** @throws GptOssError RESOURCE_LIMIT before a download that does not fit */
export function refuseTooLarge(needed: number, free: number, folder: string): void {
  if (needed <= free) return;
  const message = `The download needs ${gigabytes(needed)} and the disk of ${folder} has ${gigabytes(free)} free; free some, or choose a folder on another disk`;
  throw new GptOssError("RESOURCE_LIMIT", message);
}

function gigabytes(bytes: number): string {
  return bytes < 1e9 ? `${Math.ceil(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
