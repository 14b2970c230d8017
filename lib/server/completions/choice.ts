import { LazyList } from "../../chat/spelled-tokens.js";
import { logprobOf, type VisibleLogprob } from "../../chat/visible-logprob.js";
import { type SpelledToken, type VisiblePiece, VisibleText } from "../../chat/visible-text.js";
import type { GeneratedToken } from "../../generation/results.js";
import { Utf8Stream } from "../../harmony/utf8.js";
import { firstSpecialToken } from "../../tokenizer/special-tokens.js";
import { tokenBytes } from "../../tokenizer/token-table.js";
import type { EchoedToken } from "./echo.js";

export interface CompletionChoiceOptions {
  stop: readonly string[];
  includeStop: boolean;
  /**
   * Ids that end the completion and are not part of its text. The finish reason names those that the request asked for.
   */
  endTokens: readonly number[];
  ownStopTokens: readonly number[];
  hasLogprobs: boolean;
  /** Leaves control tokens out of the text. */
  skipsSpecial: boolean;
}

/** Names a token in the logprobs. */
export type NameOf = (token: { id: number; text: string }) => string;

export interface CompletionLogprobs {
  tokens: Iterable<string>;
  /** The first token of an echoed prompt has none. */
  token_logprobs: Iterable<number | null>;
  top_logprobs: Iterable<Record<string, number> | null>;
  text_offset: Iterable<number>;
}

export interface CompletionPiece {
  text: string;
  /** The tokens of the piece's text, when log probabilities were requested. */
  tokens: readonly SpelledToken[];
  /** The place in the choice's text where each token begins. */
  offsets: readonly number[];
  end: { finish_reason: "stop" | "length"; stop_reason: string | number | null } | null;
}

/** The text of one choice: up to its stop string, in whole characters. */
export class CompletionChoice {
  stopped = false;
  tokens = 0;
  readonly #options: CompletionChoiceOptions;
  readonly #utf8 = new Utf8Stream({ replaceOnePerStep: false });
  readonly #visible: VisibleText;
  readonly #offsets = new TextDecoder();
  #offset: number;

  /** @param offset where the choice's text begins, after an echoed prompt */
  constructor(options: CompletionChoiceOptions, offset: number) {
    this.#options = options;
    this.#offset = offset;
    const { stop, includeStop, hasLogprobs: hasTokens } = options;
    this.#visible = new VisibleText({ stop, includeStop, hasTokens });
  }

  /** Returns what these tokens add. They arrived together, and the last one may be the end. */
  push(tokens: readonly GeneratedToken[]): CompletionPiece {
    const pieces: VisiblePiece[] = [];
    let end: CompletionPiece["end"] = null;
    for (const generated of tokens) {
      if (this.stopped) break;
      const { token, last } = generated;
      this.tokens++;
      // Also at "length": a constraint that the limit closed in time ends with such a token.
      const isEnd = last !== undefined && this.#endsText(token);
      if (!isEnd) this.#read(generated, pieces);
      if (last === undefined || this.stopped) continue;
      this.#flush(pieces);
      const isCut = last.finishReason === "length";
      const reason = isEnd && !isCut && this.#options.ownStopTokens.includes(token) ? token : null;
      end = { finish_reason: isCut ? "length" : "stop", stop_reason: reason };
    }
    const stop = pieces.find((piece) => piece.stop !== null)?.stop;
    if (stop !== undefined) end = { finish_reason: "stop", stop_reason: stop };
    const told = pieces.flatMap((piece) => piece.tokens);
    return { text: pieces.map(({ text }) => text).join(""), tokens: told, offsets: told.map(this.#offsetOf), end };
  }

  #endsText(token: number): boolean {
    return this.#options.endTokens.includes(token) || this.#options.ownStopTokens.includes(token);
  }

  #read(generated: GeneratedToken, pieces: VisiblePiece[]): void {
    const { token } = generated;
    if (token >= firstSpecialToken && this.#options.skipsSpecial) return;
    this.#show(
      this.#visible.push(this.#utf8.push(token) ?? "", [{ token: generated, bytes: tokenBytes(token) }]),
      pieces,
    );
  }

  #flush(pieces: VisiblePiece[]): void {
    this.#show(this.#visible.push(this.#utf8.flush(), []), pieces);
    if (!this.stopped) this.#show(this.#visible.end(), pieces);
  }

  #show(piece: VisiblePiece, pieces: VisiblePiece[]): void {
    pieces.push(piece);
    if (piece.stop !== null) this.stopped = true;
  }

  readonly #offsetOf = ({ bytes }: SpelledToken): number => {
    const offset = this.#offset;
    this.#offset += this.#offsets.decode(bytes, { stream: true }).length;
    return offset;
  };
}

/**
 * The log probabilities of a text, generated while they are written.
 *
 * @param echoed the tokens of the prompt before it; called for each list
 */
export function completionLogprobs(
  echoed: () => Iterable<EchoedToken>,
  tokens: Iterable<SpelledToken>,
  offsets: Iterable<number>,
  nameOf: NameOf,
): CompletionLogprobs {
  const list = <R>(made: (token: VisibleLogprob) => R) =>
    joined(
      () => new LazyList(echoed(), ({ spelled }) => made(logprobOf(spelled))),
      new LazyList(tokens, (token) => made(logprobOf(token))),
    );
  const logprobs = <R>(made: (token: VisibleLogprob) => R) =>
    joined<R | null>(
      () => new LazyList(echoed(), ({ spelled, hasLogprob }) => (hasLogprob ? made(logprobOf(spelled)) : null)),
      new LazyList(tokens, (token) => made(logprobOf(token))),
    );
  return {
    tokens: list(nameOf),
    token_logprobs: logprobs(({ logprob }) => logprob),
    // The list always includes the token itself, however unlikely it was.
    top_logprobs: logprobs((token) =>
      Object.fromEntries([...token.top, token].map((likely) => [nameOf(likely), likely.logprob])),
    ),
    text_offset: joined(() => new LazyList(echoed(), ({ offset }) => offset), offsets),
  };
}

function joined<T>(first: () => Iterable<T>, then: Iterable<T>): Iterable<T> {
  return {
    *[Symbol.iterator]() {
      yield* first();
      yield* then;
    },
  };
}
