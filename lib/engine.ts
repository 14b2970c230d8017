import { addon, type EngineStats, type NativeEngine, type NativeEngineInfo, type NativeEvent } from "./binding.js";
import { type ChatMessage, type ChatOptions, ChatRun, chatGenerateOptions, renderChat } from "./chat.js";
import { fromNative, GptOssError, invalidArgument, nativeCall } from "./errors.js";
import { type GenerateOptions, nativeRequestOptions } from "./generate-options.js";
import { Generation } from "./generation.js";
import { modelPath } from "./model-path.js";
import { checkInteger, type EngineOptions, type LoadProgress, nativeEngineOptions, refuseUnknown } from "./options.js";
import type { Tokenizer } from "./tokenizer/tokenizer.js";
import { tokenizer } from "./tokenizer/tokenizer.js";

export interface EngineInfo extends NativeEngineInfo {
  /** Why this backend: what was asked for, and what there was. */
  backendReason: string;
  /** `"exact"`: float32 activations and sums. */
  numerics: "exact";
  /** Attention, embedding and head as they are in the files. */
  denseWeights: "bf16";
  kvCacheDtype: "f32";
}

/** Finds the run that an event belongs to. Apart from Engine, so that the addon's hold on it does not keep an Engine alive. */
class Dispatcher {
  readonly runs = new Map<number, { accept(event: NativeEvent): void }>();

  readonly accept = (events: NativeEvent[]): void => {
    for (const event of events) {
      const run = this.runs.get(event.id);
      if (event.kind === "done" || event.kind === "error") this.runs.delete(event.id);
      run?.accept(event);
    }
  };
}

/** A model that is loaded and ready. Made by `Engine.load`; close it, or let `await using` do so. */
export class Engine implements AsyncDisposable {
  readonly info: EngineInfo;
  readonly #native: NativeEngine;
  readonly #dispatcher: Dispatcher;
  #nextId = 1;
  #closing: Promise<void> | undefined;

  private constructor(native: NativeEngine, dispatcher: Dispatcher, backendReason: string) {
    this.#native = native;
    this.#dispatcher = dispatcher;
    this.info = { ...native.info, backendReason, numerics: "exact", denseWeights: "bf16", kvCacheDtype: "f32" };
  }

