import type { NativeSamplingContext, NativeSamplingParams, TokenLogprob } from "../binding.js";
import { invalidArgument } from "../errors.js";
import { optionalInteger } from "./options.js";

/**
 * The choice of one token from the logits of a position. This file is the definition: the options, their checks, and a
 * slow and simple reference sampler. `kernels/cpu/sample.cpp` implements it; a test checks that both choose the same
 * tokens.
 *
 * 1. `repetitionPenalty` r over the tokens of prompt and completion: a logit l > 0 becomes l / r, any other l * r.
 * 2. `presencePenalty` is subtracted from the logits of tokens of the completion, then `frequencyPenalty` times their
 *    count.
 * 3. A token's bias is added; -Infinity bans it.
 * 4. Excluded are logits that are not finite (NaN, -Infinity; +Infinity counts as the largest float32). With
 *    `maskReserved`, the reserved ids of o200k_harmony are excluded too: they have rows in the model and no meaning.
 * 5. `temperature` 0 takes the highest logit; among equals the lowest id. Otherwise the weight of a token is
 *    exp((logit - highest) / temperature).
 * 6. `topK` > 0 keeps the k highest logits; among equals the lower ids.
 * 7. `topP` < 1 sorts the kept tokens in descending order (among equals the lower id first). It keeps the shortest
 *    prefix whose weight is at least topP of their total, and at least one token.
 * 8. `minP` keeps those of them whose weight is at least minP of the highest.
 * 9. u in [0, 1) comes from Philox4x32-10. Its key is the seed. Its counter is the index of the token within the
 *    completion and the number of the choice (among n completions of one prompt). A draw depends on nothing else. The
 *    first kept id, in ascending order, at which the running sum of weights exceeds u times their total is taken.
 *
 * Log probabilities are those of the model: log softmax over the finite logits before all of these steps. `top` are the
 * most probable tokens by this measure, most probable first, among equals the lower id first. With `maskReserved` they
 * exclude reserved ids.
 *
 * Logits are float32: every operation of steps 1 to 3 is rounded to float32. Weights and sums are float64, summed by
 * ascending id; parameters are rounded to float32 first, as the addon takes them. V8's exp and the C library's may
 * differ in the last bit, and a GPU sums in groups. So the addon can choose differently only where u or topP is within
 * about 1e-15 (relative) of a border between two tokens.
 *
 * When nothing is left (all NaN, all banned), token 0 is taken: the lowest id, which is never masked.
 */

/** Options of the choice of a token from the logits. */
export interface SamplingOptions {
  /** 0 is greedy. 1, the default, is the model's own distribution. At most 100. */
  temperature?: number;
  /** In (0, 1]. Default 1: off. */
  topP?: number;
  /** 0, the default: off. */
  topK?: number;
  /** In [0, 1]. Default 0: off. */
  minP?: number;
  /** In (0, 10]. Above 1, tokens of prompt and completion become less likely. Default 1: off. */
  repetitionPenalty?: number;
  /** In [-2, 2]. Above 0, tokens that the completion already holds become less likely. Default 0: off. */
  presencePenalty?: number;
  /** In [-2, 2]. The same, multiplied by the number of times that the token was generated. Default 0: off. */
  frequencyPenalty?: number;
  /** 64 bits. The same seed and the same request give the same tokens. Default: random. */
  seed?: number | bigint;
}

export type SamplingParams = Omit<NativeSamplingParams, "maskReserved">;

export const samplingOptionNames: readonly string[] = [
  "temperature",
  "topP",
  "topK",
  "minP",
  "repetitionPenalty",
  "presencePenalty",
  "frequencyPenalty",
  "seed",
];

