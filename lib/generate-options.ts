import type { NativeSamplingParams } from "./binding.js";
import { invalidArgument } from "./errors.js";
import { checkSignal, onlyBuilt, optionalInteger, refuseUnknown } from "./options.js";
import { checkSampling, type SamplingOptions, samplingOptionNames } from "./sampling.js";

export interface GenerateOptions extends SamplingOptions {
  /** Tokens of the completion, the stop token included. Default: what the context still holds. */
  maxTokens?: number;
  /** Ids that end the completion; they are its last token. Default: the model's own end tokens. */
  stopTokens?: ArrayLike<number>;
  /** Goes on past the model's own end tokens; `stopTokens` given here still stop. */
  ignoreEos?: boolean;
  signal?: AbortSignal;
}

/** Options of the contract that this build takes only with the value that changes nothing. */
const neutral: Record<string, readonly unknown[]> = {
  repetitionPenalty: [1],
  presencePenalty: [0],
  frequencyPenalty: [0],
  minTokens: [0],
  n: [1],
  logprobs: [0],
  priority: [0],
  cacheSalt: [""],
};

export const generateOptionNames: ReadonlySet<string> = new Set([
  ...samplingOptionNames,
  "maxTokens",
  "stopTokens",
  "ignoreEos",
  "signal",
  ...Object.keys(neutral),
]);

/** Defaults and checks of one request; INVALID_ARGUMENT or UNSUPPORTED as `nativeEngineOptions`. */
export function nativeRequestOptions(
  options: GenerateOptions,
  defaultStopTokens: readonly number[],
): {
  maxTokens: number;
  stopTokens: number[];
  sampling: Omit<NativeSamplingParams, "maskReserved">;
  signal: AbortSignal | undefined;
} {
  refuseUnknown("generate", options, generateOptionNames);
  for (const [name, built] of Object.entries(neutral)) {
    const value = (options as Record<string, unknown>)[name];
    onlyBuilt(name, value, built, typeof value === typeof built[0] ? [value] : built);
  }
  checkSignal(options.signal);
  const { ignoreEos = false } = options;
  if (typeof ignoreEos !== "boolean") throw invalidArgument("ignoreEos", "true or false", ignoreEos);
  const given = options.stopTokens === undefined ? undefined : checkStopTokens(options.stopTokens);
  return {
    maxTokens: optionalInteger("maxTokens", options.maxTokens, 2 ** 31 - 1, 1, 2 ** 31 - 1),
    stopTokens: given ?? (ignoreEos ? [] : [...defaultStopTokens]),
    sampling: checkSampling(options),
    signal: options.signal,
  };
}

function checkStopTokens(ids: ArrayLike<number>): number[] {
  if (ids === null || typeof ids !== "object" || typeof ids.length !== "number") {
    throw invalidArgument("stopTokens", "an array of token ids", ids);
  }
  return Array.from(ids, (id, i) => {
    if (!Number.isInteger(id) || id < 0 || id >= 2 ** 31) throw invalidArgument(`stopTokens[${i}]`, "a token id", id);
    return id;
  });
}
