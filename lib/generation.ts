import type { NativeEvent, NativeTimings } from "./binding.js";
import { fromNative } from "./errors.js";
import type { TextStream } from "./tokenizer/text-stream.js";

export interface GeneratedToken {
  token: number;
  /** What this token adds to the text; empty while a character is incomplete, and for the stop token. */
  text: string;
  /** Natural logarithm of the token's probability under the model itself, before temperature and filters. */
  logprob: number;
  /** Which of the `n` choices it belongs to. */
  index: number;
}

export type FinishReason = "stop" | "length" | "cancelled";

export interface Usage {
  promptTokens: number;
  /** Prompt tokens whose keys and values were reused instead of computed. */
  cachedTokens: number;
  completionTokens: number;
}

/** Milliseconds: waiting for a place, from there to the first token, from the first to the last token. */
export type Timings = NativeTimings;

export interface GenerationResult {
  /** Everything that was generated, the stop token included. */
  tokens: number[];
  /** The text of `tokens` without the stop token. */
  text: string;
  finishReason: FinishReason;
  usage: Usage;
  timings: Timings;
}

/**
 * One request that runs: an AsyncIterable of tokens, and `result` for the whole. Leaving a `for await` loop early
 * cancels it, and `result` then resolves with `finishReason: "cancelled"`; an abort rejects both with `signal.reason`.
 */
export class Generation implements AsyncIterable<GeneratedToken> {
  readonly result: Promise<GenerationResult>;
  readonly promptTokens: Uint32Array;

  readonly #tokens: GeneratedToken[] = [];
  readonly #stopTokens: ReadonlySet<number>;
  readonly #text: TextStream;
  readonly #cancel: () => void;
  #ended = false;
  #failure: { reason: unknown } | undefined;
  #wake: (() => void)[] = [];
  #settle!: { resolve: (result: GenerationResult) => void; reject: (reason: unknown) => void };

  /** Made by `Engine.generate`. `cancel` asks the engine to stop; the engine answers with a "done" event. */
  constructor(promptTokens: Uint32Array, stopTokens: ReadonlySet<number>, text: TextStream, cancel: () => void) {
    this.promptTokens = promptTokens;
    this.#stopTokens = stopTokens;
    this.#text = text;
    this.#cancel = cancel;
    this.result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.result.catch(() => {}); // a caller who only iterates hears of the failure there
  }

  /** Stops the request; `result` resolves with what there is. Without effect once it has ended. */
  cancel(): void {
    if (!this.#ended) this.#cancel();
  }

  /** Stops the request; iteration and `result` reject with `reason` at once. */
  abort(reason: unknown): void {
    if (this.#ended) return;
    this.fail(reason);
    this.#cancel();
  }

  /** An event of the engine about this request; what arrives after its end is of no interest to anybody. */
  accept(event: NativeEvent): void {
    if (this.#ended) return;
    if (event.kind === "token") {
      const text = this.#stopTokens.has(event.token) ? "" : this.#text.push(event.token);
      this.#tokens.push({ token: event.token, text, logprob: event.logprob, index: 0 });
    } else if (event.kind === "done") {
      this.#finish(event.reason, event.timings);
    } else if (event.kind === "error") {
      this.fail(fromNative(event.error));
    }
    this.#notify();
  }

  fail(reason: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = { reason };
    this.#settle.reject(reason);
    this.#notify();
  }

  #finish(reason: FinishReason, timings: Timings): void {
    this.#ended = true;
    const last = this.#tokens.at(-1);
    // The engine tells of the last token and of the end in one breath, so nobody has read that token yet.
    if (last) last.text += this.#text.end();
    this.#settle.resolve({
      tokens: this.#tokens.map((t) => t.token),
      text: this.#tokens.map((t) => t.text).join(""),
      finishReason: reason,
      usage: { promptTokens: this.promptTokens.length, cachedTokens: 0, completionTokens: this.#tokens.length },
      timings,
    });
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GeneratedToken, void, undefined> {
    try {
      for (let next = 0; ; ) {
        const token = this.#tokens[next];
        if (token) {
          next++;
          yield token;
        } else if (this.#failure) {
          throw this.#failure.reason;
        } else if (this.#ended) {
          return;
        } else {
          await new Promise<void>((resolve) => this.#wake.push(resolve));
        }
      }
    } finally {
      this.cancel();
    }
  }
}