/** Applies defaults and checks. It reads only the sampling options. Throws INVALID_ARGUMENT. */
export function checkSampling(options: SamplingOptions): SamplingParams {
  const { temperature = 1, topP = 1, minP = 0, seed = randomSeed() } = options;
  const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0 } = options;
  if (!isNumberIn(temperature, 0, 100)) throw invalidArgument("temperature", "a number in [0, 100]", temperature);
  const topK = optionalInteger("topK", options.topK, 0, 0, 2 ** 31 - 1);
  if (!isNumberIn(topP, 0, 1) || topP === 0) throw invalidArgument("topP", "a number in (0, 1]", topP);
  if (!isNumberIn(minP, 0, 1)) throw invalidArgument("minP", "a number in [0, 1]", minP);
  if (!isNumberIn(repetitionPenalty, 0, 10) || repetitionPenalty === 0) {
    throw invalidArgument("repetitionPenalty", "a number in (0, 10]", repetitionPenalty);
  }
  if (!isNumberIn(presencePenalty, -2, 2)) {
    throw invalidArgument("presencePenalty", "a number in [-2, 2]", presencePenalty);
  }
  if (!isNumberIn(frequencyPenalty, -2, 2)) {
    throw invalidArgument("frequencyPenalty", "a number in [-2, 2]", frequencyPenalty);
  }
  return {
    temperature,
    topK,
    topP,
    minP,
    repetitionPenalty,
    presencePenalty,
    frequencyPenalty,
    seed: checkSeed(seed),
  };
}

function isNumberIn(value: unknown, low: number, high: number): value is number {
  return typeof value === "number" && value >= low && value <= high; // false for NaN
}

function checkSeed(seed: unknown): bigint {
  const isInteger = typeof seed === "bigint" || Number.isSafeInteger(seed);
  const value = isInteger ? BigInt(seed as bigint | number) : -1n;
  if (value >= 0n && value < 1n << 64n) return value;
  throw invalidArgument("seed", "an integer in [0, 2^64 - 1], as a bigint from 2^53 on,", seed);
}

/** Uses 53 bits, so that a caller can pass a reported seed back as a number. */
function randomSeed(): bigint {
  return crypto.getRandomValues(new BigUint64Array(1))[0]! >> 11n;
}

/** Executes the definition literally. `position` is the index of the token within the completion. */
export function sampleReference(
  logits: Float32Array,
  params: NativeSamplingParams,
  position: number,
  context: NativeSamplingContext = noContext,
): { token: number; logprob: number; top: TokenLogprob[] } {
  const token = choose(adjusted(logits, params, context), params, position, context.choice);

  const finite = finiteIds(logits);
  const highest = finite.reduce((max, id) => Math.max(max, clamped(logits[id]!)), Number.NEGATIVE_INFINITY);
  const total = finite.reduce((sum, id) => sum + Math.exp(clamped(logits[id]!) - highest), 0);
  const logprob = (id: number) =>
    logits[id]! >= -largest ? clamped(logits[id]!) - highest - Math.log(total) : Number.NEGATIVE_INFINITY;
  const top = byLogit(unmasked(finite, params), logits).slice(0, context.topLogprobs);
  return { token, logprob: logprob(token), top: top.map((id) => ({ token: id, logprob: logprob(id) })) };
}

const noContext: NativeSamplingContext = {
  choice: 0,
  prompt: new Uint32Array(),
  completion: new Uint32Array(),
  bias: { tokens: new Uint32Array(), values: new Float32Array() },
  topLogprobs: 0,
};

const largest = Math.fround(3.4028234663852886e38);

function clamped(logit: number): number {
  return Math.min(logit, largest);
}

function finiteIds(logits: Float32Array): number[] {
  return Array.from(logits.keys()).filter((id) => logits[id]! >= -largest);
}

function unmasked(ids: readonly number[], params: NativeSamplingParams): readonly number[] {
  return params.maskReserved ? ids.filter((id) => !isReserved(id)) : ids;
}

/** Sorts by logit, highest first, among equals the lower id first. */
function byLogit(ids: readonly number[], logits: Float32Array): number[] {
  return [...ids].sort((a, b) => clamped(logits[b]!) - clamped(logits[a]!) || a - b);
}

