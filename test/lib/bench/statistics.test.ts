import { describe, expect, it } from "vitest";
import {
  confidenceOfRounds,
  measured,
  median,
  percentile,
  ratioOfMedians,
  ratioOfPairs,
  ratioOfRounds,
  seededRandom,
  single,
  verdictOf,
} from "../../../lib/bench/statistics.js";

describe("percentiles", () => {
  it("interpolate between the two nearest samples", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(percentile([10, 20, 30, 40], 0)).toBe(10);
    expect(percentile([10, 20, 30, 40], 100)).toBe(40);
    expect(percentile([10, 20, 30, 40], 99)).toBeCloseTo(39.7, 10);
    expect(percentile([7], 99)).toBe(7);
    expect(percentile([], 50)).toBeNaN();
  });
});

describe("values", () => {
  it("have five digits, and their samples in order", () => {
    expect(measured([2.3456789, 1, 2], "us", "less")).toEqual({
      unit: "us",
      better: "less",
      median: 2,
      min: 1,
      max: 2.3457,
      samples: [2.3457, 1, 2],
    });
    expect(single(1234567, "bytes", null)).toEqual({
      unit: "bytes",
      better: null,
      median: 1234600,
      min: 1234600,
      max: 1234600,
    });
    expect(() => measured([], "us", null)).toThrow("nothing was measured");
  });
});

describe("ratios", () => {
  const random = seededRandom(5);
  const noisy = (count: number, scale: number) => Array.from({ length: count }, () => scale * (1 + 0.05 * random()));

  it("of equal samples are the same; of three percent more they are not", () => {
    const [a, b] = [noisy(200, 100), noisy(200, 100)];
    const same = ratioOfMedians(a, b, 0.99);
    expect(same.low).toBeLessThan(1);
    expect(same.high).toBeGreaterThan(1);
    expect(verdictOf(same, "less", 0.01)).toBe("same");
    const slower = ratioOfMedians(a, noisy(200, 103), 0.99);
    expect(slower.ratio).toBeCloseTo(1.03, 2);
    expect(verdictOf(slower, "less", 0.01)).toBe("slower");
    expect(verdictOf(slower, "more", 0.01)).toBe("faster");
  });

  it("of pairs do not see what slows both", () => {
    const slow = Array.from({ length: 100 }, (_, i) => (i % 10 === 0 ? 3 : 1) * (1 + 0.2 * random()));
    const other = slow.map((value) => value * 100 * (1 + 0.01 * random()));
    const ours = slow.map((value) => value * 103 * (1 + 0.01 * random()));
    expect(ratioOfPairs(other, ours)).toBeCloseTo(1.03, 2);
    expect(ratioOfPairs(ours, other)).toBeCloseTo(1 / 1.03, 2);
  });

  it("of rounds are the median, and one round may be disturbed", () => {
    expect(ratioOfRounds([1.03, 1.5, 1.02, 1.031, 1.04])).toEqual({ ratio: 1.031, low: 1.03, high: 1.04 });
    expect(() => ratioOfRounds([1, 2, 3])).toThrow("four rounds");
    // Of 4 fair coins, 6 of 16 results have two of each side, and 10 have at most one of one side.
    expect(confidenceOfRounds(4)).toBeCloseTo(6 / 16, 12);
    let inside = 0;
    for (let i = 0; i < 4000; i++) {
      const { low, high } = ratioOfRounds(Array.from({ length: 8 }, random));
      if (low <= 0.5 && high >= 0.5) inside++;
    }
    expect(inside / 4000).toBeCloseTo(confidenceOfRounds(8), 1.5);
  });

  it("a change within the least one does not count", () => {
    expect(verdictOf({ ratio: 1.008, low: 1.005, high: 1.02 }, "less", 0.01)).toBe("same");
    expect(verdictOf({ ratio: 0.97, low: 0.95, high: 0.985 }, "less", 0.01)).toBe("faster");
  });

  it("are the same each time", () => {
    const [a, b] = [noisy(30, 1), noisy(30, 1)];
    expect(ratioOfMedians(a, b, 0.9)).toEqual(ratioOfMedians(a, b, 0.9));
  });
});
