import type { TokenLogprob } from "../binding.js";
import type { ChoiceEnd, GeneratedToken } from "./results.js";

/** The number of tokens of one chunk. Chunks are freed as a whole, and a short answer needs only one. */
const chunkTokens = 64;

interface Chunk {
  texts: string[];
  choices: Uint8Array;
  /** The number of likeliest tokens of each position. */
  tops: Uint8Array;
  /** For each position its token, then the likeliest ones. */
  tokens: Uint32Array;
  logprobs: Float32Array;
}

/**
 * Stores generated tokens compactly. A token with twenty likeliest ones takes 200 bytes here and 1,700 as objects. The
 * objects are made when they are read. The engine's log probabilities are float32.
 */
export class TokenLog {
  readonly #width: number;
  readonly #chunks: Chunk[] = [];
  /** The number of freed chunks. */
  #gone = 0;
  #length = 0;
  readonly #ends = new Map<number, ChoiceEnd>();

  /** @param topLogprobs the maximum number of likeliest tokens of a position */
  constructor(topLogprobs: number) {
    this.#width = topLogprobs + 1;
  }

  /** The number of all tokens so far, freed ones included. */
  get length(): number {
    return this.#length;
  }

  /** The approximate size of the stored tokens in bytes. */
  get bytes(): number {
    const perToken = 40 + this.#width * 8;
    return this.#chunks.length * chunkTokens * perToken;
  }

  push({ token, text, logprob, top = [], index, last }: GeneratedToken): void {
    const place = this.#length % chunkTokens;
    if (place === 0) this.#chunks.push(emptyChunk(this.#width));
    const { texts, choices, tops, tokens, logprobs } = this.#chunks.at(-1)!;
    texts.push(text);
    choices[place] = index;
    const told = Math.min(top.length, this.#width - 1);
    tops[place] = told;
    const at = place * this.#width;
    tokens[at] = token;
    logprobs[at] = logprob;
    for (let i = 0; i < told; i++) {
      tokens[at + 1 + i] = top[i]!.token;
      logprobs[at + 1 + i] = top[i]!.logprob;
    }
    if (last !== undefined) this.#ends.set(this.#length, last);
    this.#length++;
  }

  /** Returns the tokens of the range that are still stored. */
  slice(from: number, to: number): GeneratedToken[] {
    const items: GeneratedToken[] = [];
    const end = Math.min(to, this.#length);
    for (let at = Math.max(from, this.#gone * chunkTokens); at < end; at++) items.push(this.#at(at));
    return items;
  }

  /** Appends text to a stored token, and marks it as the last one if `last` is given. */
  amend(at: number, text: string, last: ChoiceEnd | undefined): void {
    const chunk = this.#chunks[Math.floor(at / chunkTokens) - this.#gone];
    if (chunk === undefined) return;
    chunk.texts[at % chunkTokens] += text;
    if (last !== undefined) this.#ends.set(at, last);
  }

  /** Frees the tokens before `before`, as far as their chunks are complete. */
  forget(before: number): void {
    const gone = Math.floor(before / chunkTokens);
    if (gone <= this.#gone) return;
    this.#chunks.splice(0, gone - this.#gone);
    this.#gone = gone;
    for (const at of this.#ends.keys()) if (at < gone * chunkTokens) this.#ends.delete(at);
  }

  #at(at: number): GeneratedToken {
    const place = at % chunkTokens;
    const { texts, choices, tops, tokens, logprobs } = this.#chunks[Math.floor(at / chunkTokens) - this.#gone]!;
    const first = place * this.#width;
    const top: TokenLogprob[] = [];
    for (let i = first + 1; i <= first + tops[place]!; i++) top.push({ token: tokens[i]!, logprob: logprobs[i]! });
    const last = this.#ends.get(at);
    return {
      token: tokens[first]!,
      text: texts[place]!,
      logprob: logprobs[first]!,
      index: choices[place]!,
      ...(top.length > 0 && { top }),
      ...(last !== undefined && { last }),
    };
  }
}

function emptyChunk(width: number): Chunk {
  return {
    texts: [],
    choices: new Uint8Array(chunkTokens), // at most 64
    tops: new Uint8Array(chunkTokens), // at most 20
    tokens: new Uint32Array(chunkTokens * width),
    logprobs: new Float32Array(chunkTokens * width),
  };
}
