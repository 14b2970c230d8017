import { describe, expect, it } from "vitest";
import { addon, type NativeSamplingParams } from "../../lib/binding.js";
import { GptOssError } from "../../lib/errors.js";
import { checkSampling, philox4x32, type SamplingOptions, sampleReference } from "../../lib/sampling.js";

const neutral: NativeSamplingParams = { temperature: 1, topK: 0, topP: 1, minP: 0, seed: 7n, maskReserved: true };

/** Numbers for the tests, from the generator under test: reproducible, and as many as wanted. */
class Random {
  #counter = 0;
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = seed;
  }

  word(): number {
    return philox4x32([this.#counter++, 0, 0, 0], [this.#seed, 1])[0];
  }

  below(n: number): number {
    return this.word() % n;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }

  normal(): number {
    const [u, v] = [(this.word() + 1) / 2 ** 32, this.word() / 2 ** 32];
    return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
  }
}

describe("philox4x32", () => {
  const ones = 0xffffffff;
  it("gives the known answers of Random123", () => {
    expect(philox4x32([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    expect(philox4x32([ones, ones, ones, ones], [ones, ones])).toEqual([
      0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd,
    ]);
    expect(philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
      0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
    ]);
  });
});

describe("checkSampling", () => {
  it("fills in the defaults", () => {
    const { seed, ...others } = checkSampling({});
    expect(others).toEqual({ temperature: 1, topK: 0, topP: 1, minP: 0 });
    expect(seed).toBeGreaterThanOrEqual(0n);
    expect(seed).toBeLessThan(2n ** 53n);
    expect(checkSampling({}).seed).not.toBe(seed);
  });

  it("takes the ends of every range", () => {
    expect(checkSampling({ temperature: 0, topK: 0, topP: 5e-324, minP: 0, seed: 0 }).seed).toBe(0n);
    expect(checkSampling({ temperature: 100, topK: 2 ** 31 - 1, topP: 1, minP: 1, seed: 2n ** 64n - 1n }).topP).toBe(1);
    expect(checkSampling({ seed: Number.MAX_SAFE_INTEGER }).seed).toBe(2n ** 53n - 1n);
  });

  const wrong: [keyof SamplingOptions, unknown, string][] = [
    ["temperature", -0.1, "Expected a number in [0, 100] for temperature but received -0.1 (number)"],
    ["temperature", 100.5, "[0, 100]"],
    ["temperature", Number.NaN, "received NaN"],
    ["temperature", Number.POSITIVE_INFINITY, "received Infinity"],
    ["temperature", "1", 'received "1" (string)'],
    ["temperature", null, "received null"],
    ["topP", 0, "Expected a number in (0, 1] for topP but received 0 (number)"],
    ["topP", 1.01, "(0, 1]"],
    ["topP", Number.NaN, "received NaN"],
    ["topP", null, "received null"],
    ["minP", -1, "Expected a number in [0, 1] for minP but received -1 (number)"],
    ["minP", 2, "[0, 1]"],
    ["minP", true, "received true (boolean)"],
    ["topK", -1, "for topK but received -1 (number)"],
    ["topK", 1.5, "for topK but received 1.5 (number)"],
    ["topK", 2 ** 31, "for topK"],
    ["topK", "40", 'received "40" (string)'],
    ["seed", -1, "for seed but received -1 (number)"],
    ["seed", 0.5, "for seed but received 0.5 (number)"],
    ["seed", 2 ** 53, "as a bigint from 2^53 on"],
    ["seed", 2n ** 64n, "for seed but received 18446744073709551616 (bigint)"],
    ["seed", -1n, "for seed"],
    ["seed", "7", 'received "7" (string)'],
    ["seed", null, "received null"],
  ];
  it.each(wrong)("refuses %s %s", (name, value, message) => {
    const call = () => checkSampling({ [name]: value });
    expect(call).toThrow(GptOssError);
    expect(call).toThrow(message);
    expect(call).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

describe("the reference", () => {
  const logits = Float32Array.from([0.1, 0.4, 0.1, 0.3, 0.1], Math.log);
  const drawn = (params: Partial<NativeSamplingParams>) => {
    const tokens = Array.from({ length: 300 }, (_, i) => sampleReference(logits, { ...neutral, ...params }, i).token);
    return [...new Set(tokens)].sort();
  };

  it("keeps exactly the tokens of each filter", () => {
    expect(drawn({})).toEqual([0, 1, 2, 3, 4]);
    expect(drawn({ temperature: 0 })).toEqual([1]);
    expect(drawn({ topK: 3 })).toEqual([0, 1, 3]);
    expect(drawn({ topP: 0.65 })).toEqual([1, 3]);
    expect(drawn({ topP: 0.75 })).toEqual([0, 1, 3]);
    expect(drawn({ minP: 0.5 })).toEqual([1, 3]);
    expect(drawn({ topK: 2, topP: 0.5 })).toEqual([1]);
  });

  it("gives the log probability under the model, whatever the temperature and the mask", () => {
    for (const temperature of [0, 0.3, 1, 5]) {
      const { token, logprob } = sampleReference(logits, { ...neutral, temperature }, 3);
      expect(logprob).toBeCloseTo(logits[token]!, 6);
    }
  });

  it("draws each token as often as it weighs", () => {
    const counts = [0, 0, 0, 0, 0];
    for (let i = 0; i < 20_000; i++) counts[sampleReference(logits, neutral, i).token]!++;
    counts.forEach((count, id) => {
      expect(Math.abs(count / 20_000 - Math.exp(logits[id]!))).toBeLessThan(5 * Math.sqrt(0.25 / 20_000));
    });
  });
});

describe("the addon draws what the reference draws", () => {
  const kinds: Record<string, (random: Random, id: number) => number> = {
    normal: (random) => 3 * random.normal(),
    flat: (random) => 0.01 * random.normal(),
    steep: (random) => 40 * random.normal(),
    tied: (random) => Math.round(random.normal()) / 2,
    equal: () => 1.5,
    "two levels": (random) => random.below(2),
    "signed zeros": (random) => random.pick([0, -0]),
    ascending: (_, id) => id / 16,
    broken: (random) =>
      random.pick([
        random.normal(),
        Number.NaN,
        Number.NEGATIVE_INFINITY,
        random.below(50) ? 1 : Number.POSITIVE_INFINITY,
      ]),
    hopeless: (random) => random.pick([Number.NaN, Number.NEGATIVE_INFINITY]),
    huge: (random) => random.normal() * 1e38,
  };
  const randomParams = (random: Random, vocab: number): NativeSamplingParams => ({
    temperature: random.pick([0, 1e-3, 0.1, 0.6, 1, 1, 1, 1.7, 100]),
    topK: random.pick([0, 0, 0, 1, 2, 5, 40, vocab, vocab + 1]),
    topP: random.pick([1, 1, 0.999999, 0.95, 0.9, 0.5, 0.1, 1e-6]),
    minP: random.pick([0, 0, 0, 1e-4, 0.05, 0.5, 1]),
    seed: (BigInt(random.word()) << 32n) | BigInt(random.word()),
    maskReserved: random.below(2) === 0,
  });

  it.each([
    [1, 300],
    [2, 600],
    [7, 2000],
    [300, 2000],
    [5000, 150],
    [201088, 12],
  ])("vocabulary of %i, %i rows", (vocab, rows) => {
    const random = new Random(vocab);
    for (let row = 0; row < rows; row++) {
      const kind = random.pick(Object.keys(kinds));
      const logits = Float32Array.from({ length: vocab }, (_, id) => kinds[kind]!(random, id));
      const params = randomParams(random, vocab);
      const position = random.pick([0, 1, row, random.word()]);
      const expected = sampleReference(logits, params, position);
      const actual = addon().sample(logits, params, position);
      const where = () => `${kind}, ${JSON.stringify({ ...params, seed: String(params.seed) })}, position ${position}`;
      expect(actual.token, where()).toBe(expected.token);
      if (expected.logprob === Number.NEGATIVE_INFINITY) {
        expect(actual.logprob, where()).toBe(expected.logprob);
      } else {
        // float32 terms in the normaliser, and a float32 result
        expect(Math.abs(actual.logprob - expected.logprob), where()).toBeLessThanOrEqual(
          2e-6 + 1.2e-7 * Math.abs(expected.logprob),
        );
      }
    }
  });
});
