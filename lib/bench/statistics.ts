import type { BenchUnit, BenchValue } from "./rows.js";

/** Median, spread and percentiles of samples, and the comparison of two sets of samples. */

export function median(samples: readonly number[]): number {
  return percentile(samples, 50);
}

/**
 * A percentile by linear interpolation between the two nearest samples, as NumPy and the serving benchmarks compute it.
 *
 * @param percent in [0, 100]
 */
export function percentile(samples: readonly number[], percent: number): number {
  if (samples.length === 0) return Number.NaN;
  const sorted = Float64Array.from(samples).sort();
  const at = ((sorted.length - 1) * percent) / 100;
  const [low, high] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
  return low + (high - low) * (at - Math.floor(at));
}

export function mean(samples: readonly number[]): number {
  return samples.reduce((sum, one) => sum + one, 0) / samples.length;
}

/** Five digits: no timing has more. */
function rounded(value: number): number {
  return Number(value.toPrecision(5));
}

/** A value of a row, with its samples. */
export function measured(samples: readonly number[], unit: BenchUnit, better: BenchValue["better"]): BenchValue {
  if (samples.length === 0) throw new Error("nothing was measured");
  return {
    unit,
    better,
    median: rounded(median(samples)),
    min: rounded(percentile(samples, 0)),
    max: rounded(percentile(samples, 100)),
    samples: samples.map(rounded),
  };
}

/** A value of a row that was measured once, or counted. */
export function single(value: number, unit: BenchUnit, better: BenchValue["better"]): BenchValue {
  return { unit, better, median: rounded(value), min: rounded(value), max: rounded(value) };
}

/** Random numbers in [0, 1), the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The quotient of two medians, with an interval in which it lies with the wanted confidence. */
export interface Ratio {
  ratio: number;
  low: number;
  high: number;
}

const resamples = 2000;

/**
 * Estimates b / a from independent samples: the quotient of the medians, and its percentile interval of the bootstrap
 * (Efron and Tibshirani 1993, chapter 13).
 *
 * @param confidence in (0, 1)
 */
export function ratioOfMedians(a: readonly number[], b: readonly number[], confidence: number): Ratio {
  const random = seededRandom(1);
  const draw = (from: readonly number[]) => Array.from(from, () => from[Math.floor(random() * from.length)]!);
  const ratios = Array.from({ length: resamples }, () => median(draw(b)) / median(draw(a)));
  return interval(median(b) / median(a), ratios, confidence);
}

/** Pairs of a block in `ratioOfPairs`. */
const block = 10;

/**
 * Estimates b / a from pairs that were measured side by side. Consecutive pairs form blocks of ten. The quotient of a
 * block is that of the least samples of either side: what disturbs a sample only makes it longer, and the least of ten
 * is rarely disturbed. The estimate is the median over the blocks. What slows the whole machine for longer than a block
 * slows both sides of it.
 */
export function ratioOfPairs(a: readonly number[], b: readonly number[]): number {
  const blocks = Math.max(1, Math.floor(a.length / block));
  const least = (of: readonly number[], i: number) =>
    Math.min(...of.slice(i * block, i === blocks - 1 ? of.length : (i + 1) * block));
  return median(Array.from({ length: blocks }, (_, i) => least(b, i) / least(a, i)));
}

/**
 * The median of ratios that independent rounds gave, between the second least and the second greatest of them. One round
 * may be disturbed. The interval holds the median of all possible rounds with the confidence of `confidenceOfRounds`;
 * it assumes nothing about their distribution (David and Nagaraja 2003, Order Statistics, section 7.1).
 *
 * @param ratios four or more
 */
export function ratioOfRounds(ratios: readonly number[]): Ratio {
  const sorted = [...ratios].sort((a, b) => a - b);
  if (sorted.length < 4) throw new Error("expected four rounds or more");
  return { ratio: median(sorted), low: sorted[1]!, high: sorted.at(-2)! };
}

/** 1 - 2 (1 + n) / 2^n: at most one of n rounds lies on one side of the median. */
export function confidenceOfRounds(rounds: number): number {
  return 1 - (2 * (1 + rounds)) / 2 ** rounds;
}

function interval(ratio: number, ratios: readonly number[], confidence: number): Ratio {
  const outside = (100 * (1 - confidence)) / 2;
  return { ratio, low: percentile(ratios, outside), high: percentile(ratios, 100 - outside) };
}

/** The verdict on a ratio. `least`: smaller changes do not count, as 0.01. */
export function verdictOf({ low, high }: Ratio, better: "less" | "more", least: number): "faster" | "slower" | "same" {
  const up = low > 1 + least;
  const down = high < 1 - least;
  if (!up && !down) return "same";
  return up === (better === "more") ? "faster" : "slower";
}
