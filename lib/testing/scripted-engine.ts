import { addon } from "../binding.js";
import { readOptions } from "../common/unknown-option.js";
import { Dispatcher, Engine } from "../engine.js";
import { nativeCall } from "../errors.js";
import type { GenerateOptions } from "../generation/generate-options.js";
import type { Generation } from "../generation/generation.js";
import { type EngineOptions, readEngineOptions } from "../generation/options.js";
import { type EngineRequest, playing, ScriptedNative, type Scripts } from "./scripted-native.js";

/** Options of the scripted engine. Its model is fixed. */
export type ScriptedEngineOptions = Pick<
  EngineOptions,
  "contextLength" | "maxSequences" | "maxQueue" | "kvCache" | "prefixCache" | "threads"
>;

const optionNames: ReadonlySet<string> = new Set([
  "contextLength",
  "maxSequences",
  "maxQueue",
  "kvCache",
  "prefixCache",
  "threads",
] satisfies (keyof ScriptedEngineOptions)[]);

/** A model with the full vocabulary and one small layer of random weights. */
const model = "synthetic:wide";

/**
 * An engine with prepared completions, for tests of all code around a model. Everything else is that of the real
 * engine: scheduler, prefix cache, limits, cancelling, `maxTokens`, stop tokens and strings, and log probabilities (of
 * a small random model). A script that ends without a stop token ends its choice with `finishReason: "stop"`.
 *
 * Constraints are compiled as in the real engine, so unsupported schemas are refused. A script of messages or text must
 * satisfy the constraint of its request, because the real engine cannot write anything else. Otherwise the request
 * fails with INVALID_ARGUMENT, and the message gives the position. `tokens` are written unchecked.
 *
 * `sampling`, `logitBias`, `logitsProcessor` and `minTokens` do not affect the output.
 *
 * @example
 * ```ts
 * const engine = new ScriptedEngine([[think("I must ask."), call("get_weather", { city: "Oslo" })], reply("Sunny.")]);
 * const { toolCalls } = await engine.chat(messages, { tools }).result;
 * console.log(engine.requests[0]?.text);
 * ```
 */
export class ScriptedEngine extends Engine {
  /** All requests so far, in order. A request that was refused at once is not among them. */
  readonly requests: EngineRequest[];
  readonly #native: ScriptedNative;

  /** @throws GptOssError INVALID_ARGUMENT for an invalid script */
  constructor(scripts: Scripts, options: ScriptedEngineOptions = {}) {
    const scriptFor = playing(scripts);
    const given = readOptions("ScriptedEngine", options, optionNames);
    const { native } = readEngineOptions({
      contextLength: 32768,
      threads: 1,
      kvCache: { dtype: "bf16", bytes: "64MiB" },
      ...given,
      backend: "cpu",
    });
    const dispatcher = new Dispatcher();
    const loaded = nativeCall(() => addon().loadEngineNow(model, native, dispatcher.accept));
    const scripted = new ScriptedNative(loaded, scriptFor);
    super(scripted, dispatcher, {
      backendReason: "a scripted engine: tokens come from its scripts",
      resolved: { name: model, path: model, source: "synthetic", details: {}, tried: [] },
    });
    this.#native = scripted;
    this.requests = scripted.requests;
  }

  override generate(prompt: string | ArrayLike<number>, options: GenerateOptions = {}): Generation {
    this.#native.options = options;
    return super.generate(prompt, options);
  }
}
