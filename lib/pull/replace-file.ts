import { randomBytes } from "node:crypto";
import { rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { makeFolder } from "../common/make-folder.js";

/**
 * Makes an entry of a folder, or replaces it in one step. Several processes can do so at once.
 *
 * @param make makes the entry under another name
 */
export async function replaceEntry(entry: string, make: (temporary: string) => Promise<void>): Promise<void> {
  await makeFolder(path.dirname(entry));
  const temporary = `${entry}.${randomBytes(6).toString("hex")}.new`;
  try {
    await make(temporary);
    await rename(temporary, entry);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

export function replaceFile(file: string, text: string): Promise<void> {
  return replaceEntry(file, (temporary) => writeFile(temporary, text));
}
