import { Buffer, isUtf8 } from "node:buffer";
import { addon } from "../binding.js";
import { invalidArgument, nativeCall } from "../errors.js";
import { lastSpecialToken } from "./special-tokens.js";

/**
 * The text and bytes of every token by id, without a call into the addon. A stream or the harmony parser reads tokens
 * one at a time. The table is copied from the addon at its first use (2 MB, once per thread). A text is made when its
 * token first occurs. After that `tokenText` is one array access.
 */

interface Table {
  /** The bytes of all tokens, one after the other. */
  bytes: Buffer;
  /** The end position of each token in `bytes`. */
  ends: Uint32Array;
  /** `null`: not whole characters. `undefined`: not decoded yet. */
  texts: (string | null | undefined)[];
}

let table: Table | undefined;

function load(): Table {
  const { bytes, ends } = nativeCall(() => addon().tokenizerTable());
  const { buffer, byteOffset, byteLength } = bytes;
  return { bytes: Buffer.from(buffer, byteOffset, byteLength), ends, texts: new Array(ends.length) };
}

/**
 * Returns the text of a token whose bytes are whole characters, like nearly all tokens (special ones too). Returns
 * `null` for a token that shares a character with another token, or is not UTF-8: its bytes are `tokenBytes(id)`. Where
 * no bytes wait for the rest of a character, a text that is not null can be appended unchanged.
 * @throws GptOssError INVALID_ARGUMENT when the id is not an integer in [0, 201088]
 */
export function tokenText(id: number): string | null {
  table ??= load();
  const known = table.texts[id];
  if (known !== undefined && typeof id === "number") return known;
  const bytes = tokenBytes(id);
  const text = isUtf8(bytes) ? bytes.toString("utf8") : null;
  table.texts[id] = text;
  return text;
}

/**
 * Returns the bytes of a token: a view of the table, which must not be written to.
 * @throws GptOssError INVALID_ARGUMENT when the id is not an integer in [0, 201088]
 */
export function tokenBytes(id: number): Buffer {
  table ??= load();
  const end = table.ends[id];
  if (end === undefined || typeof id !== "number")
    throw invalidArgument("id", `an integer in [0, ${lastSpecialToken}]`, id);
  return table.bytes.subarray(id === 0 ? 0 : table.ends[id - 1], end);
}
