import { tokenBytes, tokenText } from "./token-table.js";

/** Token ids in, text out, one at a time: never half a character, and U+FFFD for bytes that are no UTF-8. */
export class TextStream {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** False when the decoder certainly holds no bytes. */
  #mayHoldBytes = false;

  /**
   * The text that this token completes: empty while a character is incomplete.
   *
   * @example
   * ```ts
   * process.stdout.write(stream.push(id));
   * ```
   */
  push(id: number): string {
    const whole = tokenText(id);
    if (whole !== null && !this.#mayHoldBytes) return whole;
    this.#mayHoldBytes = whole === null;
    return this.#decoder.decode(tokenBytes(id), { stream: true });
  }

  /**
   * U+FFFD when the last character is still incomplete, otherwise nothing. The stream may then be used anew.
   *
   * @example
   * ```ts
   * process.stdout.write(stream.end());
   * ```
   */
  end(): string {
    this.#mayHoldBytes = false;
    return this.#decoder.decode();
  }
}
