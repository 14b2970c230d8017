import { types } from "node:util";
import type { NativeRequest } from "../binding.js";
import { checkSignal } from "../common/abort.js";
import { readIds } from "../common/given-values.js";
import { readOptions } from "../common/unknown-option.js";
import { GptOssError, invalidArgument } from "../errors.js";
import { type Constraint, constraintText } from "./constraint.js";
import type { LogitsProcessor } from "./logits-processor.js";
import type { ModelTraits } from "./model-traits.js";
import { optionalInteger } from "./options.js";
import { checkSampling, type SamplingOptions, samplingOptionNames } from "./sampling.js";

/** Options of `Engine.generate`. */
export interface GenerateOptions extends SamplingOptions {
  /** Tokens of the completion, the stop token included. Default: what the context still holds. */
  maxTokens?: number;
  /** The completion does not end at a stop token before it has so many tokens: those are banned until then. Default 0. */
  minTokens?: number;
  /** Ids that end the completion; they are its last token. Default: the model's own end tokens. */
  stopTokens?: ArrayLike<number>;
  /** Texts that end the completion wherever they begin and end within tokens; its `text` stops before them. */
  stop?: string | readonly string[];
  /** Goes on past the model's own end tokens; `stopTokens` given here still stop. */
  ignoreEos?: boolean;
  /** Completions of the same prompt, which is computed once. Choice 0 is that of a request with n = 1. Default 1. */
  n?: number;
  /** How many of the likeliest tokens to tell of each position, up to 20. Default 0: none. */
  logprobs?: number;
  /** Added to the logits of these ids, in [-100, 100]; -Infinity bans the token. */
  logitBias?: Readonly<Record<number, number>> | ReadonlyMap<number, number>;
  /** Your own function of the logits and the tokens so far. Default: none. */
  logitsProcessor?: LogitsProcessor;
  /**
   * What the completion must be; each choice by itself. Only tokens that keep to it can be drawn, after penalties, bias
   * and processor, and whatever those and `minTokens` say: where they leave no allowed token a finite logit, the lowest
   * allowed id comes. It ends with `finishReason: "stop"` once it is whole; `"length"` says that `maxTokens` never sufficed,
   * `stop` and `stopTokens` still end it early. `logprob`s stay those of the model alone. It is compiled on a thread of its
   * own while the request waits in the queue. What is not supported is refused with INVALID_ARGUMENT, by name, through
   * `accepted` and `result`; a pattern that leaves too many ways open, with UNSUPPORTED, perhaps after it has begun.
   */
  constraint?: Constraint;
  /**
   * In [-1000, 1000]; requests with a higher one run sooner. It is worth `30 * p / (30 + |p|)` seconds of waiting: about one
   * second each near 0, and never so much that a request would wait for those that came a minute after it. Default 0.
   */
  priority?: number;
  /**
   * Who asks, by any name. Tenants take turns: the one with the fewest running sequences starts next. A full queue still takes
   * a request of a tenant that has fewer there than another one, and the newest of that one rejects with QUEUE_FULL instead.
   * Default "": one tenant.
   */
  tenant?: string;
  /** Prompts are reused only among requests with the same salt: one per tenant keeps tenants from probing each other. */
  cacheSalt?: string;
  /** When it aborts, iteration and `result` reject with its reason. */
  signal?: AbortSignal;
}

/** What the addon takes too, and checks again. */
const limits = {
  choices: 64,
  stopTokens: 201_089, // as many as there are
  stopStrings: 1024,
  stopBytes: 65_536,
  logprobs: 20,
  bias: 100,
  biasEntries: 4096,
  priority: 1000,
  saltCharacters: 1024,
  tenantCharacters: 1024,
};

export const generateOptionNames: ReadonlySet<string> = new Set([
  ...samplingOptionNames,
  "maxTokens",
  "minTokens",
  "stopTokens",
  "stop",
  "ignoreEos",
  "n",
  "logprobs",
  "logitBias",
  "logitsProcessor",
  "constraint",
  "priority",
  "tenant",
  "cacheSalt",
  "signal",
]);

export interface CheckedRequest {
  request: Omit<NativeRequest, "id" | "prompt" | "logitsLast">;
  logitsProcessor: LogitsProcessor | undefined;
  signal: AbortSignal | undefined;
}

/**
 * Defaults and checks of one request.
 *
 * @throws GptOssError INVALID_ARGUMENT for an unknown name or a value that cannot be meant.
 */
