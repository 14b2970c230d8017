import { tokenBytes, tokenText } from "./token-table.js";

/** Decodes token ids one at a time: never half a character, and U+FFFD for bytes that are not UTF-8. */
export class TextStream {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** False when the decoder certainly holds no bytes. */
  #mayHoldBytes = false;

  /**
   * Returns the text that this token completes: empty while a character is incomplete.
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
   * Returns U+FFFD when the last character is still incomplete, otherwise an empty text. The stream can then be reused.
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
