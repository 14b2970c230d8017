import {
  type AdapterInfo,
  addon,
  type EngineStats,
  type LoadProgress,
  type NativeEngine,
  type NativeEngineInfo,
  type NativeEvent,
  type NativeRequest,
} from "./binding.js";
import { type ChatMessage, type ChatOptions, type ChatRun, prepareChat, startChat } from "./chat/chat.js";
import { onAbort, throwIfAborted } from "./common/abort.js";
import { readIds, reading } from "./common/given-values.js";
import { asyncDispose } from "./common/realm.js";
import { readOptions } from "./common/unknown-option.js";
import { contextOverflow, errorOf, fromNative, GptOssError, invalidArgument, nativeCall } from "./errors.js";
import { checkAdapter, checkAdapterName, type LoadAdapterOptions } from "./generation/adapters.js";
import { channels } from "./generation/diagnostics.js";
import { type GenerateOptions, nativeRequestOptions } from "./generation/generate-options.js";
import { Generation } from "./generation/generation.js";
import { modelTraits } from "./generation/model-traits.js";
import { checkInteger, type EngineOptions, optionalInteger, readEngineOptions } from "./generation/options.js";
import { PromptLogprobs, type PromptLogprobsOptions, promptLogprobsNames } from "./generation/prompt-logprobs.js";
import { adapterWithPath, type ResolvedModel, resolveForLoading } from "./models/index.js";
import { encodeWithin } from "./tokenizer/encode-within.js";
import type { Tokenizer } from "./tokenizer/tokenizer.js";
import { tokenizer } from "./tokenizer/tokenizer.js";

/** The message of `gpt-oss:request` of `node:diagnostics_channel`. */
export interface RequestMessage {
  /** The engine that accepted the request. */
  engine: Engine;
  /** Unique within the thread. */
  id: number;
  /** The number of tokens of the prompt. */
  promptTokens: number;
  /** The number of requested completions. */
  n: number;
  /** The maximum number of tokens of each completion. */
  maxTokens: number;
  /** The priority of the request, as given. */
  priority: number;
}

/** The loaded model, its device and its limits. */
export interface EngineInfo extends NativeEngineInfo {
  /** The checkpoint that the model's name stood for, and where it was found. */
  resolved: ResolvedModel;
}

/** What an engine of another thread knows of its loading. */
export type EngineOrigin = Pick<EngineInfo, "backendReason" | "resolved">;

/** An engine to send to another thread: `postMessage` it, and call `Engine.attach` with it there. */
export interface EngineHandle {
  /** The number of the engine within this process. */
  handle: number;
  /** As in `engine.info`. */
  backendReason: string;
  /** As in `engine.info`. */
  resolved: ResolvedModel;
}

/** Options of `Engine.logits`. */
export interface LogitsOptions {
  /** The number of last positions whose logits are returned. Default 1. */
  last?: number;
  /** The name of a loaded adapter. Default: none. */
  adapter?: string;
  /** The signal whose abort makes the promise reject with its reason. */
  signal?: AbortSignal;
}

interface InFlight {
  run: { accept(event: NativeEvent): void };
  /** The number of choices that have not ended. */
  choices: number;
  /** Keeps an engine with a request in flight from being collected. */
  engine: Engine;
}

/**
 * Finds the run of an event. Separate from Engine, so that the addon's reference to it does not keep an Engine alive.
 */
export class Dispatcher {
  readonly inFlight = new Map<number, InFlight>();

  readonly accept = (events: NativeEvent[]): void => {
    for (const event of events) {
      const found = this.inFlight.get(event.id);
      if (!found) continue;
      if (event.kind === "error" || (event.kind === "done" && --found.choices === 0)) this.inFlight.delete(event.id);
      found.run.accept(event);
    }
  };

  /** Rejects the requests of an attached engine, which closes without waiting for their events. */
  rejectAll(error: Error): void {
    this.accept([...this.inFlight.keys()].map((id) => ({ id, index: 0, kind: "error", error })));
  }
}

/**
 * The last id of this thread. All engines share it, so that an id identifies one request in every diagnostic message.
 */
let lastId = 0;

/**
 * A loaded model that is ready for requests. Made by `Engine.load`. Close it, or let `await using` close it.
 * @example
 * ```ts
 * const engine = await Engine.load("demo");
 * try {
 *   const { content } = await engine.chat([{ role: "user", content: "Who are you?" }]).result;
 *   console.log(content);
 * } finally {
 *   await engine.close();
 * }
 * ```
 */