export function nativeRequestOptions(given: GenerateOptions, model: ModelTraits): CheckedRequest {
  const options = readOptions("generate", given, generateOptionNames, "GenerateOptions");
  checkSignal(options.signal);
  const { ignoreEos = false, logitsProcessor, tenant = "", cacheSalt = "" } = options;
  if (typeof ignoreEos !== "boolean") throw invalidArgument("ignoreEos", "true or false", ignoreEos);
  if (logitsProcessor !== undefined && typeof logitsProcessor !== "function") {
    throw invalidArgument("logitsProcessor", "a function", logitsProcessor);
  }
  checkShortText("tenant", tenant, limits.tenantCharacters);
  checkShortText("cacheSalt", cacheSalt, limits.saltCharacters);
  const maxTokens = optionalInteger("maxTokens", options.maxTokens, 2 ** 31 - 1, 1, 2 ** 31 - 1);
  const ownEnds = Uint32Array.from(ignoreEos ? [] : model.stopTokens);
  return {
    request: {
      n: optionalInteger("n", options.n, 1, 1, limits.choices),
      maxTokens,
      minTokens: optionalInteger("minTokens", options.minTokens, 0, 0, maxTokens),
      stopTokens: options.stopTokens === undefined ? ownEnds : checkStopTokens(options.stopTokens),
      stop: options.stop === undefined ? [] : checkStop(options.stop),
      sampling: { ...checkSampling(options), maskReserved: model.maskReserved },
      bias: checkLogitBias(options.logitBias === undefined ? {} : options.logitBias, model.vocab),
      topLogprobs: optionalInteger("logprobs", options.logprobs, 0, 0, limits.logprobs),
      priority: optionalInteger("priority", options.priority, 0, -limits.priority, limits.priority),
      tenant,
      cacheSalt,
      processed: logitsProcessor !== undefined,
      constraint: options.constraint === undefined ? null : constraintText(options.constraint),
    },
    logitsProcessor,
    signal: options.signal,
  };
}

function tooMuch(name: string, received: number, most: number, what: string): GptOssError {
  const message = `Expected at most ${most} ${what} for ${name} but received ${received}`;
  return new GptOssError("INVALID_ARGUMENT", message, { field: name });
}

/** Lone surrogates have no UTF-8: two texts that differ in them only would become one in the addon. */
function checkText(name: string, value: unknown): asserts value is string {
  if (typeof value !== "string" || /\p{Surrogate}/u.test(value)) throw invalidArgument(name, "well-formed text", value);
}

function checkShortText(name: string, value: unknown, most: number): void {
  checkText(name, value);
  if (value.length > most) throw tooMuch(name, value.length, most, "characters");
}

function checkStopTokens(given: ArrayLike<number>): Uint32Array {
  const ids = readIds(given, limits.stopTokens, {
    name: "stopTokens",
    field: "stopTokens",
    expected: "an array of token ids",
    element: (index) => `stopTokens[${index}]`,
    idExpected: "a token id",
    isId: (id) => id >= 0 && id < 2 ** 31,
  });
  if (typeof ids === "number") throw tooMuch("stopTokens", ids, limits.stopTokens, "ids");
  return ids;
}

/** @param stop as `readOptions` gives it */
export function checkStop(stop: string | readonly string[]): string[] {
  const strings: unknown = typeof stop === "string" ? [stop] : stop;
  if (!Array.isArray(strings)) throw invalidArgument("stop", "a text or an array of texts", stop);
  if (strings.length > limits.stopStrings) throw tooMuch("stop", strings.length, limits.stopStrings, "texts");
  let bytes = 0;
  for (let i = 0; i < strings.length; i++) {
    const name = strings === stop ? `stop[${i}]` : "stop";
    checkText(name, strings[i]);
    if (strings[i] === "") throw invalidArgument(name, "a text that is not empty", "");
    bytes += Buffer.byteLength(strings[i]);
  }
  if (bytes > limits.stopBytes) throw tooMuch("stop", bytes, limits.stopBytes, "bytes of UTF-8 together");
  return strings as string[];
}

function checkLogitBias(bias: NonNullable<GenerateOptions["logitBias"]>, vocab: number): NativeRequest["bias"] {
  const isObject = Object.prototype.toString.call(bias) === "[object Object]";
  if (!types.isMap(bias) && !isObject) {
    throw invalidArgument("logitBias", "an object or a Map from token ids to numbers", bias);
  }
  const entries: [unknown, unknown][] = types.isMap(bias)
    ? [...bias]
    : Object.entries(bias).map(([key, value]) => [/^(0|[1-9]\d*)$/.test(key) ? Number(key) : key, value]);
  if (entries.length > limits.biasEntries) throw tooMuch("logitBias", entries.length, limits.biasEntries, "entries");
  for (const [id, value] of entries) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= vocab) {
      throw invalidArgument("an id of logitBias", `a token id below ${vocab}`, id, "logitBias");
    }
    const isAllowed =
      typeof value === "number" && (Math.abs(value) <= limits.bias || value === Number.NEGATIVE_INFINITY);
    if (!isAllowed) {
      throw invalidArgument(`logitBias[${id}]`, `a number in [-${limits.bias}, ${limits.bias}], or -Infinity,`, value);
    }
  }
  return {
    tokens: Uint32Array.from(entries, ([id]) => id as number),
    values: Float32Array.from(entries, ([, value]) => value as number),
  };
}
