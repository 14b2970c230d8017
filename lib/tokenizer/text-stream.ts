import { invalidArgument } from "../errors.js";
import { lastSpecialToken } from "./special-tokens.js";

/** Token ids in, text out, one at a time: never half a character, and U+FFFD for bytes that are no UTF-8. */
export class TextStream {
  readonly #decodeBytes: (ids: Uint32Array) => Uint8Array;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** False when the decoder certainly holds no bytes. */
  #mayHoldBytes = false;

  /** Made by `tokenizer.stream()`. */
  constructor(decodeBytes: (ids: Uint32Array) => Uint8Array) {
    this.#decodeBytes = decodeBytes;
  }

  /** The text that this token completes: empty while a character is incomplete. */
  push(id: number): string {
    if (!Number.isInteger(id) || id < 0 || id > lastSpecialToken) {
      throw invalidArgument("id", `an integer in [0, ${lastSpecialToken}]`, id);
    }
    const whole = this.#wholeText(id);
    if (whole !== null && !this.#mayHoldBytes) return whole;
    this.#mayHoldBytes = whole === null;
    return this.#decoder.decode(this.#decodeBytes(Uint32Array.of(id)), { stream: true });
  }

  /** U+FFFD when the last character is still incomplete, otherwise nothing. The stream may then be used anew. */
  end(): string {
    this.#mayHoldBytes = false;
    return this.#decoder.decode();
  }

  /** The text of a token whose bytes are whole characters, as nearly all are; null for the others. */
  #wholeText(id: number): string | null {
    const known = wholeTexts[id];
    if (known !== undefined) return known;
    let text: string | null = null;
    try {
      text = strictDecoder.decode(this.#decodeBytes(Uint32Array.of(id)));
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // a TypeError says: no UTF-8
    }
    wholeTexts[id] = text;
    return text;
  }
}

const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** By id, filled as tokens occur: a stream then costs a look-up per token. */
const wholeTexts: (string | null | undefined)[] = new Array(lastSpecialToken + 1);
