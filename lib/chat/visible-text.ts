import type { GeneratedToken } from "../generation/results.js";
import { tokenBytes } from "../tokenizer/token-table.js";
import { StopMatcher } from "./stop-matcher.js";

/** A token and what of its bytes stands in the text: all of them but at a border. */
export interface SpelledToken {
  token: GeneratedToken;
  bytes: Uint8Array;
}

export interface VisiblePiece {
  text: string;
  /** Those that end within `text`; joined, their bytes are the text. Empty unless they were asked for. */
  tokens: SpelledToken[];
  /** The stop string that ended the text here. */
  stop: string | null;
}

/** The text that a user sees of one message: up to a stop string, each piece with the tokens that it consists of. */
export class VisibleText {
  readonly #matcher: StopMatcher;
  readonly #includeStop: boolean;
  readonly #hasTokens: boolean;
  /** Not told of yet, as their text is held back. */
  #waiting: { spelled: SpelledToken; end: number }[] = [];
  #spelledBytes = 0;
  #toldBytes = 0;

  constructor(options: { stop: readonly string[]; includeStop: boolean; hasTokens: boolean }) {
    this.#matcher = new StopMatcher(options.stop);
    this.#includeStop = options.includeStop;
    this.#hasTokens = options.hasTokens;
  }

  push(piece: string, tokens: readonly SpelledToken[]): VisiblePiece {
    if (this.#hasTokens) {
      for (const spelled of tokens) {
        this.#spelledBytes += spelled.bytes.length;
        this.#waiting.push({ spelled, end: this.#spelledBytes });
      }
    }
    const { text, stop } = this.#matcher.push(piece);
    const shown = stop !== null && this.#includeStop ? text + stop : text;
    const told = this.#told(shown);
    if (stop !== null) told.push(...this.#cut());
    return { text: shown, tokens: told, stop };
  }

  /** The message is complete: what was held back as the beginning of a stop string is text. */
  end(): VisiblePiece {
    const text = this.#matcher.flush();
    return { text, tokens: this.#told(text), stop: null };
  }

  #told(text: string): SpelledToken[] {
    if (!this.#hasTokens || text === "") return [];
    this.#toldBytes += Buffer.byteLength(text);
    const hidden = this.#waiting.findIndex(({ end }) => end > this.#toldBytes);
    const told = this.#waiting.splice(0, hidden < 0 ? this.#waiting.length : hidden);
    return told.map(({ spelled }) => spelled);
  }

  /** A token of which the stop string leaves the beginning: its bytes are what one sees of it. */
  #cut(): SpelledToken[] {
    const [next] = this.#waiting.splice(0);
    if (next === undefined) return [];
    const { token, bytes } = next.spelled;
    const visible = this.#toldBytes - (next.end - bytes.length);
    return visible > 0 ? [{ token, bytes: bytes.subarray(0, visible) }] : [];
  }
}

/**
 * The tokens that a text ends with, `tokens` being all that were read since the text before. They are more than that
 * when a header turns out to be text, for it begins with words that are not; and the last of them may end within a
 * character that comes with the next text.
 */
export function spelling(text: string, tokens: readonly GeneratedToken[]): SpelledToken[] {
  const spelled = tokens.map((token) => ({ token, bytes: tokenBytes(token.token) as Uint8Array }));
  let before = spelled.reduce((sum, { bytes }) => sum + bytes.length, 0) - Buffer.byteLength(text);
  if (before > 0) before -= incompleteBytes(spelled);
  return spelled.flatMap(({ token, bytes }) => {
    const hidden = Math.min(Math.max(before, 0), bytes.length);
    before -= bytes.length;
    return hidden === bytes.length ? [] : [{ token, bytes: bytes.subarray(hidden) }];
  });
}

/** Of the character that the tokens break off in. */
function incompleteBytes(tokens: readonly SpelledToken[]): number {
  const end = Buffer.concat(tokens.slice(-4).map(({ bytes }) => bytes)).subarray(-3);
  for (let back = 1; back <= end.length; back++) {
    const byte = end[end.length - back]!;
    if (byte < 0x80) return 0;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 0;
    if (length > 0) return length > back ? back : 0;
  }
  return 0;
}
