import { addon, type NativeEngine, type NativeRequest, type NativeScript } from "../binding.js";
import { Dispatcher, Engine } from "../engine.js";
import { invalidArgument, nativeCall } from "../errors.js";
import type { GenerateOptions } from "../generate-options.js";
import type { Generation } from "../generation.js";
import { checkInteger, type EngineOptions, nativeEngineOptions } from "../options.js";
import { refuseUnknown } from "../unknown-option.js";

/** What one request's completion is: the same for each of its choices, or `choices[i]` for choice i. */
export type Script = ({ tokens: ArrayLike<number> } | { choices: readonly ArrayLike<number>[] }) & {
  /** Tokens that arrive together. Default 1. */
  tokensPerStep?: number;
  /** Milliseconds that so many tokens take; the whole engine waits with them. Default 0. */
  stepDelayMs?: number;
};

/** What was asked of a ScriptedEngine. */
export interface EngineRequest {
  promptTokens: Uint32Array;
  options: GenerateOptions;
}

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
 * An engine whose completions are written beforehand, for tests of everything around a model: request k replays script
 * k, and after the last one the first again. Beside what is written it is the real engine: scheduler, prefix cache,
 * limits, cancelling, `maxTokens`, stop tokens and strings, log probabilities (of a small random model) are its own. A
 * script that ends without a stop token ends its choice with `finishReason: "stop"`.
 *
 * `sampling`, `logitBias`, `minTokens` and `constraint` have no influence on what is written.
 */
export class ScriptedEngine extends Engine {
  /** What was asked so far, in order. */
  readonly requests: EngineRequest[] = [];

  /** @throws GptOssError INVALID_ARGUMENT for a script that cannot be meant */
  constructor(scripts: readonly Script[], options: ScriptedEngineOptions = {}) {
    const checked = checkScripts(scripts);
    refuseUnknown("ScriptedEngine", options, optionNames);
    const native = nativeEngineOptions({
      contextLength: 32768,
      threads: 1,
      kvCache: { dtype: "bf16", bytes: "64MiB" },
      ...options,
      backend: "cpu",
    });
    const dispatcher = new Dispatcher();
    const loaded = nativeCall(() => addon().loadEngineNow(model, native, dispatcher.accept));
    super(new ScriptedNative(loaded, checked), dispatcher, "a scripted engine: tokens come from its scripts");
  }

  /** As `Engine.generate`, with the next script for a model. */
  override generate(prompt: string | ArrayLike<number>, options: GenerateOptions = {}): Generation {
    const { constraint: _, ...rest } = options; // a script may be anything, also what a constraint forbids
    const run = super.generate(prompt, rest);
    this.requests.push({ promptTokens: run.promptTokens, options });
    return run;
  }
}

/** Adds to each request for a completion the script that is its turn. */
class ScriptedNative implements NativeEngine {
  readonly info: NativeEngine["info"];
  readonly #native: NativeEngine;
  readonly #scripts: readonly NativeScript[];
  #submitted = 0;

  constructor(native: NativeEngine, scripts: readonly NativeScript[]) {
    this.info = native.info;
    this.#native = native;
    this.#scripts = scripts;
  }

  submit(request: NativeRequest): void {
    if (request.logitsLast > 0) {
      this.#native.submit(request);
      return;
    }
    this.#native.submit({ ...request, script: this.#scripts[this.#submitted % this.#scripts.length]! });
    this.#submitted++; // a request that was refused has used no script
  }

  cancel(id: number, index?: number): void {
    this.#native.cancel(id, index);
  }

  pause(id: number, index: number, paused: boolean): void {
    this.#native.pause(id, index, paused);
  }

  supplyLogits(id: number, index: number, logits: Float32Array): void {
    this.#native.supplyLogits(id, index, logits);
  }

  stats(): ReturnType<NativeEngine["stats"]> {
    return this.#native.stats();
  }

  bytesPerToken(context: number): number {
    return this.#native.bytesPerToken(context);
  }

  share(): number {
    return this.#native.share();
  }

  close(): Promise<void> {
    return this.#native.close();
  }
}

function checkScripts(scripts: readonly Script[]): NativeScript[] {
  if (!Array.isArray(scripts) || scripts.length === 0) throw invalidArgument("scripts", "at least one script", scripts);
  return scripts.map((script: Script, index) => {
    const name = `scripts[${index}]`;
    refuseUnknown(name, script, new Set(["tokens", "choices", "tokensPerStep", "stepDelayMs"]));
    const choices = "choices" in script ? script.choices : [script.tokens];
    if (!Array.isArray(choices) || choices.length === 0) {
      throw invalidArgument(`${name}.choices`, "at least one array of token ids", choices);
    }
    const { tokensPerStep = 1, stepDelayMs = 0 } = script;
    if (!(typeof stepDelayMs === "number" && stepDelayMs >= 0 && stepDelayMs <= 60_000)) {
      throw invalidArgument(`${name}.stepDelayMs`, "milliseconds in [0, 60000]", stepDelayMs);
    }
    return {
      choices: choices.map((tokens: unknown) => checkTokens(tokens, name)),
      tokensPerStep: checkInteger(`${name}.tokensPerStep`, tokensPerStep, 1, 65_536),
      stepDelayMs,
    };
  });
}

function checkTokens(tokens: unknown, name: string): Uint32Array {
  const list = tokens as ArrayLike<number> | null | undefined;
  if (list === null || typeof list !== "object" || !(list.length > 0)) {
    throw invalidArgument(`the tokens of ${name}`, "at least one token id", tokens);
  }
  const known = 201_088; // what the model has rows for
  return Uint32Array.from(list, (token) => {
    if (!Number.isInteger(token) || token < 0 || token >= known) {
      throw invalidArgument(`a token of ${name}`, `a token id below ${known}`, token);
    }
    return token;
  });
}
