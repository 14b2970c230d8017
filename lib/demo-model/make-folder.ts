import { mkdir, stat } from "node:fs/promises";
import path from "node:path";

/**
 * Makes a folder and those around it, each at most once. `mkdir({ recursive: true })` of Node tries again and again where a
 * folder cannot be made although the one around it is there, as under /proc, and never comes back.
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
    if (!(await isFolder(folder))) throw error; // another process was faster
  }
}

async function isFolder(folder: string): Promise<boolean> {
  return stat(folder).then(
    (info) => info.isDirectory(),
    () => false,
  );
}
