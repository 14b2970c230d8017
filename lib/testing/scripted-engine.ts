import { addon, type NativeRequest } from "../binding.js";
import { readOptions } from "../common/unknown-option.js";
import { Dispatcher, Engine } from "../engine.js";
import { invalidArgument, nativeCall } from "../errors.js";
import type { GenerateOptions } from "../generation/generate-options.js";
import type { Generation } from "../generation/generation.js";
import { type EngineOptions, readEngineOptions } from "../generation/options.js";
import type { Message } from "../harmony/message.js";
import { parseMessagesFromCompletionTokens } from "../harmony/parser.js";
import { openingOf } from "../harmony/render.js";
import { tokenizer } from "../tokenizer/tokenizer.js";
import { nativeScript, type Script } from "./script.js";

/** What was asked of a ScriptedEngine, by `generate`, by `chat` or through a server. */
export class EngineRequest {
  readonly promptTokens: Uint32Array;
  readonly options: GenerateOptions;
  /** How many requests the engine took before this one. */
  readonly index: number;

  constructor(index: number, promptTokens: Uint32Array, options: GenerateOptions) {
    this.index = index;
    this.promptTokens = promptTokens;
    this.options = options;
  }

  /** The prompt, its control tokens spelled out. */
  get text(): string {
    return tokenizer.decode(this.promptTokens);
  }

  /** The prompt as the conversation that the model reads, system and developer messages as texts; null when it is none. */
  get messages(): Message[] | null {
    const opening = openingOf("assistant");
    const end = this.promptTokens.length - opening.length;
    const isOpen = opening.every((token, i) => this.promptTokens[end + i] === token);
    try {
      return parseMessagesFromCompletionTokens(isOpen ? this.promptTokens.subarray(0, end) : this.promptTokens);
    } catch {
      return null;
    }
  }
}

/** The scripts of requests in order, after the last one the first again; or a function that writes one for a request. */
export type Scripts = readonly Script[] | ((request: EngineRequest) => Script);

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
 */
export class ScriptedEngine extends Engine {
  /** What was asked so far, in order; a request that was refused at once is not among them. */
  readonly requests: EngineRequest[] = [];
  readonly #scriptFor: (request: EngineRequest) => NonNullable<NativeRequest["script"]>;

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
    super(loaded, dispatcher, "a scripted engine: tokens come from its scripts");
    this.#scriptFor = scriptFor;
  }

  protected override send(request: NativeRequest, options: GenerateOptions, run: Generation): void {
    const asked = new EngineRequest(this.requests.length, request.prompt, options);
    super.send({ ...request, script: this.#scriptFor(asked) }, options, run);
    this.requests.push(asked); // a request that was refused has used no script
  }
}

function playing(scripts: Scripts): (request: EngineRequest) => NonNullable<NativeRequest["script"]> {
  if (typeof scripts === "function")
    return (request) => nativeScript(scripts(request), `the script of request ${request.index}`);
  if (!Array.isArray(scripts) || scripts.length === 0) throw invalidArgument("scripts", "at least one script", scripts);
  const checked = scripts.map((script: Script, index) => nativeScript(script, `scripts[${index}]`));
  return ({ index }) => checked[index % checked.length]!;
}
