import type { NativeEngine, NativeEvent, NativeRequest } from "../binding.js";
import { fromNative } from "../errors.js";
import { channels, type DoneMessage, type FirstTokenMessage, type RequestOutcome } from "./diagnostics.js";
import { type BatchOptions, EventLog } from "./event-log.js";
import { type LogitsProcessor, processLogits } from "./logits-processor.js";
import { checkInteger } from "./options.js";
import type { Acceptance, Completion, GeneratedToken, GenerationResult } from "./results.js";
import { TokenLog } from "./token-log.js";

interface Choice {
  tokens: number;
  /** The index of its last token among all tokens. */
  lastAt: number;
  end?: NativeEvent & { kind: "done" };
}

/**
 * One running request: an AsyncIterable of the tokens of all its choices as they arrive, with `result` for the whole.
 * Leaving a `for await` loop early cancels it, and `result` then resolves with `finishReason: "cancelled"`. An abort
 * rejects both with `signal.reason`.
 *
 * A caller that iterates must keep reading. When a reader is more than 1,024 tokens behind, the engine pauses this
 * request. It resumes when the reader is within 256 tokens. `result` does not settle during the pause. A caller that
 * only awaits `result` is never paused, because `maxTokens` bounds the stored tokens.
 *
 * @example
 * ```ts
 * for await (const { text, index } of engine.generate("Once upon a time", { n: 2 })) console.log(index, text);
 * ```
 */
export class Generation implements AsyncIterable<GeneratedToken> {
  /**
   * The whole result, once all choices have ended. Rejects with the error that ended the request, or with the reason of
   * an abort.
   */
  readonly result: Promise<GenerationResult>;
  /**
   * Resolves when the request is in the engine's queue and its constraint, if any, is compiled on a separate thread. It
   * rejects like `result` when the request is refused or aborted, or its engine closed, before that. It resolves when
   * the request is cancelled.
   */
  readonly accepted: Promise<Acceptance>;
  /** The prompt, as token ids. */
  readonly promptTokens: Uint32Array;

  readonly #id: number;
  readonly #native: Pick<NativeEngine, "cancel" | "pause" | "supplyLogits">;
  readonly #choices: Choice[];
  readonly #hasLogprobs: boolean;
  readonly #processor: LogitsProcessor | undefined;
  readonly #log: EventLog<GeneratedToken, TokenLog>;
  readonly #heldBy = new Set<"reader" | "owner">();
  #accept!: { resolve: (acceptance: Acceptance) => void; reject: (reason: unknown) => void };
  #settle!: { resolve: (result: GenerationResult) => void; reject: (reason: unknown) => void };

  /**
   * Made by `Engine.generate`, which passes the events of the request to it.
   *
   * @internal
   */
  constructor(
    native: Pick<NativeEngine, "cancel" | "pause" | "supplyLogits">,
    request: Pick<NativeRequest, "id" | "prompt" | "n" | "topLogprobs"> & Partial<Pick<NativeRequest, "constraint">>,
    processor?: LogitsProcessor,
  ) {
    this.promptTokens = request.prompt;
    this.#id = request.id;
    this.#native = native;
    this.#choices = Array.from({ length: request.n }, () => ({ tokens: 0, lastAt: -1 }));
    this.#log = new EventLog(new TokenLog(request.topLogprobs), (held) => this.#hold("reader", held));
    this.#hasLogprobs = request.topLogprobs > 0;
    this.#processor = processor;
    this.result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.result.catch(() => {}); // a caller who only iterates gets the failure there
    this.accepted = new Promise((resolve, reject) => {
      this.#accept = { resolve, reject };
    });
    this.accepted.catch(() => {}); // a caller who does not use it gets the failure from `result`
    if (request.constraint == null) this.#accept.resolve({ relaxed: [] });
  }

  /** The number of tokens of all choices so far. */
  get completionTokens(): number {
    return this.#log.items.length;
  }

