import { statfs } from "node:fs/promises";
import { GptOssError } from "../errors.js";

/** The bytes that this user can still write to the disk of a folder. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
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
