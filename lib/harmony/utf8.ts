/** Bytes of successive tokens as text, never half a character: the tail waits for the token that completes it. */
export class Utf8Stream {
  private pending: Uint8Array = new Uint8Array(0);

  /**
   * Adds bytes and returns the text that is now certain, or null while there is none. An invalid sequence becomes one
   * U+FFFD and ends the step: what follows it is looked at with the next bytes, or by `flush`.
   */
  push(bytes: Uint8Array): string | null {
    const all = this.pending.length === 0 ? bytes : Buffer.concat([this.pending, bytes]);
    let end = 0;
    let step = 0;
    while (end < all.length) {
      step = characterLength(all, end);
      if (step <= 0) break;
      end += step;
    }
    const invalid = end < all.length && step < 0 ? -step : 0;
    this.pending = all.slice(end + invalid);
    const text = decode(all.subarray(0, end)) + (invalid > 0 ? "\uFFFD" : "");
    return text === "" ? null : text;
  }

  /** The waiting tail, invalid parts replaced. */
  flush(): string {
    const text = decode(this.pending);
    this.pending = new Uint8Array(0);
    return text;
  }
}

/** Text of whole bytes; invalid parts replaced, a byte order mark kept. */
export function decode(bytes: Uint8Array): string {
  return lossy.decode(bytes);
}

/** Text of whole bytes, or null when they are not UTF-8. */
export function decodeStrict(bytes: Uint8Array): string | null {
  try {
    return strict.decode(bytes);
  } catch {
    return null;
  }
}

const lossy = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** Length of the character at `at`; 0 when it is cut off by the end; minus the length of an invalid sequence. */
function characterLength(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]!;
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return -1;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte excludes overlong forms, surrogates and code points above U+10FFFF.
  let least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  let most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  for (let i = 1; i < length; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) return 0;
    if (byte < least || byte > most) return -i;
    least = 0x80;
    most = 0xbf;
  }
  return length;
}
