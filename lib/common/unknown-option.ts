import { GptOssError, invalidArgument } from "../errors.js";
import { plainCopy, reading } from "./given-values.js";

/** The error for an unknown option. It suggests the intended name where there is a likely one. */

/** Our names for options of other libraries and APIs. Names that differ only in spelling need no entry. */
const otherNames: Readonly<Record<string, string>> = {
  maxcompletiontokens: "maxTokens",
  maxoutputtokens: "maxTokens",
  maxnewtokens: "maxTokens",
  maxlength: "maxTokens",
  numpredict: "maxTokens",
  stopsequences: "stop",
  stopstrings: "stop",
  stoptokenids: "stopTokens",
  toplogprobs: "logprobs",
  repeatpenalty: "repetitionPenalty",
  abortsignal: "signal",
  system: "developerInstructions",
  systemprompt: "developerInstructions",
  instructions: "developerInstructions",
  functions: "tools",
  functioncall: "toolChoice",
  format: "responseFormat",
  outputformat: "responseFormat",
  thinkingbudget: "reasoningBudget",
  effort: "reasoningEffort",
  maxmodellen: "contextLength",
  contextsize: "contextLength",
  nctx: "contextLength",
  numctx: "contextLength",
  maxnumseqs: "maxSequences",
  maxnumbatchedtokens: "maxBatchTokens",
  numthreads: "threads",
  nthreads: "threads",
  kvcachedtype: "kvCache",
  device: "backend",
  apikey: "apiKeys",
  model: "modelName",
  servedmodelname: "modelName",
};

/** Options without an equivalent here, with the alternative. For calls that generate an answer. */
const instead: Readonly<Record<string, string>> = {
  stream: "a run streams when it is iterated with `for await`, and `result` is the whole",
  streamoptions: "`usage` is always told",
  paralleltoolcalls: "gpt-oss makes one call in a turn",
  model: "the model is the one that the engine has loaded",
  n: "a chat has one answer: ask again for another one, or use generate",
  stoptokens: "a chat ends where the turn of the assistant ends",
  stoptokenids: "a chat ends where the turn of the assistant ends",
  ignoreeos: "a chat ends where the turn of the assistant ends",
  messages: "messages are the first argument",
  prompt: "the prompt is the first argument",
};

/** Lists of at most this many names are shown completely. */
const shortList = 8;

/**
 * Reads each option of a call once. Undefined ones are absent. Arrays and plain objects are copied, except `signal`,
 * which must stay the caller's object.
 *
 * @param type the exported type that documents them, for long lists
 * @throws GptOssError INVALID_ARGUMENT for a value that is not an object or cannot be read, and for an unknown name
 */
export function readOptions<T extends object>(what: string, options: T, names: ReadonlySet<string>, type?: string): T {
  const read = () => {
    refuseUnknown(what, options, names, { type, at: null });
    const copy: Record<string, unknown> = {};
    for (const name of names) {
      const value = (options as Record<string, unknown>)[name];
      if (value !== undefined) copy[name] = name === "signal" ? value : plainCopy(name, value);
    }
    return copy as T;
  };
  return reading(`the options of ${what}`, read, null);
}

/**
 * Refuses unknown names, so that a misspelt option is not silently ignored.
 *
 * @param at the option with `options` as its value; null: they are the options of a call
 * @throws GptOssError INVALID_ARGUMENT for a value that is not an object, and for an unknown name
 */
export function refuseUnknown(
  what: string,
  options: object,
  names: ReadonlySet<string>,
  { type, at = what }: { type?: string | undefined; at?: string | null } = {},
): void {
  if (options === null || typeof options !== "object" || Array.isArray(options)) {
    throw invalidArgument(`the options of ${what}`, "an object", options, at);
  }
  for (const name of Object.keys(options)) {
    if (names.has(name)) continue;
    const hint = hintFor(name, names) ?? listOf(names, type);
    const message = `Unknown option ${JSON.stringify(name)} for ${what}; ${hint}`;
    throw new GptOssError("INVALID_ARGUMENT", message, { field: at === null ? name : `${at}.${name}` });
  }
}

function hintFor(name: string, names: ReadonlySet<string>): string | null {
  const plain = plainName(name);
  const other = Object.hasOwn(otherNames, plain) ? otherNames[plain]! : undefined;
  const here = other !== undefined && names.has(other) ? other : sameName(plain, names);
  if (here !== null) return `it is called "${here}" here`;
  if (names.has("maxTokens") && Object.hasOwn(instead, plain)) return instead[plain]!;
  const near = nearest(name, names);
  return near === null ? null : `did you mean "${near}"?`;
}

function listOf(names: ReadonlySet<string>, type: string | undefined): string {
  if (names.size <= shortList || type === undefined) return `known are ${[...names].join(", ")}`;
  return `the type ${type} documents the ${names.size} that are known`;
}

/** Returns "maxtokens" for `max_tokens`, `max-tokens` and `MaxTokens`. */
function plainName(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
}

function sameName(plain: string, names: ReadonlySet<string>): string | null {
  for (const name of names) {
    if (plainName(name) === plain) return name;
  }
  return null;
}

/** Returns the closest known name. Null when no name is near: a third of its letters may be wrong, three at most. */
export function nearest(name: string, names: Iterable<string>): string | null {
  const plain = plainName(name).slice(0, 64);
  let best: string | null = null;
  let least = Number.POSITIVE_INFINITY;
  for (const known of names) {
    const other = plainName(known);
    const most = Math.min(3, Math.floor(Math.max(plain.length, other.length) / 3));
    const distance = edits(plain, other);
    if (distance > most || distance >= least) continue;
    best = known;
    least = distance;
  }
  return best;
}

/** The number of letters to add, drop, replace, or swap with their neighbour (optimal string alignment). */
function edits(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1];
      let cost = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (isSame ? 0 : 1));
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwapped) cost = Math.min(cost, beforeLast[j - 2]! + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