/** Returns the logits after penalties and bias. Storing in a Float32Array rounds each step. */
function adjusted(raw: Float32Array, params: NativeSamplingParams, context: NativeSamplingContext): Float32Array {
  const logits = Float32Array.from(raw);
  const repetition = Math.fround(params.repetitionPenalty);
  const presence = Math.fround(params.presencePenalty);
  const frequency = Math.fround(params.frequencyPenalty);
  const counts = new Map(Array.from(context.prompt, (id) => [id, 0]));
  for (const id of context.completion) counts.set(id, (counts.get(id) ?? 0) + 1);
  for (const [id, count] of counts) {
    logits[id] = logits[id]! > 0 ? logits[id]! / repetition : logits[id]! * repetition;
    if (count > 0) {
      logits[id] = logits[id]! - presence;
      logits[id] = logits[id]! - Math.fround(frequency * count);
    }
  }
  context.bias.tokens.forEach((id, i) => {
    logits[id] = logits[id]! + context.bias.values[i]!;
  });
  return logits;
}

function choose(logits: Float32Array, params: NativeSamplingParams, position: number, choice: number): number {
  const temperature = Math.fround(params.temperature);
  const topP = Math.fround(params.topP);
  const minP = Math.fround(params.minP);
  const descending = byLogit(unmasked(finiteIds(logits), params), logits);
  const best = descending[0];
  if (best === undefined) return 0;
  if (temperature === 0) return best;
  const weight = (id: number) => Math.exp((clamped(logits[id]!) - clamped(logits[best]!)) / temperature);
  const total = (ids: readonly number[]) => ascending(ids).reduce((sum, id) => sum + weight(id), 0);

  let kept = params.topK > 0 ? descending.slice(0, params.topK) : descending;
  if (topP < 1) {
    const wanted = topP * total(kept);
    const last = firstSum(kept, weight, (sum) => sum >= wanted);
    if (last >= 0) kept = kept.slice(0, last + 1);
  }
  kept = ascending(kept.filter((id) => weight(id) >= minP)); // the best token weighs 1

  const target = uniform(params.seed, position, choice) * total(kept);
  const drawn = firstSum(kept, weight, (sum) => sum > target);
  return kept[drawn]!; // always exists: u <= 1 - 2^-53 keeps the target below the total, rounded or not
}

function ascending(ids: readonly number[]): number[] {
  return Array.from(Uint32Array.from(ids).sort());
}

/** Returns the index of the first id at which the running sum of weights passes the test; -1 if none. */
function firstSum(ids: readonly number[], weight: (id: number) => number, passes: (sum: number) => boolean): number {
  let sum = 0;
  return ids.findIndex((id) => {
    sum += weight(id);
    return passes(sum);
  });
}

/** True for the ids of o200k_harmony without a meaning, and for 201088, which the model does not have. */
function isReserved(id: number): boolean {
  return id >= 200000 && !meaningful.has(id);
}

const meaningful: ReadonlySet<number> = new Set([200002, 200003, 200005, 200006, 200007, 200008, 200012]);

/** Returns 53 random bits as a number in [0, 1). */
function uniform(seed: bigint, position: number, choice: number): number {
  const key: Philox2 = [Number(seed & 0xffffffffn), Number(seed >> 32n)];
  const [x, y] = philox4x32([position, choice, 0, 0], key);
  return ((x >>> 5) * 2 ** 26 + (y >>> 6)) * 2 ** -53;
}

type Philox2 = readonly [number, number];
type Philox4 = readonly [number, number, number, number];

/** Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011): random numbers without state, from a counter and a key. */
export function philox4x32(counter: Philox4, key: Philox2): Philox4 {
  let [x, y, z, w] = counter;
  let [low, high] = key;
  for (let round = 0; round < 10; round++) {
    const evenHigh = mulHigh(0xd2511f53, x);
    const oddHigh = mulHigh(0xcd9e8d57, z);
    const [evenLow, oddLow] = [Math.imul(0xd2511f53, x) >>> 0, Math.imul(0xcd9e8d57, z) >>> 0];
    [x, y, z, w] = [(oddHigh ^ y ^ low) >>> 0, oddLow, (evenHigh ^ w ^ high) >>> 0, evenLow];
    low = (low + 0x9e3779b9) >>> 0; // the Weyl sequences of the paper: the golden ratio, and √3 - 1
    high = (high + 0xbb67ae85) >>> 0;
  }
  return [x, y, z, w];
}

/** Returns the upper 32 bits of the product of two 32-bit integers, from four 16-bit products. */
function mulHigh(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  return aHigh * bHigh + (middle >>> 16) + (carry >>> 16);
}
