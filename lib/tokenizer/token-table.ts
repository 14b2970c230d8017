import { Buffer, isUtf8 } from "node:buffer";
import { addon } from "../binding.js";
import { invalidArgument, nativeCall } from "../errors.js";
import { lastSpecialToken } from "./special-tokens.js";

/**
 * What every token stands for, by id, without a call into the addon: for those who look at tokens one at a time, such as
 * a stream or the harmony parser. The table is copied from the addon when it is first asked for (2 MB, once per thread); a
 * text is made when its token first occurs. After that `tokenText` is one array access.
 */

interface Table {
  /** The bytes of all tokens, one after the other. */
  bytes: Buffer;
  /** Where each token ends in `bytes`. */
  ends: Uint32Array;
  /** `null`: not whole characters. `undefined`: not asked for yet. */
  texts: (string | null | undefined)[];
}

let table: Table | undefined;

function load(): Table {
  const { bytes, ends } = nativeCall(() => addon().tokenizerTable());
  const { buffer, byteOffset, byteLength } = bytes;
  return { bytes: Buffer.from(buffer, byteOffset, byteLength), ends, texts: new Array(ends.length) };
}

/**
 * The text of a token whose bytes are whole characters, as nearly all are (special tokens too); `null` for one that
 * begins, continues or ends a character in another token, or is no UTF-8 at all: its bytes are `tokenBytes(id)`.
 * Where no bytes wait for their other half, a text that is not null can be appended as it is.
 * @throws GptOssError INVALID_ARGUMENT when the id is no integer in [0, 201088]
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
 * The bytes of a token: a view of the table, which its reader must not write to.
 * @throws GptOssError INVALID_ARGUMENT when the id is no integer in [0, 201088]
 */
export function tokenBytes(id: number): Buffer {
  table ??= load();
  const end = table.ends[id];
  if (end === undefined || typeof id !== "number")
    throw invalidArgument("id", `an integer in [0, ${lastSpecialToken}]`, id);
  return table.bytes.subarray(id === 0 ? 0 : table.ends[id - 1], end);
}
