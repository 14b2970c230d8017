import path from "node:path";
import { GptOssError } from "../errors.js";
import { readSmall } from "./read-small.js";
import { replaceFile } from "./replace-file.js";

/** The record of a plain folder, in the form of sha256sum: `sha256sum -c SHA256SUMS` checks it without this program. */
export const checksumFile = "SHA256SUMS";

const line = /^([0-9a-f]{64}) [ *](.+)$/i;

/**
 * Returns the sha256 of each file, by its path in the folder; null where there is no record.
 *
 * @throws GptOssError MODEL_FORMAT for a record that cannot be read as one
 */
export async function readChecksums(folder: string): Promise<Map<string, string> | null> {
  const file = path.join(folder, checksumFile);
  const text = await readSmall(file);
  if (text === null) return null;
  const sums = new Map<string, string>();
  for (const [at, row] of text.split(/\r?\n/).entries()) {
    if (row === "") continue;
    const [, hash, name] = line.exec(row) ?? [];
    const isInside = name !== undefined && !path.posix.isAbsolute(name) && !name.split(/[/\\]/).includes("..");
    if (!isInside) {
      const message = `${file}, line ${at + 1}: expected a sha256, two spaces and a file of this folder`;
      throw new GptOssError("MODEL_FORMAT", message);
    }
    sums.set(name.replace(/^\.\//, ""), hash!.toLowerCase());
  }
  return sums;
}

export async function writeChecksums(folder: string, sums: ReadonlyMap<string, string>): Promise<void> {
  const rows = [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, hash]) => `${hash}  ${name}\n`);
  await replaceFile(path.join(folder, checksumFile), rows.join(""));
}
