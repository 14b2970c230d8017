import { TokenLog } from "../generation/token-log.js";
import { tokenBytes } from "../tokenizer/token-table.js";
import type { SpelledToken } from "./visible-text.js";

/**
 * The tokens of a text in little memory, for an answer that is told when all of it is there: what an endpoint makes of one
 * with its likeliest twenty takes kilobytes.
 */
export class SpelledTokens implements Iterable<SpelledToken> {
  readonly #log: TokenLog;
  /** Bytes of those that are not all text, by place. */
  readonly #cut = new Map<number, Uint8Array>();

  constructor(topLogprobs: number) {
    this.#log = new TokenLog(topLogprobs);
  }

  get length(): number {
    return this.#log.length;
  }

  /** That it takes, about. */
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

/** What is made of each item when it is asked for, and made again the next time; in JSON, a list. */
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
