import { mkdir, stat } from "node:fs/promises";
import path from "node:path";

/**
 * Makes a folder and its parent folders, each at most once. Node's `mkdir({ recursive: true })` loops forever where the
 * parent exists but the folder cannot be made, as under /proc.
 *
 * @returns the folders that were not there, the outermost first
 * @throws the error of the system when one of them cannot be made.
 */
export async function makeFolder(folder: string, mode = 0o777): Promise<string[]> {
  if (await isFolder(folder)) return [];
  const around = path.dirname(folder);
  const made = around === folder ? [] : await makeFolder(around, mode);
  try {
    await mkdir(folder, { mode });
    return [...made, folder];
  } catch (error) {
    if (await isFolder(folder)) return made; // another process has made it
    throw error;
  }
}

async function isFolder(folder: string): Promise<boolean> {
  return stat(folder).then(
    (info) => info.isDirectory(),
    () => false,
  );
}
