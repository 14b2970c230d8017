import { readStart } from "./disk.js";

const startBytes = 512;
const stringType = 8;

/**
 * The value of `general.architecture` in a GGUF file. By the format's specification it should be the first entry; null
 * where it is not, or where this is no GGUF file.
 */
export async function ggufArchitecture(file: string): Promise<string | null> {
  const start = await readStart(file, startBytes);
  if (start.length < 24 || start.toString("latin1", 0, 4) !== "GGUF") return null;
  const key = stringAt(start, 24); // after magic, version, and the counts of tensors and entries
  if (key?.text !== "general.architecture" || key.end + 4 > start.length) return null;
  return start.readUInt32LE(key.end) === stringType ? (stringAt(start, key.end + 4)?.text ?? null) : null;
}

/** A length in eight bytes, then the text. */
function stringAt(bytes: Buffer, at: number): { text: string; end: number } | null {
  if (at + 8 > bytes.length) return null;
  const length = Number(bytes.readBigUInt64LE(at));
  const end = at + 8 + length;
  return end > bytes.length ? null : { text: bytes.toString("utf8", at + 8, end), end };
}
