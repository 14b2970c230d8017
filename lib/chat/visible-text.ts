import type { GeneratedToken } from "../generation/results.js";
import { tokenBytes } from "../tokenizer/token-table.js";
import { StopMatcher } from "./stop-matcher.js";

/** A token and those of its bytes that are in the text: all of them, except at a border of the text. */
export interface SpelledToken {
  token: GeneratedToken;
  bytes: Uint8Array;
}

export interface VisiblePiece {
  text: string;
  /** The tokens that end within `text`. Their joined bytes are the text. Empty unless requested. */
  tokens: SpelledToken[];
  /** The stop string that ended the text here. */
  stop: string | null;
}

/** The text of one message that a user sees: up to a stop string, each piece with its tokens. */
export class VisibleText {
  readonly #matcher: StopMatcher;
  readonly #includeStop: boolean;
  readonly #hasTokens: boolean;
  /** Tokens that were not yet reported, because their text is held back. */
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

  /** Ends the message: the held-back beginning of a stop string is text after all. */
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

  /** Cuts a token whose later bytes belong to the stop string: only its visible bytes remain. */
  #cut(): SpelledToken[] {
    const [next] = this.#waiting.splice(0);
    if (next === undefined) return [];
    const { token, bytes } = next.spelled;
    const visible = this.#toldBytes - (next.end - bytes.length);
    return visible > 0 ? [{ token, bytes: bytes.subarray(0, visible) }] : [];
  }
}

/**
 * Returns the tokens that a text ends with. `tokens` are all tokens since the text before. They can exceed the text
 * when a header turns out to be text, because the first words of the header are not text. The last token may end within
 * a character that the next text completes.
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

/** The number of bytes of the incomplete character at the end of the tokens. */
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
