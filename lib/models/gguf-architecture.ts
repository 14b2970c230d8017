import { readStart } from "./disk.js";

/** The beginning of a GGUF file that is enough for its architecture. */
export const ggufStartBytes = 4096;

/** The architecture of a GGUF file on this machine, as `architectureIn`. */
export async function ggufArchitecture(file: string): Promise<string | null> {
  return architectureIn(await readStart(file, ggufStartBytes));
}

const key = "general.architecture";
const stringType = 8;
/** The bytes of a value by its type: u8, i8, u16, i16, u32, i32, f32, bool, string, array, u64, i64, f64. */
const valueBytes = [1, 1, 2, 2, 4, 4, 4, 1, null, null, 8, 8, 8];

/**
 * The value of `general.architecture` in the first bytes of a GGUF file. By the format's specification it should be the
 * first entry; plain values can be before it. Null where it is not found, or where this is no GGUF file.
 */
export function architectureIn(start: Buffer): string | null {
  if (start.length < 24 || start.toString("latin1", 0, 4) !== "GGUF") return null;
  for (let at = 24; ; ) {
    const name = stringAt(start, at); // the first one is after magic, version, and the counts of tensors and entries
    if (name === null || name.end + 4 > start.length) return null;
    const type = start.readUInt32LE(name.end);
    const text = type === stringType ? stringAt(start, name.end + 4) : null;
    if (name.text === key) return text?.text ?? null;
    const bytes = valueBytes[type] ?? null;
    if (text === null && bytes === null) return null;
    at = text?.end ?? name.end + 4 + bytes!;
  }
}

/** A length in eight bytes, then the text. */
function stringAt(bytes: Buffer, at: number): { text: string; end: number } | null {
  if (at + 8 > bytes.length) return null;
  const length = Number(bytes.readBigUInt64LE(at));
  const end = at + 8 + length;
  return end > bytes.length ? null : { text: bytes.toString("utf8", at + 8, end), end };
}
