import { mkdir, stat } from "node:fs/promises";
import path from "node:path";

/**
 * Makes a folder and its parent folders, each at most once. Node's `mkdir({ recursive: true })` loops forever where the
 * parent exists but the folder cannot be made, as under /proc.
 *
 * @throws the error of the system when one of them cannot be made.
 */
export async function makeFolder(folder: string, mode = 0o777): Promise<void> {
  if (await isFolder(folder)) return;
  const around = path.dirname(folder);
  if (around !== folder) await makeFolder(around, mode);
  try {
    await mkdir(folder, { mode });
  } catch (error) {
    if (!(await isFolder(folder))) throw error; // another process has made it
  }
}

async function isFolder(folder: string): Promise<boolean> {
  return stat(folder).then(
    (info) => info.isDirectory(),
    () => false,
  );
}
