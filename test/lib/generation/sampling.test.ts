import { describe, expect, it } from "vitest";
import { addon, type NativeSamplingContext, type NativeSamplingParams } from "../../../lib/binding.js";
import { GptOssError } from "../../../lib/errors.js";
import { checkSampling, philox4x32, type SamplingOptions, sampleReference } from "../../../lib/generation/sampling.js";

const neutral: NativeSamplingParams = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  seed: 7n,
  maskReserved: true,
};

function context(parts: Partial<Omit<NativeSamplingContext, "bias">> & { bias?: [number, number][] }) {
  const bias = parts.bias ?? [];
  return {
    choice: 0,
    prompt: new Uint32Array(),
    completion: new Uint32Array(),
    topLogprobs: 0,
    ...parts,
    bias: { tokens: Uint32Array.from(bias, ([token]) => token), values: Float32Array.from(bias, ([, value]) => value) },
  } satisfies NativeSamplingContext;
}

/** Random numbers for the tests, from the generator under test: reproducible and unlimited. */
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
    const { seed: _seed, maskReserved: _mask, ...defaults } = neutral;
    expect(others).toEqual(defaults);
    expect(seed).toBeGreaterThanOrEqual(0n);
    expect(seed).toBeLessThan(2n ** 53n);
    expect(checkSampling({}).seed).not.toBe(seed);
  });

  it("accepts the ends of every range", () => {
    expect(checkSampling({ temperature: 0, topK: 0, topP: 5e-324, minP: 0, seed: 0 }).seed).toBe(0n);
    expect(checkSampling({ temperature: 100, topK: 2 ** 31 - 1, topP: 1, minP: 1, seed: 2n ** 64n - 1n }).topP).toBe(1);
    expect(checkSampling({ repetitionPenalty: 5e-324, presencePenalty: -2, frequencyPenalty: 2 })).toMatchObject({
      repetitionPenalty: 5e-324,
      presencePenalty: -2,
      frequencyPenalty: 2,
    });
    expect(checkSampling({ repetitionPenalty: 10 }).repetitionPenalty).toBe(10);
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
    ["repetitionPenalty", 0, "Expected a number in (0, 10] for repetitionPenalty but received 0 (number)"],
    ["repetitionPenalty", 10.1, "(0, 10]"],
    ["repetitionPenalty", Number.NaN, "received NaN"],
    ["repetitionPenalty", null, "received null"],
    ["presencePenalty", -2.1, "Expected a number in [-2, 2] for presencePenalty but received -2.1 (number)"],
    ["presencePenalty", 3, "[-2, 2]"],
    ["presencePenalty", "1", 'received "1" (string)'],
    ["frequencyPenalty", 2.1, "Expected a number in [-2, 2] for frequencyPenalty but received 2.1 (number)"],
    ["frequencyPenalty", Number.NEGATIVE_INFINITY, "received -Infinity"],
    ["frequencyPenalty", false, "received false (boolean)"],
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

  it("draws each token in proportion to its weight", () => {
    const counts = [0, 0, 0, 0, 0];
    for (let i = 0; i < 20_000; i++) counts[sampleReference(logits, neutral, i).token]!++;
    counts.forEach((count, id) => {
      expect(Math.abs(count / 20_000 - Math.exp(logits[id]!))).toBeLessThan(5 * Math.sqrt(0.25 / 20_000));
    });
  });
});

describe("the reference, with a context", () => {
  const greedy = (
    logits: number[],
    params: Partial<NativeSamplingParams>,
    parts: Parameters<typeof context>[0],
  ): number =>
    sampleReference(Float32Array.from(logits), { ...neutral, temperature: 0, ...params }, 0, context(parts)).token;
  const prompt = Uint32Array.of(0, 0);
  const completion = Uint32Array.of(0, 0, 0);

  it("applies the repetition penalty once to tokens of prompt or completion", () => {
    const params = { repetitionPenalty: 2 };
    expect(greedy([3, 2, 1], params, {})).toBe(0);
    expect(greedy([3, 2, 1], params, { prompt })).toBe(1);
    expect(greedy([3, 1.25, 1], params, { prompt, completion })).toBe(0);
    expect(greedy([-1, -1.5], params, { completion })).toBe(1);
  });

  it("applies presence once and frequency each time, to the completion alone", () => {
    expect(greedy([3, 2.5], { presencePenalty: 1 }, { prompt })).toBe(0);
    expect(greedy([3, 2.5], { presencePenalty: 1 }, { completion })).toBe(1);
    expect(greedy([3, 1.5], { presencePenalty: 1 }, { completion })).toBe(0);
    expect(greedy([3, 1.75], { frequencyPenalty: 0.5 }, { completion })).toBe(1);
    expect(greedy([3, 1.25], { frequencyPenalty: 0.5 }, { completion })).toBe(0);
  });

  it("goes from repetition to presence, frequency and bias", () => {
    const params = { repetitionPenalty: 2, presencePenalty: 1, frequencyPenalty: 0.5 };
    expect(greedy([8, 1.5], params, { completion })).toBe(0); // 8/2 - 1 - 3·0.5 = 1.5
    expect(greedy([8, 1.75], params, { completion, bias: [[0, 0.25]] })).toBe(0);
    expect(greedy([8, 1.76], params, { completion, bias: [[0, 0.25]] })).toBe(1);
  });

  it("bans with -Infinity, and takes token 0 when everything is banned", () => {
    const none = Number.NEGATIVE_INFINITY;
    const bans = (...tokens: number[]) => ({ bias: tokens.map((token): [number, number] => [token, none]) });
    expect(greedy([3, 2, 1], {}, bans(0))).toBe(1);
    expect(greedy([1, 3, 2], {}, bans(1))).toBe(2);
    expect(greedy([1, 3, 2], {}, bans(0, 1, 2))).toBe(0);
  });

  it("returns the raw log probabilities, without reserved ids unless they may be drawn", () => {
    const logits = new Float32Array(200_010).fill(Number.NEGATIVE_INFINITY);
    logits[200_009] = Math.log(0.5);
    for (const id of [4, 2, 3]) logits[id] = Math.log(0.125);
    logits[200_008] = Math.log(0.125);
    const asked = context({ topLogprobs: 3, completion, bias: [[4, 10]] });
    const top = (maskReserved: boolean) =>
      sampleReference(logits, { ...neutral, maskReserved, frequencyPenalty: 1 }, 0, asked).top;
    expect(top(true).map(({ token }) => token)).toEqual([2, 3, 4]);
    expect(top(false).map(({ token }) => token)).toEqual([200_009, 2, 3]);
    expect(top(true)[2]!.logprob).toBeCloseTo(Math.log(0.125), 6);
  });

  it("draws each choice from its own stream", () => {
    const flat = new Float32Array(1000);
    const draws = (choice: number) =>
      Array.from({ length: 20 }, (_, i) => sampleReference(flat, neutral, i, context({ choice })).token);
    expect(draws(0)).toEqual(Array.from({ length: 20 }, (_, i) => sampleReference(flat, neutral, i).token));
    expect(draws(1)).not.toEqual(draws(0));
    expect(draws(2)).not.toEqual(draws(1));
  });
});