  /**
   * Loads a checkpoint: a folder in the Hugging Face or OpenAI's original layout, or `"demo"`.
   *
   * @throws GptOssError with code MODEL_NOT_FOUND, MODEL_FORMAT, MODEL_SHAPE, UNSUPPORTED, OUT_OF_MEMORY,
   *   INVALID_ARGUMENT or ADDON_NOT_FOUND; `signal.reason` after an abort; what `onProgress` throws. Nothing is left
   *   half loaded.
   */
  static async load(model: string, options: EngineOptions = {}): Promise<Engine> {
    const native = nativeEngineOptions(options);
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
    const path = await modelPath(model);
    signal?.throwIfAborted();
    const dispatcher = new Dispatcher();
    // Loading ends early for an abort, and for an exception of onProgress.
    const stop = new AbortController();
    const abort = () => stop.abort(signal?.reason);
    const progress = (event: LoadProgress) => {
      try {
        onProgress?.(event);
      } catch (error) {
        stop.abort(error);
      }
    };
    const loading = nativeCall(() => addon().loadEngine(path, native, dispatcher.accept, onProgress ? progress : null));
    stop.signal.addEventListener("abort", loading.cancel, { once: true });
    signal?.addEventListener("abort", abort, { once: true });
    try {
      const loaded = await loading.promise;
      if (stop.signal.aborted) await loaded.close();
      stop.signal.throwIfAborted();
      const reason =
        native.backend === "auto"
          ? `the best of this build: ${loaded.info.isa}`
          : `asked for by name: ${native.backend}`;
      return new Engine(loaded, dispatcher, reason);
    } catch (error) {
      stop.signal.throwIfAborted();
      throw fromNative(error);
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** The tokenizer of every gpt-oss model, o200k_harmony. */
  get tokenizer(): Tokenizer {
    return tokenizer;
  }

  stats(): EngineStats {
    return this.#native.stats();
  }

  /** Bytes that one decode step of one sequence must read with `context` tokens in its KV cache: the byte roof's numerator. */
  bytesPerToken(context: number): number {
    return this.#native.bytesPerToken(checkInteger("context", context, 0, 2 ** 31 - 1));
  }

  /**
   * Continues a prompt: text, encoded as it is, or token ids.
   *
   * @throws GptOssError INVALID_ARGUMENT, CONTEXT_OVERFLOW, QUEUE_FULL or CLOSED at once; what happens later arrives
   *   through the Generation.
   */
  generate(prompt: string | ArrayLike<number>, options: GenerateOptions = {}): Generation {
    const tokens = typeof prompt === "string" ? tokenizer.encode(prompt) : checkTokens(prompt);
    const { maxTokens, stopTokens, sampling, signal } = nativeRequestOptions(options, this.#defaultStopTokens());
    signal?.throwIfAborted();
    const id = this.#nextId++;
    const run = new Generation(tokens, new Set(stopTokens), tokenizer.stream(), () => this.#native.cancel(id));
    this.#submit(id, run, {
      prompt: tokens,
      maxTokens,
      stopTokens: Uint32Array.from(stopTokens),
      sampling: { ...sampling, maskReserved: this.#hasReservedTokens() },
      logitsLast: 0,
    });
    if (signal) {
      const abort = () => run.abort(signal.reason);
      signal.addEventListener("abort", abort, { once: true });
      run.result.then(
        () => signal.removeEventListener("abort", abort),
        () => signal.removeEventListener("abort", abort),
      );
    }
    return run;
  }

  /** Answers a conversation, in the harmony format the model was trained on. */
  chat(messages: readonly ChatMessage[], options: ChatOptions = {}): ChatRun {
    const prompt = renderChat(messages, options);
    return new ChatRun(this.generate(prompt, chatGenerateOptions(options)), options);
  }

  /**
   * The logits that the model gives at the last `last` positions of `tokens` (default: the last one).
   *
   * @returns row-major [last, vocab]
   */
  async logits(
    tokens: ArrayLike<number>,
    options: { last?: number; signal?: AbortSignal } = {},
  ): Promise<Float32Array> {
    refuseUnknown("logits", options, new Set(["last", "signal"]));
    const prompt = checkTokens(tokens);
    const last = checkInteger("last", options.last ?? 1, 1, Math.max(1, prompt.length));
    const bytes = last * this.info.model.vocab * 4;
    if (bytes > 2 ** 31) {
      throw new GptOssError(
        "INVALID_ARGUMENT",
        `The logits of ${last} positions take ${bytes} bytes; at most 2 GiB can be asked for at once`,
      );
    }
    const { signal } = options;
    signal?.throwIfAborted();
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#native.cancel(id);
        reject(signal?.reason);
      };
      const accept = (event: NativeEvent) => {
        if (event.kind === "logits") resolve(event.logits);
        if (event.kind === "error") reject(fromNative(event.error));
        if (event.kind === "done" || event.kind === "error") signal?.removeEventListener("abort", abort);
      };
      const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0n, maskReserved: false };
      const none = new Uint32Array();
      this.#submit(id, { accept }, { prompt, maxTokens: 0, stopTokens: none, sampling, logitsLast: last });
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /** Ends every request with CLOSED, waits for the engine's thread, frees everything. May be called again. */
  close(): Promise<void> {
    this.#closing ??= this.#native.close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #submit(
    id: number,
    run: { accept(event: NativeEvent): void },
    request: Omit<Parameters<NativeEngine["submit"]>[0], "id">,
  ): void {
    if (this.#closing) throw new GptOssError("CLOSED", "The engine is closed");
    // The run refers to this engine, so an engine with a request in flight is not collected.
    const keep = { accept: (event: NativeEvent) => run.accept(event), engine: this };
    this.#dispatcher.runs.set(id, keep);
    try {
      nativeCall(() => this.#native.submit({ id, ...request }));
    } catch (error) {
      this.#dispatcher.runs.delete(id);
      throw error;
    }
  }

  /** Reserved ids exist only in the full vocabulary; small test models use their ids for anything. */
  #hasReservedTokens(): boolean {
    return this.info.model.vocab === tokenizer.vocabSize;
  }

  /** What the checkpoint lists, and for the full vocabulary the ends of an assistant's turn. */
  #defaultStopTokens(): number[] {
    const own = this.info.model.eosTokens;
    return this.#hasReservedTokens() ? [...new Set([...own, 199999, 200002, 200012])] : own;
  }
}

/** @throws GptOssError INVALID_ARGUMENT unless every element is an integer in [0, 2^32). */
function checkTokens(tokens: ArrayLike<number>): Uint32Array {
  if (tokens === null || typeof tokens !== "object" || typeof tokens.length !== "number") {
    throw invalidArgument("the prompt", "text or an array of token ids", tokens);
  }
  if (tokens instanceof Uint32Array) return tokens;
  const out = new Uint32Array(tokens.length);
  for (let i = 0; i < out.length; i++) {
    const id = tokens[i];
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > 0xffffffff) {
      throw invalidArgument(`token ${i} of the prompt`, "a token id (an integer >= 0)", id);
    }
    out[i] = id;
  }
  return out;
}