  /**
   * Stops the request, or only the choice `index`. `result` resolves with the tokens so far. No effect after the end.
   *
   * @throws GptOssError INVALID_ARGUMENT where there is no such choice
   *
   * @example
   * ```ts
   * run.cancel();
   * ```
   */
  cancel(index?: number): void {
    if (index !== undefined) checkInteger("index", index, 0, this.#choices.length - 1);
    if (this.#log.ended) return;
    if (index === undefined) this.#native.cancel(this.#id);
    else if (!this.#choices[index]!.end) this.#native.cancel(this.#id, index);
  }

  /**
   * Stops the request; iteration and `result` reject with `reason` at once.
   *
   * @example
   * ```ts
   * run.abort(new Error("The user has left"));
   * ```
   */
  abort(reason: unknown): void {
    if (this.#log.ended) return;
    this.#fail(reason);
    this.#native.cancel(this.#id);
  }

  /**
   * Pauses and resumes the decoding, for a reader that passes everything on to a slower one.
   *
   * @internal
   */
  hold(held: boolean): void {
    if (!this.#log.ended) this.#hold("owner", held);
  }

  /**
   * Accepts an event of the engine about this request. Events after its end have no effect.
   *
   * @internal
   */
  accept(event: NativeEvent): void {
    if (this.#log.ended) return;
    if (event.kind === "accepted") this.#accept.resolve({ relaxed: event.relaxed });
    else if (event.kind === "token") this.#append(event);
    else if (event.kind === "done") this.#end(event);
    else if (event.kind === "error") this.#fail(fromNative(event.error));
    else if (event.kind === "process" && this.#processor) void this.#process(this.#processor, event);
  }

  /** Returns the tokens of all choices as they arrive. */
  [Symbol.asyncIterator](): AsyncGenerator<GeneratedToken, void, undefined> {
    return this.#log.read(() => this.cancel());
  }

  /**
   * Iterates like the object itself, but returns available tokens together. With `keep: false`, tokens are freed after
   * they are read. This is for a single reader: `result` then has the outcome, but only the unread tokens, text and
   * logprobs.
   *
   * @example
   * ```ts
   * for await (const tokens of run.batches()) send(tokens.map(({ text }) => text).join(""));
   * ```
   */
  batches(options?: BatchOptions): AsyncGenerator<GeneratedToken[], void, undefined> {
    return this.#log.readBatches(() => this.cancel(), options);
  }

  #append({ token, text, logprob, top, index }: NativeEvent & { kind: "token" }): void {
    if (this.#log.items.length === 0 && channels.firstToken.hasSubscribers) {
      const message: FirstTokenMessage = { id: this.#id, promptTokens: this.promptTokens.length };
      channels.firstToken.publish(message);
    }
    const choice = this.#choices[index]!;
    choice.tokens++;
    choice.lastAt = this.#log.items.length;
    this.#log.push({ token, text, logprob, index, ...(top && { top }) });
  }

  /** Ends one choice. The last choice ends the request. */
  #end(event: NativeEvent & { kind: "done" }): void {
    const choice = this.#choices[event.index]!;
    choice.end = event;
    // The engine reports the last token and the end in the same batch of events, so no reader has read that token yet.
    // The exception is a cancelled request, and its callers do not expect the whole text.
    const { reason, cachedTokens } = event;
    const last = reason === "cancelled" ? undefined : { finishReason: reason, cachedTokens };
    if (choice.tokens > 0) this.#log.items.amend(choice.lastAt, event.text, last);
    if (this.#choices.every(({ end }) => end)) this.#finish();
  }

  #finish(): void {
    const completions = this.#completions();
    const { cachedTokens, timings } = this.#choices[0]!.end!;
    const [first] = completions as [Completion];
    this.#accept.resolve({ relaxed: [] }); // the request was cancelled before
    const promptTokens = this.promptTokens.length;
    const { completionTokens } = this;
    this.#settle.resolve({
      ...first,
      ...(completions.length > 1 && { choices: completions.map((completion, index) => ({ index, ...completion })) }),
      usage: { promptTokens, cachedTokens, completionTokens },
      timings,
    });
    this.#log.end();
    this.#publishDone({ finishReason: first.finishReason, cachedTokens, timings });
  }

  #completions(): Completion[] {
    const texts: string[][] = this.#choices.map(() => []);
    const completions: Completion[] = this.#choices.map(({ end }) => ({
      tokens: [],
      text: "",
      finishReason: end!.reason,
      ...(this.#hasLogprobs && { logprobs: [] }),
    }));
    for (const { token, text, logprob, top = [], index } of this.#log.items.slice(0, this.completionTokens)) {
      const completion = completions[index]!;
      completion.tokens.push(token);
      completion.logprobs?.push({ token, logprob, top });
      texts[index]!.push(text);
    }
    for (const [index, completion] of completions.entries()) completion.text = texts[index]!.join("");
    return completions;
  }

  #fail(reason: unknown): void {
    this.#accept.reject(reason);
    this.#settle.reject(reason);
    this.#log.fail(reason);
    this.#publishDone({ error: reason });
  }

  #publishDone(outcome: RequestOutcome): void {
    if (!channels.done.hasSubscribers) return;
    const { completionTokens } = this;
    const longestCompletion = Math.max(...this.#choices.map(({ tokens }) => tokens));
    const promptTokens = this.promptTokens.length;
    const message: DoneMessage = { id: this.#id, promptTokens, completionTokens, longestCompletion, ...outcome };
    channels.done.publish(message);
  }

  #hold(by: "reader" | "owner", held: boolean): void {
    const wasHeld = this.#heldBy.size > 0;
    if (held) this.#heldBy.add(by);
    else this.#heldBy.delete(by);
    const isHeld = this.#heldBy.size > 0;
    if (isHeld === wasHeld) return;
    for (const [index, { end }] of this.#choices.entries()) {
      if (!end) this.#native.pause(this.#id, index, isHeld);
    }
  }

  async #process(processor: LogitsProcessor, event: NativeEvent & { kind: "process" }): Promise<void> {
    try {
      const logits = await processLogits(processor, event.logits, event.tokens);
      if (!this.#log.ended) this.#native.supplyLogits(this.#id, event.index, logits);
    } catch (error) {
      this.abort(fromNative(error));
    }
  }
}
