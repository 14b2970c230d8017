import { tokenBytes, tokenText } from "../tokenizer/token-table.js";

/** Decodes the bytes of successive tokens, never half a character: the tail waits for the token that completes it. */
export class Utf8Stream {
  /** `buffer[from, to)` is the waiting tail. */
  private buffer = Buffer.alloc(0);
  private from = 0;
  private to = 0;
  private readonly replaceOnePerStep: boolean;

  /**
   * An invalid sequence becomes one U+FFFD. With `replaceOnePerStep`, as in the reference, it also ends the step: the
   * bytes after it are decoded with the next token, or by `flush`. Otherwise at most three bytes ever wait.
   */
  constructor(options: { replaceOnePerStep: boolean }) {
    this.replaceOnePerStep = options.replaceOnePerStep;
  }

  /**
   * Adds the bytes of a token and returns the text that is now certain, or null while there is none.
   * @throws GptOssError INVALID_ARGUMENT for an unknown token
   */
  push(token: number): string | null {
    if (this.from === this.to) {
      const whole = tokenText(token);
      if (whole !== null) return whole;
    }
    this.append(tokenBytes(token));
    let text = "";
    for (;;) {
      const { end, invalid } = validUntil(this.buffer, this.from, this.to);
      text += this.buffer.toString("utf8", this.from, end);
      this.from = end + invalid;
      if (invalid === 0) break;
      text += "\uFFFD";
      if (this.replaceOnePerStep) break;
    }
    return text === "" ? null : text;
  }

  /** Returns the waiting tail, with invalid parts replaced. */
  flush(): string {
    if (this.from === this.to) return "";
    const text = decode(this.buffer.subarray(this.from, this.to));
    this.from = this.to;
    return text;
  }

  /** Appends after the waiting bytes. The buffer grows by doubling, so that each byte is moved only a few times. */
  private append(bytes: Uint8Array): void {
    const waiting = this.to - this.from;
    if (this.to + bytes.length > this.buffer.length) {
      const needed = waiting + bytes.length;
      const room = needed * 2 > this.buffer.length ? Buffer.allocUnsafe(Math.max(64, needed * 2)) : this.buffer;
      this.buffer.copy(room, 0, this.from, this.to);
      this.buffer = room;
      this.from = 0;
      this.to = waiting;
    }
    this.buffer.set(bytes, this.to);
    this.to += bytes.length;
  }
}

/** Decodes tokens that belong together. Invalid parts are replaced. Every id must be one of the tokenizer's. */
export function textOf(tokens: readonly number[]): string {
  return wholeTextOf(tokens) ?? decode(bytesOf(tokens));
}

/** Does the same, but returns null when the bytes are not UTF-8. */
export function strictTextOf(tokens: readonly number[]): string | null {
  return wholeTextOf(tokens) ?? decodeStrict(bytesOf(tokens));
}

function wholeTextOf(tokens: readonly number[]): string | null {
  let text = "";
  for (const token of tokens) {
    const whole = tokenText(token);
    if (whole === null) return null;
    text += whole;
  }
  return text;
}

function bytesOf(tokens: readonly number[]): Uint8Array {
  return Buffer.concat(tokens.map(tokenBytes));
}

/** Decodes bytes. Invalid parts are replaced, a byte order mark is kept. */
function decode(bytes: Uint8Array): string {
  return lossy.decode(bytes);
}

function decodeStrict(bytes: Uint8Array): string | null {
  try {
    return strict.decode(bytes);
  } catch {
    return null;
  }
}

const lossy = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** Returns the end of the complete characters from `at` on, and the length of an invalid sequence there, if any. */
function validUntil(bytes: Uint8Array, at: number, to: number): { end: number; invalid: number } {
  let end = at;
  while (end < to) {
    const length = characterLength(bytes, end, to);
    if (length <= 0) return { end, invalid: -length };
    end += length;
  }
  return { end, invalid: 0 };
}

/** Length of the character at `at`. 0 when the end cuts it off; minus the length of an invalid sequence. */
function characterLength(bytes: Uint8Array, at: number, to: number): number {
  const lead = bytes[at]!;
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return -1;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte excludes overlong forms, surrogates and code points above U+10FFFF.
  let least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  let most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  for (let i = 1; i < length; i++) {
    if (at + i >= to) return 0;
    const byte = bytes[at + i]!;
    if (byte < least || byte > most) return -i;
    least = 0x80;
    most = 0xbf;
  }
  return length;
}
