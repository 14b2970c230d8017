import { addon } from "../binding.js";
import { fromNative, invalidArgument, nativeCall } from "../errors.js";
import { refuseUnknown } from "../options.js";
import { lastSpecialToken, specialTokens } from "./special-tokens.js";
import { TextStream } from "./text-stream.js";

export interface EncodeOptions {
  /**
   * Special tokens that the text may spell out: `"all"`, or their texts. Default: none, so `<|start|>` in a text is
   * five ordinary tokens, and what a user writes can never become control.
   */
  allowedSpecial?: "all" | readonly string[];
}

/** o200k_harmony, the tokenizer of every gpt-oss model. It needs no model and no file: the addon has its vocabulary. */
export interface Tokenizer {
  readonly name: "o200k_harmony";
  /** Rows of the model's embedding. The tokenizer knows one id more, 201088, which the model never produces. */
  readonly vocabSize: 201088;
  /** Text → id of the 1,091 special tokens. */
  readonly specialTokens: Readonly<Record<string, number>>;
  /** Token ids of a text. Lone surrogates are encoded as U+FFFD. */
  encode(text: string, options?: EncodeOptions): Uint32Array;
  /** The same away from the main thread; for texts that take longer than a millisecond, from some 20 KB on. */
  encodeAsync(text: string, options?: EncodeOptions): Promise<Uint32Array>;
  /** `encode(text).length`, without the array. */
  count(text: string): number;
  /** The text of tokens; bytes that are no UTF-8 become U+FFFD. */
  decode(ids: ArrayLike<number>): string;
  /** The bytes of tokens, as they are. */
  decodeBytes(ids: ArrayLike<number>): Uint8Array;
  /** Decodes tokens that arrive one by one. */
  stream(): TextStream;
}

// A byte order mark is text like any other: it has a token of its own.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

export const tokenizer: Tokenizer = Object.freeze({
  name: "o200k_harmony",
  vocabSize: 201088,
  specialTokens,

  encode(text: string, options: EncodeOptions = {}): Uint32Array {
    checkText(text);
    const special = allowedIds(options);
    return nativeCall(() => addon().tokenizerEncode(text, special));
  },

  async encodeAsync(text: string, options: EncodeOptions = {}): Promise<Uint32Array> {
    checkText(text);
    const special = allowedIds(options);
    try {
      return await addon().tokenizerEncodeAsync(text, special);
    } catch (error) {
      throw fromNative(error);
    }
  },

  count(text: string): number {
    checkText(text);
    return nativeCall(() => addon().tokenizerCount(text));
  },

  decode(ids: ArrayLike<number>): string {
    return decoder.decode(decodeBytes(checkIds(ids)));
  },

  decodeBytes(ids: ArrayLike<number>): Uint8Array {
    return decodeBytes(checkIds(ids));
  },

  stream(): TextStream {
    return new TextStream();
  },
} as const);

function decodeBytes(ids: Uint32Array): Uint8Array {
  return nativeCall(() => addon().tokenizerDecode(ids));
}

function checkText(text: string): void {
  if (typeof text !== "string") throw invalidArgument("text", "a string", text);
}

const encodeOptionNames: ReadonlySet<string> = new Set(["allowedSpecial"]);
const everySpecialId = Uint32Array.from(Object.values(specialTokens));

/** The ids that the text may spell out; undefined when there are none. */
function allowedIds(options: EncodeOptions): Uint32Array | undefined {
  refuseUnknown("encode", options, encodeOptionNames);
  const { allowedSpecial } = options;
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

/** As the addon takes them; it refuses ids that are too large by itself. */
function checkIds(ids: ArrayLike<number>): Uint32Array {
  if (ids instanceof Uint32Array) return ids;
  if (!Array.isArray(ids) && (!ArrayBuffer.isView(ids) || ids instanceof DataView)) {
    throw invalidArgument("ids", "an array or typed array of token ids", ids);
  }
  return Uint32Array.from(ids, (id: unknown, i) => {
    if (Number.isInteger(id) && (id as number) >= 0 && (id as number) <= lastSpecialToken) return id as number;
    throw invalidArgument(`ids[${i}]`, `an integer in [0, ${lastSpecialToken}]`, id);
  });
}
