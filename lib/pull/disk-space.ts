import { lstat, readdir, statfs } from "node:fs/promises";
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

/** The bytes that the files in a folder take on the disk; 0 where there is none. Links are not followed. */
export async function bytesOnDisk(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const sizes = entries.map(async (entry) => {
    if (!entry.isFile()) return 0;
    const file = await lstat(path.join(entry.parentPath, entry.name)).catch(() => null); // another process removed it
    return file === null ? 0 : Math.min(file.size, (file.blocks ?? Number.POSITIVE_INFINITY) * 512);
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** @throws GptOssError RESOURCE_LIMIT before a download that does not fit */
export function refuseTooLarge(needed: number, free: number, folder: string): void {
  if (needed <= free) return;
  const message = `The download needs ${gigabytes(needed)} and the disk of ${folder} has ${gigabytes(free)} free; free some, or choose a folder on another disk with HF_HUB_CACHE or dir (--dir)`;
  throw new GptOssError("RESOURCE_LIMIT", message);
}

function gigabytes(bytes: number): string {
  return bytes < 1e9 ? `${Math.ceil(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