describe("the addon draws the same tokens as the reference", () => {
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
    repetitionPenalty: random.pick([1, 1, 1, 1.1, 1.3, 0.7, 2, 10, 1e-46]),
    presencePenalty: random.pick([0, 0, 0, 0.1, 0.5, 2, -1.3]),
    frequencyPenalty: random.pick([0, 0, 0, 0.1, 0.3, 2, -0.7]),
    seed: (BigInt(random.word()) << 32n) | BigInt(random.word()),
    maskReserved: random.below(2) === 0,
  });

  const randomContext = (random: Random, vocab: number): NativeSamplingContext | undefined => {
    if (random.below(4) === 0) return undefined;
    // Often few distinct tokens, so that counts grow and prompt and completion overlap.
    const within = random.pick([1, 5, 40, vocab]);
    const id = () => (random.below(Math.min(within, vocab)) * random.pick([1, 1, 7919])) % vocab;
    const ids = (most: number) => Uint32Array.from({ length: random.below(most + 1) }, id);
    const every = random.below(12) === 0; // all banned, or nearly all
    const tokens = every ? Uint32Array.from({ length: vocab }, (_, i) => i) : ids(random.pick([0, 0, 3, 30]));
    const value = () =>
      every && random.below(vocab) > 0
        ? Number.NEGATIVE_INFINITY
        : random.pick([3 * random.normal(), 0.1, -1, 100, -100, Number.NEGATIVE_INFINITY]);
    return {
      choice: random.pick([0, 0, 1, 2, 127]),
      prompt: ids(random.pick([0, 10, 100])),
      completion: ids(random.pick([0, 10, 100])),
      bias: { tokens, values: Float32Array.from(tokens, value) },
      topLogprobs: random.pick([0, 0, 1, 2, 5, 20]),
    };
  };
  const near = (actual: number, reference: number, where: () => string) => {
    const expected = Math.fround(reference); // which may be infinite
    if (expected === Number.NEGATIVE_INFINITY) {
      expect(actual, where()).toBe(expected);
    } else {
      // float32 terms in the normaliser, and a float32 result
      expect(Math.abs(actual - expected), where()).toBeLessThanOrEqual(2e-6 + 1.2e-7 * Math.abs(expected));
    }
  };

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
      const context = randomContext(random, vocab);
      const before = logits.slice();
      const expected = sampleReference(logits, params, position, context);
      const actual = addon().sample(logits, params, position, context);
      const where = () =>
        `row ${row}, ${kind}, ${JSON.stringify({ ...params, seed: String(params.seed) })}, position ${position}, ` +
        `choice ${context?.choice}, top ${context?.topLogprobs}`;
      expect(actual.token, where()).toBe(expected.token);
      near(actual.logprob, expected.logprob, where);
      expect(
        actual.top.map(({ token }) => token),
        where(),
      ).toEqual(expected.top.map(({ token }) => token));
      actual.top.forEach(({ logprob }, i) => {
        near(logprob, expected.top[i]!.logprob, where);
      });
      expect(Buffer.compare(new Uint8Array(logits.buffer), new Uint8Array(before.buffer)), where()).toBe(0);
    }
  });

  it("refuses tokens that have no logit", () => {
    const logits = new Float32Array(5);
    for (const parts of [
      { prompt: Uint32Array.of(5) },
      { completion: Uint32Array.of(2 ** 32 - 1) },
      { bias: [[5, 1]] as [number, number][] },
    ]) {
      expect(() => addon().sample(logits, neutral, 0, context(parts))).toThrow(/outside of the 5 logits/);
    }
  });
});
