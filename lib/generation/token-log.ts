import type { TokenLogprob } from "../binding.js";
import type { ChoiceEnd, GeneratedToken } from "./results.js";

/** Tokens of one chunk: what is let go goes in chunks, and a short answer takes one. */
const chunkTokens = 64;

interface Chunk {
  texts: string[];
  choices: Uint8Array;
  /** How many likeliest tokens were told of each. */
  tops: Uint8Array;
  /** Of each position its token, then the likeliest ones. */
  tokens: Uint32Array;
  logprobs: Float32Array;
}

/**
 * Generated tokens in little memory: with twenty likeliest ones each takes 200 bytes, where its objects take 1,700. The
 * objects are made for who reads them. The engine's log probabilities are float32.
 */
export class TokenLog {
  readonly #width: number;
  readonly #chunks: Chunk[] = [];
  /** Chunks that are gone. */
  #gone = 0;
  #length = 0;
  readonly #ends = new Map<number, ChoiceEnd>();

  /** @param topLogprobs how many likeliest tokens a position may have */
  constructor(topLogprobs: number) {
    this.#width = topLogprobs + 1;
  }

  /** All that ever came, those that are let go too. */
  get length(): number {
    return this.#length;
  }

  /** Bytes, about, of what is kept. */
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

  /** Of those that are kept. */
  slice(from: number, to: number): GeneratedToken[] {
    const items: GeneratedToken[] = [];
    const end = Math.min(to, this.#length);
    for (let at = Math.max(from, this.#gone * chunkTokens); at < end; at++) items.push(this.#at(at));
    return items;
  }

  /** A token that is kept gets more text, and perhaps is the last one. */
  amend(at: number, text: string, last: ChoiceEnd | undefined): void {
    const chunk = this.#chunks[Math.floor(at / chunkTokens) - this.#gone];
    if (chunk === undefined) return;
    chunk.texts[at % chunkTokens] += text;
    if (last !== undefined) this.#ends.set(at, last);
  }

  /** Nobody reads those before `before` any more. */
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
    choices: new Uint8Array(chunkTokens), // of 64 at most
    tops: new Uint8Array(chunkTokens), // of 20 at most
    tokens: new Uint32Array(chunkTokens * width),
    logprobs: new Float32Array(chunkTokens * width),
  };
}
