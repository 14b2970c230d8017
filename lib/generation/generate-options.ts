import { types } from "node:util";
import type { NativeRequest } from "../binding.js";
import { checkSignal } from "../common/abort.js";
import { readIds } from "../common/given-values.js";
import { readOptions } from "../common/unknown-option.js";
import { GptOssError, invalidArgument } from "../errors.js";
import { checkAdapterName } from "./adapters.js";
import { type Constraint, constraintText } from "./constraint.js";
import type { LogitsProcessor } from "./logits-processor.js";
import type { ModelTraits } from "./model-traits.js";
import { optionalInteger } from "./options.js";
import { checkSampling, type SamplingOptions, samplingOptionNames } from "./sampling.js";

/** Options of `Engine.generate`. */
export interface GenerateOptions extends SamplingOptions {
  /** The maximum number of tokens of the completion, stop token included. Default: the rest of the context. */
  maxTokens?: number;
  /** The minimum number of tokens of the completion. Stop tokens are banned until then. Default 0. */
  minTokens?: number;
  /** Ids that end the completion and are its last token. Default: the model's own end tokens. */
  stopTokens?: ArrayLike<number>;
  /** Texts that end the completion, even where they begin or end within a token. Its `text` stops before them. */
  stop?: string | readonly string[];
  /** Continues past the model's own end tokens. The given `stopTokens` still stop the completion. */
  ignoreEos?: boolean;
  /**
   * The number of completions of the prompt, which is computed once. Choice 0 equals that of a request with n = 1.
   * Default 1.
   */
  n?: number;
  /** The number of likeliest tokens to report at each position, up to 20. Default 0: none. */
  logprobs?: number;
  /** Added to the logits of these ids, in [-100, 100]; -Infinity bans the token. */
  logitBias?: Readonly<Record<number, number>> | ReadonlyMap<number, number>;
  /** A function that changes the logits, given the tokens so far. Default: none. */
  logitsProcessor?: LogitsProcessor;
  /**
   * The required form of the completion, for each choice separately. Only tokens that the constraint allows can be
   * drawn. It applies after penalties, bias and processor, and overrides them and `minTokens`: where no allowed token
   * keeps a finite logit, the lowest allowed id is chosen. A text is closed before `maxTokens` cuts it; if the model
   * would have written more, `finishReason` is `"length"`, else `"stop"`. `stop` and `stopTokens` still end the text
   * early. `logprob`s stay those of the unconstrained model. The constraint is compiled on a separate thread while the
   * request waits in the queue. Unsupported parts are refused by name with INVALID_ARGUMENT, through `accepted` and
   * `result`. A pattern with too many open alternatives is refused with UNSUPPORTED, perhaps after generation has begun.
   */
  constraint?: Constraint;
  /**
   * In [-1000, 1000]. Requests with a higher priority run sooner. It is worth `30 * p / (30 + |p|)` seconds of waiting:
   * about one second per unit near 0. The bound keeps a request from waiting for those that arrive a minute after it.
   * Default 0.
   */
  priority?: number;
  /**
   * The name of the client, any text. Tenants take turns: the one with the fewest running sequences starts next. A full
   * queue still accepts a request of a tenant that has fewer waiting requests than another tenant. The newest request
   * of that other tenant then rejects with QUEUE_FULL. Default "": one tenant.
   */
  tenant?: string;
  /**
   * Prompts are reused only among requests with the same salt. One salt per tenant prevents probing between tenants.
   */
  cacheSalt?: string;
  /** The name of a loaded adapter that changes the model for this request. Default: none. */
  adapter?: string;
  /** The signal whose abort makes iteration and `result` reject with its reason. */
  signal?: AbortSignal;
}

/** The same limits as in the addon, which checks them again. */
const limits = {
  choices: 64,
  stopTokens: 201_089, // the size of the vocabulary
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
  "adapter",
  "signal",
]);

export interface CheckedRequest {
  request: Omit<NativeRequest, "id" | "prompt" | "logitsLast">;
  logitsProcessor: LogitsProcessor | undefined;
  signal: AbortSignal | undefined;
}

/**
 * Applies the defaults of one request and checks its options.
 *
 * @throws GptOssError INVALID_ARGUMENT for an unknown name or an invalid value.
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
      adapter: options.adapter === undefined ? "" : checkAdapterName("adapter", options.adapter),
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

/** Lone surrogates have no UTF-8 form: texts that differ only in them would be equal in the addon. */
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
