import type { NativeEvent, NativeTimings } from "./binding.js";
import { fromNative } from "./errors.js";
import { EventLog } from "./event-log.js";
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

  readonly #log = new EventLog<GeneratedToken>();
  readonly #stopTokens: ReadonlySet<number>;
  readonly #text: TextStream;
  readonly #cancel: () => void;
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
    if (!this.#log.ended) this.#cancel();
  }

  /** Stops the request; iteration and `result` reject with `reason` at once. */
  abort(reason: unknown): void {
    if (this.#log.ended) return;
    this.#fail(reason);
    this.#cancel();
  }

  /** An event of the engine about this request; what arrives after its end is of no interest to anybody. */
  accept(event: NativeEvent): void {
    if (this.#log.ended) return;
    if (event.kind === "token") {
      const text = this.#stopTokens.has(event.token) ? "" : this.#text.push(event.token);
      this.#log.push({ token: event.token, text, logprob: event.logprob, index: 0 });
    } else if (event.kind === "done") {
      this.#finish(event.reason, event.timings);
    } else if (event.kind === "error") {
      this.#fail(fromNative(event.error));
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<GeneratedToken, void, undefined> {
    return this.#log.read(() => this.cancel());
  }

  #finish(finishReason: FinishReason, timings: Timings): void {
    const generated = this.#log.items;
    const last = generated.at(-1);
    // The engine tells of the last token and of the end in one breath, so nobody has read that token yet.
    if (last) last.text += this.#text.end();
    this.#settle.resolve({
      tokens: generated.map((t) => t.token),
      text: generated.map((t) => t.text).join(""),
      finishReason,
      usage: { promptTokens: this.promptTokens.length, cachedTokens: 0, completionTokens: generated.length },
      timings,
    });
    this.#log.end();
  }

  #fail(reason: unknown): void {
    this.#settle.reject(reason);
    this.#log.fail(reason);
  }
}
