import { types } from "node:util";
import { addon } from "../binding.js";
import { checkSignal } from "../common/abort.js";
import { lengthOf, readArray, readIds, reading } from "../common/given-values.js";
import { readOptions } from "../common/unknown-option.js";
import { GptOssError, invalidArgument, nativeCall } from "../errors.js";
import { encodeAllWithin, encodeWithin } from "./encode-within.js";
import { everySpecialId, lastSpecialToken, specialTokens } from "./special-tokens.js";
import { TextStream } from "./text-stream.js";

/** Options of encoding. */
export interface EncodeOptions {
  /**
   * Special tokens that the text may spell out: `"all"`, or their texts. Default: none, so `<|start|>` in a text
   * becomes five ordinary tokens, and a user's text can never become a control token.
   */
  allowedSpecial?: "all" | readonly string[];
}

/** Options of encoding on other threads. */
export interface EncodeAsyncOptions extends EncodeOptions {
  /** The signal whose abort rejects with its reason at once. The threads stop soon after. */
  signal?: AbortSignal;
}

/** o200k_harmony, the tokenizer of every gpt-oss model. It needs no model and no file: the addon has its vocabulary. */
export interface Tokenizer {
  /** The name of the encoding. */
  readonly name: "o200k_harmony";
  /**
   * The number of rows of the model's embedding. The tokenizer has one id more, 201088, which the model never produces.
   */
  readonly vocabSize: 201088;
  /** Text → id of the 1,091 special tokens. */
  readonly specialTokens: Readonly<Record<string, number>>;
  /**
   * Returns the token ids of a text. Lone surrogates are encoded as U+FFFD.
   *
   * @example
   * ```ts
   * tokenizer.encode("<|start|>", { allowedSpecial: "all" }); // one id
   * ```
   */
  encode(text: string, options?: EncodeOptions): Uint32Array;
  /**
   * Encodes into an existing array. Returns the number of tokens of the text. Where that exceeds the array's length,
   * only the first ones are written.
   *
   * @example
   * ```ts
   * const needed = tokenizer.encodeInto(text, new Uint32Array(1024));
   * ```
   */
  encodeInto(text: string, target: Uint32Array, options?: EncodeOptions): number;
  /**
   * Encodes away from the main thread, on libuv's pool. Texts of less than 8,192 UTF-16 units take less than a
   * millisecond and are encoded at once. Only the copy of the text stays on the main thread, about 1 ms per MB.
   *
   * @example
   * ```ts
   * const ids = await tokenizer.encodeAsync(longText, { signal });
   * ```
   */
  encodeAsync(text: string, options?: EncodeAsyncOptions): Promise<Uint32Array>;
  /**
   * Encodes many texts on up to four threads of the pool, one less than there are cores. It chooses threads by the
   * total size of the texts. Results are in the texts' order.
   *
   * @example
   * ```ts
   * const [first, second] = await tokenizer.encodeBatch([text, other]);
   * ```
   */
  encodeBatch(texts: readonly string[], options?: EncodeAsyncOptions): Promise<Uint32Array[]>;
  /**
   * Returns `encode(text).length` without an array of ids.
   *
   * @example
   * ```ts
   * tokenizer.count("How many tokens?"); // 4
   * ```
   */
  count(text: string): number;
  /**
   * Returns the text of tokens. Bytes that are not UTF-8 become U+FFFD.
   *
   * @example
   * ```ts
   * tokenizer.decode([13225, 2375]); // "Hello world"
   * ```
   */
  decode(ids: ArrayLike<number>): string;
  /**
   * Returns the raw bytes of tokens.
   *
   * @example
   * ```ts
   * const bytes = tokenizer.decodeBytes(ids);
   * ```
   */
  decodeBytes(ids: ArrayLike<number>): Uint8Array;
  /**
   * Returns a decoder for tokens that arrive one by one.
   *
   * @example
   * ```ts
   * const stream = tokenizer.stream();
   * for (const id of ids) process.stdout.write(stream.push(id));
   * process.stdout.write(stream.end());
   * ```
   */
  stream(): TextStream;
}

// A byte order mark is ordinary text: it has a separate token.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * The tokenizer of every gpt-oss model.
 * @example
 * ```ts
 * const ids = tokenizer.encode("Hello world"); // Uint32Array
 * tokenizer.decode(ids); // "Hello world"
 * ```
 */