export class Engine implements AsyncDisposable {
  /** The loaded model, its device and its limits. */
  readonly info: EngineInfo;
  readonly #native: NativeEngine;
  readonly #dispatcher: Dispatcher;
  #closing: Promise<void> | undefined;

  protected constructor(native: NativeEngine, dispatcher: Dispatcher, { backendReason, resolved }: EngineOrigin) {
    this.#native = native;
    this.#dispatcher = dispatcher;
    this.info = { ...native.info, backendReason, resolved };
  }

  /**
   * Loads a checkpoint: a folder in the Hugging Face layout or in OpenAI's original layout, `"demo"`, or the name of a
   * model that another program keeps on this machine, such as `"openai/gpt-oss-20b"` (see `resolveModel`). For
   * measurements, it makes a model of seeded random weights that needs no file: `"synthetic:120b"`, `20b`, `small`,
   * `tiny` or `wide` (tiny, with the full vocabulary), with `?seed=N&skew=X`.
   *
   * @throws GptOssError with code MODEL_NOT_FOUND, MODEL_FORMAT, MODEL_SHAPE, UNSUPPORTED, OUT_OF_MEMORY,
   *   RESOURCE_LIMIT, INVALID_ARGUMENT or ADDON_NOT_FOUND; `signal.reason` after an abort; the exception of
   *   `onProgress`.
   *   A failed load frees everything.
   *
   * @example
   * ```ts
   * const engine = await Engine.load("/models/gpt-oss-20b", {
   *   contextLength: 16384,
   *   onProgress: ({ loadedBytes, totalBytes }) => console.log(loadedBytes / totalBytes),
   * });
   * ```
   */
  static async load(model: string, options: EngineOptions = {}): Promise<Engine> {
    const { native, signal, onProgress } = readEngineOptions(options);
    throwIfAborted(signal);
    const { resolved, packedWeights } = await resolveForLoading(model, native.packedWeights);
    const adapters = await Promise.all(native.adapters.map(adapterWithPath));
    throwIfAborted(signal);
    const dispatcher = new Dispatcher();
    // An abort ends the loading early, and so does an exception of onProgress.
    const stop = new AbortController();
    const progress = (event: LoadProgress) => {
      try {
        onProgress?.(event);
      } catch (thrown) {
        stop.abort(errorOf("onProgress", thrown));
      }
    };
    const loading = nativeCall(() =>
      addon().loadEngine(
        resolved.path,
        { ...native, packedWeights, adapters },
        dispatcher.accept,
        onProgress ? progress : null,
      ),
    );
    stop.signal.addEventListener("abort", loading.cancel, { once: true });
    const ignore = onAbort(signal, (reason) => stop.abort(reason));
    try {
      const loaded = await loading.promise;
      if (stop.signal.aborted) await loaded.close();
      stop.signal.throwIfAborted();
      return new Engine(loaded, dispatcher, { backendReason: loaded.info.backendReason, resolved });
    } catch (error) {
      stop.signal.throwIfAborted();
      throw fromNative(error);
    } finally {
      ignore();
    }
  }

  /**
   * Attaches to an engine that another thread of this process has shared: the same weights, KV cache and steps, with
   * separate requests. `close()` of the attached engine ends only its own requests. When the owner closes the engine,
   * they end with CLOSED as well.
   *
   * @throws GptOssError INVALID_ARGUMENT for an invalid handle, CLOSED when the owner has closed its engine.
   *
   * @example
   * ```ts
   * // in a worker whose workerData is engine.share() of the main thread
   * const engine = Engine.attach(workerData);
   * ```
   */
  static attach(handle: EngineHandle): Engine {
    const { handle: number, backendReason, resolved } = reading("handle", () => ({ ...handle })); // null gives no fields
    const isShared = typeof backendReason === "string" && typeof resolved === "object" && resolved !== null;
    if (!isShared) throw invalidArgument("handle", "what Engine.share() returned", handle);
    checkInteger("handle", number, 0, 2 ** 32 - 1);
    const dispatcher = new Dispatcher();
    const native = nativeCall(() => addon().attachEngine(number, dispatcher.accept));
    return new Engine(native, dispatcher, { backendReason, resolved });
  }

