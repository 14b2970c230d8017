import { addon } from "../binding.js";
import { readOptions } from "../common/unknown-option.js";
import { Dispatcher, Engine } from "../engine.js";
import { nativeCall } from "../errors.js";
import type { GenerateOptions } from "../generation/generate-options.js";
import type { Generation } from "../generation/generation.js";
import { type EngineOptions, readEngineOptions } from "../generation/options.js";
import { type EngineRequest, playing, ScriptedNative, type Scripts } from "./scripted-native.js";

/** Of the engine that replays; the model is a given one. */
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

/** The full vocabulary on one small layer of random weights. */
const model = "synthetic:wide";

/**
 * An engine whose completions are written beforehand, for tests of everything around a model. Beside what is written it
 * is the real engine: scheduler, prefix cache, limits, cancelling, `maxTokens`, stop tokens and strings, log probabilities
 * (of a small random model) are its own. A script that ends without a stop token ends its choice with
 * `finishReason: "stop"`.
 *
 * Constraints are compiled as the real engine does, so what of a schema is not supported is refused. A script in words
 * must keep to the constraint of its request, for the real engine can write nothing else: where it does not, the request
 * fails with INVALID_ARGUMENT, and the message tells where. `tokens` are written as they are.
 *
 * `sampling`, `logitBias`, `logitsProcessor` and `minTokens` have no influence on what is written.
 *
 * @example
 * ```ts
 * const engine = new ScriptedEngine([[think("I must ask."), call("get_weather", { city: "Oslo" })], reply("Sunny.")]);
 * const { toolCalls } = await engine.chat(messages, { tools }).result;
 * console.log(engine.requests[0]?.text);
 * ```
 */
export class ScriptedEngine extends Engine {
  /** What was asked so far, in order; a request that was refused at once is not among them. */
  readonly requests: EngineRequest[];
  readonly #native: ScriptedNative;

  /** @throws GptOssError INVALID_ARGUMENT for a script that cannot be meant */
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
    super(scripted, dispatcher, "a scripted engine: tokens come from its scripts");
    this.#native = scripted;
    this.requests = scripted.requests;
  }

  override generate(prompt: string | ArrayLike<number>, options: GenerateOptions = {}): Generation {
    this.#native.options = options;
    return super.generate(prompt, options);
  }
}