export const tokenizer: Tokenizer = Object.freeze({
  name: "o200k_harmony",
  vocabSize: 201088,
  specialTokens,

  encode(text: string, options: EncodeOptions = {}): Uint32Array {
    checkText(text);
    const { special } = readEncodeOptions(options, "encode");
    return encodeWithin(text, Number.POSITIVE_INFINITY, special)!;
  },

  encodeInto(text: string, target: Uint32Array, options: EncodeOptions = {}): number {
    checkText(text);
    checkTarget(target);
    const { special } = readEncodeOptions(options, "encodeInto");
    return nativeCall(() => addon().tokenizerEncodeInto(text, target, special));
  },

  async encodeAsync(text: string, options: EncodeAsyncOptions = {}): Promise<Uint32Array> {
    checkText(text);
    const [ids] = await encodeAll([text], options, "encodeAsync");
    return ids!;
  },

  async encodeBatch(texts: readonly string[], options: EncodeAsyncOptions = {}): Promise<Uint32Array[]> {
    const copy = readArray("texts", texts, "an array of strings").map((text, i) => {
      if (typeof text !== "string") throw invalidArgument(`texts[${i}]`, "a string", text);
      return text;
    });
    return encodeAll(copy, options, "encodeBatch");
  },

  count(text: string): number {
    checkText(text);
    return nativeCall(() => addon().tokenizerCount(text));
  },

  decode(ids: ArrayLike<number>): string {
    return textOf(decodeBytes(checkIds(ids)));
  },

  decodeBytes(ids: ArrayLike<number>): Uint8Array {
    return decodeBytes(checkIds(ids));
  },

  stream(): TextStream {
    return new TextStream();
  },
} as const);

async function encodeAll(texts: string[], options: EncodeAsyncOptions, caller: string): Promise<Uint32Array[]> {
  const { special, signal } = readEncodeOptions(options, caller, asyncOptionNames);
  checkSignal(signal);
  // Null means too many tokens, and this call has no limit.
  return (await encodeAllWithin(texts, Number.POSITIVE_INFINITY, { special, signal })) as Uint32Array[];
}

function decodeBytes(ids: Uint32Array): Uint8Array {
  return nativeCall(() => addon().tokenizerDecode(ids));
}

function textOf(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    if ((cause as { code?: unknown }).code !== "ERR_STRING_TOO_LONG") throw cause;
    throw new GptOssError(
      "INVALID_ARGUMENT",
      `The text of these tokens has ${bytes.length} bytes, which is more than a JavaScript string can hold; decodeBytes takes them`,
      { cause, field: "ids" },
    );
  }
}

/** A detached buffer has length 0 and throws only when it is used. */
function checkTarget(target: Uint32Array): void {
  if (!types.isUint32Array(target)) throw invalidArgument("target", "a Uint32Array", target);
  if (lengthOf(target) === 0) reading("target", () => new Uint32Array(target));
}

function checkText(text: string): void {
  if (typeof text !== "string") throw invalidArgument("text", "a string", text);
}

/** The maximum number of ids. In the worst case, their bytes fill the largest array of JavaScript. */
const mostIds = 2 ** 27;

const encodeOptionNames: ReadonlySet<string> = new Set(["allowedSpecial"]);
const asyncOptionNames: ReadonlySet<string> = new Set(["allowedSpecial", "signal"]);

/** `special`: the ids that the text may spell out. Undefined: none. */
function readEncodeOptions(given: EncodeAsyncOptions, caller: string, names = encodeOptionNames) {
  const { allowedSpecial, signal } = readOptions(caller, given, names);
  return { special: allowedIds(allowedSpecial), signal };
}

function allowedIds(allowedSpecial: EncodeOptions["allowedSpecial"]): Uint32Array | undefined {
  if (allowedSpecial === undefined) return undefined;
  if (allowedSpecial === "all") return everySpecialId;
  if (!Array.isArray(allowedSpecial)) {
    throw invalidArgument("allowedSpecial", '"all" or an array of special tokens', allowedSpecial);
  }
  return Uint32Array.from(allowedSpecial, (text: unknown, i) => {
    if (typeof text === "string" && Object.hasOwn(specialTokens, text)) return specialTokens[text]!;
    throw invalidArgument(`allowedSpecial[${i}]`, 'the text of a special token, such as "<|start|>",', text);
  });
}

/** Returns the ids for the addon. For a Uint32Array, the addon refuses ids that are too large. */
function checkIds(given: ArrayLike<number>): Uint32Array {
  const expected = "an array or typed array of token ids";
  if (!reading("ids", () => Array.isArray(given) || types.isTypedArray(given))) {
    throw invalidArgument("ids", expected, given);
  }
  const ids = readIds(given, mostIds, {
    name: "ids",
    field: "ids",
    expected,
    element: (index) => `ids[${index}]`,
    idExpected: `an integer in [0, ${lastSpecialToken}]`,
    isId: (id) => id >= 0 && id <= lastSpecialToken,
  });
  if (typeof ids !== "number") return ids;
  throw new GptOssError("INVALID_ARGUMENT", `Expected at most ${mostIds} ids but received ${ids}`, { field: "ids" });
}