  /**
   * Returns a handle of this engine. Other threads of this process can attach to it until it is closed or collected.
   *
   * @throws GptOssError CLOSED
   * @example
   * ```ts
   * new Worker(file, { workerData: engine.share() });
   * ```
   */
  share(): EngineHandle {
    this.#refuseClosed();
    const { backendReason, resolved } = this.info;
    return { handle: nativeCall(() => this.#native.share()), backendReason, resolved };
  }

  /**
   * The tokenizer of every gpt-oss model, o200k_harmony.
   *
   * @example
   * ```ts
   * engine.tokenizer.count("How many tokens?");
   * ```
   */
  get tokenizer(): Tokenizer {
    return tokenizer;
  }

  /**
   * Returns counters and times since the engine was loaded.
   * @example
   * ```ts
   * const { running, waiting, firstTokenMilliseconds } = engine.stats();
   * ```
   */
  stats(): EngineStats {
    return this.#native.stats();
  }

  /**
   * Returns the number of bytes that one decode step of one sequence must read. The memory bandwidth divided by this
   * number bounds the tokens per second.
   *
   * @param context tokens in the KV cache of the sequence
   * @throws GptOssError INVALID_ARGUMENT
   * @example
   * ```ts
   * const most = bytesPerSecond / engine.bytesPerToken(1000);
   * ```
   */
  bytesPerToken(context: number): number {
    return this.#native.bytesPerToken(checkInteger("context", context, 0, 2 ** 31 - 1));
  }

  /**
   * Continues a prompt: text, encoded as it is, or token ids.
   *
   * Text is encoded synchronously, up to the context length. This takes some milliseconds for words, and seconds for
   * megabytes of letters without a break. A service with other clients should encode on another thread: `await
   * tokenizer.encodeAsync(text)`.
   *
   * @throws GptOssError INVALID_ARGUMENT, CONTEXT_OVERFLOW, QUEUE_FULL or CLOSED at once, and the reason of a signal
   * that
   *   is already aborted. Later failures arrive through the Generation. For a schema or pattern of the constraint that
   *   is
   *   not supported, `accepted` and `result` reject with INVALID_ARGUMENT or UNSUPPORTED.
   *
   * @example
   * ```ts
   * const run = engine.generate("Once upon a time", { maxTokens: 50, seed: 7 });
   * for await (const { text } of run) process.stdout.write(text);
   * const { finishReason, usage } = await run.result;
   * ```
   */
  generate(prompt: string | ArrayLike<number>, options: GenerateOptions = {}): Generation {
    const tokens = promptTokens(prompt, this.info.limits.contextLength);
    const { request: asked, logitsProcessor, signal } = nativeRequestOptions(options, modelTraits(this.info.model));
    throwIfAborted(signal);
    const request = { id: ++lastId, prompt: tokens, ...asked, logitsLast: 0 };
    const run = new Generation(this.#native, request, logitsProcessor);
    const ignore = onAbort(signal, (reason) => run.abort(reason));
    try {
      this.#submit(request, run);
    } catch (error) {
      ignore();
      throw error;
    }
    if (channels.request.hasSubscribers) {
      const { id, n, maxTokens, priority } = request;
      const message: RequestMessage = { engine: this, id, promptTokens: tokens.length, n, maxTokens, priority };
      channels.request.publish(message);
    }
    run.result.then(ignore, ignore);
    return run;
  }

  /**
   * Answers a conversation in the harmony format of the model's training. A constraint enforces the format on a model
   * with the full vocabulary. New parts of the conversation are encoded synchronously, like the text of `generate`,
   * unless `prepareChat` has encoded them before.
   *
   * @throws GptOssError and reasons as `generate` does, at once; later failures arrive through the ChatRun
   *
   * @example
   * ```ts
   * const run = engine.chat([{ role: "user", content: "Why is the sky blue?" }], { reasoningEffort: "low" });
   * for await (const event of run) {
   *   if (event.type === "delta" && event.channel === "final") process.stdout.write(event.text);
   * }
   * const { reasoning, usage } = await run.result;
   * ```
   */
  chat(messages: readonly ChatMessage[], options: ChatOptions = {}): ChatRun {
    return startChat(this, messages, options);
  }

  /**
   * Encodes a conversation on another thread and caches the tokens for a later `chat` with the same arguments. Use it
   * in a service where one client's document must not delay the others.
   *
   * @throws GptOssError INVALID_ARGUMENT or CONTEXT_OVERFLOW, as `chat` would; the reason of an abort of `signal`
   *
   * @example
   * ```ts
   * await engine.prepareChat(messages, options);
   * const run = engine.chat(messages, options); // encodes nothing long
   * ```
   */
  async prepareChat(messages: readonly ChatMessage[], options: ChatOptions = {}): Promise<void> {
    await prepareChat(messages, options, this.info.limits.contextLength);
  }

  /**
   * Computes the logits of the model at the last `last` positions of `tokens` (default: the last one).
   *
   * @returns row-major [last, vocab]
   *
   * @example
   * ```ts
   * const row = await engine.logits(engine.tokenizer.encode("2 + 2 ="));
   * const likeliest = row.indexOf(row.reduce((most, logit) => Math.max(most, logit)));
   * ```
   */
  async logits(tokens: ArrayLike<number>, options: LogitsOptions = {}): Promise<Float32Array> {
    const { last: asked, ...rest } = readOptions("logits", options, new Set(["last", "adapter", "signal"]));
    const { contextLength } = this.info.limits;
    const prompt = promptIds("tokens", tokens, contextLength);
    if (typeof prompt === "number") throw contextOverflow(contextLength, prompt, "tokens");
    const last = optionalInteger("last", asked, 1, 1, Math.max(1, prompt.length));
    const bytes = last * this.info.model.vocab * 4;
    if (bytes > 2 ** 31) {
      const message = `The logits of ${last} positions take ${bytes} bytes; at most 2 GiB can be asked for at once`;
      throw new GptOssError("INVALID_ARGUMENT", message, { field: "last" });
    }
    let logits: Float32Array = new Float32Array();
    await this.#evaluate({ prompt, logitsLast: last }, rest, (event) => {
      if (event.kind === "logits") logits = event.logits;
    });
    return logits;
  }

  /**
   * Computes the log probability of each token of a prompt, and the likeliest tokens at its place, in chunks. The prompt
   * is computed anew, without the prefix cache. A later `generate` with the same `cacheSalt` finds it there.
   *
   * @throws GptOssError INVALID_ARGUMENT, CONTEXT_OVERFLOW, QUEUE_FULL or CLOSED; the reason of an abort
   *
   * @example
   * ```ts
   * const logprobs = await engine.promptLogprobs("The capital of France is Paris", { logprobs: 5 });
   * for (const entry of logprobs) if (entry !== null) console.log(entry.token, entry.logprob, entry.top);
   * ```
   */
  async promptLogprobs(
    prompt: string | ArrayLike<number>,
    options: PromptLogprobsOptions = {},
  ): Promise<PromptLogprobs> {
    const given = readOptions("promptLogprobs", options, promptLogprobsNames, "PromptLogprobsOptions");
    const tokens = promptTokens(prompt, this.info.limits.contextLength);
    const made = new PromptLogprobs(tokens);
    const asked = { prompt: tokens, logitsLast: Math.max(1, tokens.length), scored: true };
    await this.#evaluate(asked, given, (event) => {
      if (event.kind === "scores") made.accept(event);
    });
    return made;
  }

  /**
   * Reads a LoRA adapter while requests run. Requests can then choose it by its name, on every engine that is attached
   * to this one. Its factors take 2 bytes each.
   *
   * @param name 1 to 64 letters, digits, dots, hyphens and underscores
   * @param path the folder with `adapter_config.json` and `adapter_model.safetensors`, or its repository in the Hugging
   *   Face cache, such as `"owner/name"`
   * @throws GptOssError MODEL_NOT_FOUND, MODEL_FORMAT, MODEL_SHAPE or UNSUPPORTED for an adapter that does not fit;
   *   INVALID_ARGUMENT for a name that is taken; OUT_OF_MEMORY when the engine has left no room for it; CLOSED, also when
   *   the engine is closed meanwhile
   * @example
   * ```ts
   * await engine.loadAdapter("support", "/models/support-adapter");
   * const run = engine.chat(messages, { adapter: "support" });
   * ```
   */
  async loadAdapter(name: string, path: string, options: LoadAdapterOptions = {}): Promise<AdapterInfo> {
    const checked = checkAdapterName("name", name);
    const { scale = 1 } = readOptions("loadAdapter", options, new Set(["scale"] as const));
    const adapter = checkAdapter("", checked, { path, scale });
    this.#refuseClosed();
    try {
      const info = await this.#native.loadAdapter(await adapterWithPath(adapter));
      if (this.#closing !== undefined) this.#forgetAdapter(name);
      this.#refuseClosed();
      return info;
    } catch (error) {
      throw fromNative(error);
    }
  }

  /**
   * Forgets an adapter. New requests cannot choose it any more. Those that have chosen it keep it until they end; its
   * memory is freed with the last one.
   *
   * @throws GptOssError INVALID_ARGUMENT for a name that is not loaded, CLOSED
   * @example
   * ```ts
   * engine.unloadAdapter("support");
   * ```
   */
  unloadAdapter(name: string): void {
    this.#refuseClosed();
    nativeCall(() => this.#native.unloadAdapter(checkAdapterName("name", name)));
  }

  /**
   * Returns the adapters that requests can choose, sorted by name. `engine.info.mergedAdapters` has those that are part
   * of the weights.
   *
   * @example
   * ```ts
   * const names = engine.adapters().map(({ name }) => name);
   * ```
   */
  adapters(): AdapterInfo[] {
    return this.#native.adapters();
  }

  /**
   * Ends every request with CLOSED, including those of attached engines, waits for the engine's thread and frees
   * everything. It may be called again. An attached engine ends only its own requests.
   *
   * @example
   * ```ts
   * await engine.close();
   * ```
   */
  close(): Promise<void> {
    this.#closing ??= this.#native.close().then(() => {
      this.#dispatcher.rejectAll(new GptOssError("CLOSED", "The engine was closed"));
    });
    return this.#closing;
  }

  /** The same as `close()`, for `await using`. */
  async [asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Runs a request that has no completion. Resolves at its end. */
  async #evaluate(
    asked: Pick<NativeRequest, "prompt" | "logitsLast" | "scored">,
    options: GenerateOptions,
    onEvent: (event: NativeEvent) => void,
  ): Promise<void> {
    const generate = { temperature: 0, seed: 0, maxTokens: 1, ...options };
    const { request, signal } = nativeRequestOptions(generate, modelTraits(this.info.model));
    throwIfAborted(signal);
    const id = ++lastId;
    await new Promise<void>((resolve, reject) => {
      let ignore = () => {};
      const accept = (event: NativeEvent) => {
        onEvent(event);
        if (event.kind === "error") reject(fromNative(event.error));
        if (event.kind === "done" || event.kind === "error") ignore();
        if (event.kind === "done") resolve();
      };
      this.#submit({ id, ...request, ...asked }, { accept });
      ignore = onAbort(signal, (reason) => {
        this.#native.cancel(id);
        reject(reason);
      });
    });
  }

  #submit(request: NativeRequest, run: InFlight["run"]): void {
    this.#refuseClosed();
    this.#dispatcher.inFlight.set(request.id, { run, choices: request.n, engine: this });
    try {
      nativeCall(() => this.#native.submit(request));
    } catch (error) {
      this.#dispatcher.inFlight.delete(request.id);
      throw error;
    }
  }

  /** Of an engine that was closed while it loaded the adapter; others that are attached to it have not asked for it. */
  #forgetAdapter(name: string): void {
    try {
      this.#native.unloadAdapter(name);
    } catch {
      // The owner's end has taken it already.
    }
  }

  #refuseClosed(): void {
    if (this.#closing) throw new GptOssError("CLOSED", "The engine is closed");
  }
}

/** The tokens of a prompt that leaves room for one more. @throws GptOssError INVALID_ARGUMENT, CONTEXT_OVERFLOW */
function promptTokens(prompt: string | ArrayLike<number>, contextLength: number): Uint32Array {
  const most = contextLength - 1;
  const tokens = typeof prompt === "string" ? encodeWithin(prompt, most) : promptIds("prompt", prompt, most);
  if (tokens === null || typeof tokens === "number") throw contextOverflow(contextLength, tokens, "prompt");
  return tokens;
}

/**
 * @returns a number when there are more ids than `most`: their count
 * @throws GptOssError INVALID_ARGUMENT unless every element is an integer in [0, 2^32).
 */
function promptIds(field: string, tokens: ArrayLike<number>, most: number): Uint32Array | number {
  return readIds(tokens, most, {
    name: "the prompt",
    field,
    expected: "text or an array of token ids",
    element: (index) => `token ${index} of the prompt`,
    idExpected: "a token id (an integer >= 0)",
    isId: (id) => id >= 0 && id <= 0xffffffff,
  });
}
