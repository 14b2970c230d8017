import { TokenLog } from "../generation/token-log.js";
import { tokenBytes } from "../tokenizer/token-table.js";
import type { SpelledToken } from "./visible-text.js";

/**
 * Stores the tokens of a text in little memory, for an answer that is sent only when it is complete. The JSON of one
 * token with its twenty likeliest alternatives takes kilobytes.
 */
export class SpelledTokens implements Iterable<SpelledToken> {
  readonly #log: TokenLog;
  /** The visible bytes of tokens that are only partly text, by position. */
  readonly #cut = new Map<number, Uint8Array>();

  constructor(topLogprobs: number) {
    this.#log = new TokenLog(topLogprobs);
  }

  get length(): number {
    return this.#log.length;
  }

  /** The approximate memory use in bytes. */
  get bytes(): number {
    return this.#log.bytes;
  }

  push(tokens: readonly SpelledToken[]): void {
    for (const { token, bytes } of tokens) {
      if (bytes.length !== tokenBytes(token.token).length) this.#cut.set(this.#log.length, bytes);
      this.#log.push(token);
    }
  }

  *[Symbol.iterator](): Generator<SpelledToken, void, undefined> {
    for (let at = 0; at < this.#log.length; at++) {
      for (const token of this.#log.slice(at, at + 1)) {
        yield { token, bytes: this.#cut.get(at) ?? tokenBytes(token.token) };
      }
    }
  }
}

/** Converts each item when it is read, and again at each further read. As JSON it is a list. */
export class LazyList<T, R> implements Iterable<R> {
  readonly #items: Iterable<T>;
  readonly #made: (item: T) => R;

  constructor(items: Iterable<T>, made: (item: T) => R) {
    this.#items = items;
    this.#made = made;
  }

  *[Symbol.iterator](): Generator<R, void, undefined> {
    for (const item of this.#items) yield this.#made(item);
  }
}
