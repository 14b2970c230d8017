import { describe, expect, it } from "vitest";
import { bf16, float32, type Kernels, kernels } from "../../../lib/kernels/index.js";
import { failure } from "../../support/failure.js";

/** Wrong calls of kernels: a typed error that names the argument, and the next call works. */

const ones = (n: number) => new Float32Array(n).fill(1);
const bits = (n: number) => new Uint16Array(n).fill(0x3f80);
const bytes = (n: number) => new Uint8Array(n).fill(120);
const norm = { x: ones(8), weight: ones(4), rows: 2, hidden: 4 };
const product = { x: ones(8), weight: bits(12), rows: 2, in: 4, out: 3 };
const choice = { logits: ones(8), tokens: 1, experts: 8 };
const moe = {
  ...{ x: ones(32), index: new Int32Array([0]), weight: ones(1), tokens: 1, hidden: 32, intermediate: 32, experts: 2 },
  ...{ topK: 1, gateUpBlocks: bytes(2 * 64 * 16), gateUpScales: bytes(2 * 64), gateUpBias: ones(2 * 64) },
  ...{ downBlocks: bytes(2 * 32 * 16), downScales: bytes(2 * 32), downBias: ones(2 * 32) },
};
const attend = {
  ...{ q: ones(64), k: ones(128), v: ones(128), sinks: ones(1) },
  ...{ tokens: 1, keys: 2, heads: 1, kvHeads: 1 },
};
const qkv = {
  ...{ x: ones(32), qWeight: bits(64 * 32), kWeight: bits(64 * 32), vWeight: bits(64 * 32), qBias: ones(64) },
  ...{ kBias: ones(64), vBias: ones(64), tokens: 1, hidden: 32, heads: 1, kvHeads: 1 },
};
const draw = { logits: ones(8), rows: 2, vocab: 4 };

type Call = (on: Kernels) => Promise<unknown>;
const wrong = (given: object, change: object) => ({ ...given, ...change }) as never;

const invalid: [string, Call, string, RegExp][] = [
  ["too short", (on) => on.rmsNorm(wrong(norm, { x: ones(7) })), "x", /rows 2 x hidden 4 = 8 elements but received 7/],
  ["too long", (on) => on.rmsNorm(wrong(norm, { weight: ones(5) })), "weight", /hidden 4 elements but received 5/],
  ["an empty array", (on) => on.rmsNorm(wrong(norm, { x: ones(0) })), "x", /received 0/],
  ["float64", (on) => on.rmsNorm(wrong(norm, { x: new Float64Array(8) })), "x", /Float32Array/],
  ["an array of numbers", (on) => on.rmsNorm(wrong(norm, { x: [1, 2] })), "x", /typed array/],
  ["null", (on) => on.rmsNorm(wrong(norm, { x: null })), "x", /typed array/],
  ["an object", (on) => on.rmsNorm(wrong(norm, { x: { synthetic: "normal", elements: 8 } })), "x", /typed array/],
  ["weights in float32", (on) => on.linear(wrong(product, { weight: ones(12) })), "weight", /bf16/],
  ["a missing array", (on) => on.rmsNorm(wrong(norm, { weight: undefined })), "weight", /needs weight/],
  ["a missing number", (on) => on.rmsNorm(wrong(norm, { rows: undefined })), "rows", /needs rows/],
  ["an unknown name", (on) => on.rmsNorm(wrong(norm, { wieght: ones(4) })), "wieght", /no "wieght"/],
  ["a number for an array", (on) => on.rmsNorm(wrong(norm, { x: 3 })), "x", /needs x/],
  ["NaN", (on) => on.rmsNorm(wrong(norm, { rows: Number.NaN })), "rows", /received NaN/],
  ["infinity", (on) => on.rmsNorm(wrong(norm, { rows: Number.POSITIVE_INFINITY })), "rows", /rows/],
  ["zero", (on) => on.rmsNorm(wrong(norm, { rows: 0 })), "rows", /received 0/],
  ["negative", (on) => on.rmsNorm(wrong(norm, { rows: -1 })), "rows", /received -1/],
  ["a half", (on) => on.rmsNorm(wrong(norm, { rows: 1.5 })), "rows", /received 1.5/],
  ["2^53", (on) => on.rmsNorm(wrong(norm, { rows: 2 ** 53 })), "rows", /rows/],
  ["a product that overflows", (on) => on.rmsNorm(wrong(norm, { rows: 2 ** 24, hidden: 2 ** 24 })), "weight", /hidden/],
  ["a negative epsilon", (on) => on.rmsNorm(wrong(norm, { epsilon: -1 })), "epsilon", /epsilon/],
  ["a precision", (on) => on.linear(wrong(product, { precision: "low" })), "precision", /standard, high/],
  ["a cache type", (on) => on.attention(wrong(attend, { kvCacheDtype: "f16" })), "kvCacheDtype", /f32, bf16, fp8/],
  [
    "a token",
    (on) => on.embed({ table: bits(8), tokens: new Int32Array([2]), vocab: 2, hidden: 4 }),
    "tokens",
    /\[0, 2\)/,
  ],
  [
    "no token",
    (on) => on.embed({ table: bits(8), tokens: new Int32Array(0), vocab: 2, hidden: 4 }),
    "tokens",
    /tokens/,
  ],
  ["topK above experts", (on) => on.router(wrong(choice, { topK: 9 })), "topK", /\[1, 8\]/],
  ["an expert", (on) => on.experts(wrong(moe, { index: new Int32Array([2]) })), "index", /\[0, 2\)/],
  ["a negative expert", (on) => on.experts(wrong(moe, { index: new Int32Array([-1]) })), "index", /\[0, 2\)/],
  [
    "an expert twice",
    (on) => on.experts(wrong(moe, { topK: 2, index: new Int32Array([1, 1]), weight: ones(2) })),
    "index",
    /twice/,
  ],
  ["a hidden of 33", (on) => on.experts(wrong(moe, { hidden: 33 })), "hidden", /multiple of 32/],
  [
    "a position past the keys",
    (on) => on.attention(wrong(attend, { positions: new Int32Array([2]) })),
    "positions",
    /below the 2 keys/,
  ],
  [
    "a negative position",
    (on) => on.attention(wrong(attend, { positions: new Int32Array([-1]) })),
    "positions",
    /positions/,
  ],
  [
    "lengths that do not add up",
    (on) => on.attention(wrong(attend, { lengths: new Int32Array([3]) })),
    "lengths",
    /2 together/,
  ],
  [
    "an empty sequence",
    (on) => on.attention(wrong(attend, { lengths: new Int32Array([2, 0]) })),
    "lengths",
    /at least 1/,
  ],
  ["a sequence", (on) => on.attention(wrong(attend, { sequence: new Int32Array([1]) })), "sequence", /\[0, 1\)/],
  ["heads in no groups", (on) => on.attention(wrong(attend, { kvHeads: 2 })), "kvHeads", /multiple/],
  [
    "a position twice",
    (on) => on.qkv(wrong(qkv, { tokens: 2, x: ones(64), positions: new Int32Array([3, 3]) })),
    "positions",
    /different/,
  ],
  ["an odd head", (on) => on.qkv(wrong(qkv, { headDim: 63 })), "headDim", /even/],
  ["an operation that is not there", (on) => on.bench("nosuch" as "router", {}), "operation", /one of embed/],
  ["the name of a method of objects", (on) => on.bench("toString" as "router", {}), "operation", /one of embed/],
  ["a far position", (on) => on.qkv(wrong(qkv, { positions: new Int32Array([2 ** 30]) })), "positions", /262144/],
  ["a temperature", (on) => on.sample(wrong(draw, { temperature: 101 })), "temperature", /\[0, 100\]/],
  ["a seed", (on) => on.sample(wrong(draw, { seed: -1 })), "seed", /seed/],
  ["a result that is no buffer", (on) => on.rmsNorm(wrong(norm, { output: ones(8) })), "output", /buffer/],
];

describe("arguments that do not fit", () => {
  it.each(invalid)("%s", async (_, call, field, message) => {
    await using cpu = kernels("cpu", { threads: 1 });
    const error = await failure(() => call(cpu));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field, message: expect.stringMatching(message) });
    expect((await cpu.rmsNorm(norm)).output).toHaveLength(8); // it goes on
  });

  it.each([null, 3, "x"])("%j instead of arguments", async (given) => {
    await using cpu = kernels("cpu", { threads: 1 });
    expect((await failure(() => cpu.rmsNorm(given as never))).code).toBe("INVALID_ARGUMENT");
  });

  it("a getter that throws", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    const given = {
      ...norm,
      get x(): Float32Array {
        throw new Error("no");
      },
    };
    expect(await failure(() => cpu.rmsNorm(given))).toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("an array whose memory was transferred", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    const x = ones(8);
    structuredClone(x, { transfer: [x.buffer] });
    expect(await failure(() => cpu.rmsNorm({ ...norm, x }))).toMatchObject({ code: "INVALID_ARGUMENT", field: "x" });
  });
});

describe("backends and options", () => {
  it.each([
    [() => kernels("gpu"), "backend"],
    [() => kernels(3 as never), "backend"],
    [() => kernels("cpu", { threads: 0 }), "threads"],
    [() => kernels("cpu", { threads: 2000 }), "threads"],
    [() => kernels("cpu", { isa: 3 as never }), "isa"],
    [() => kernels("cpu", { numerics: "slow" as never }), "numerics"],
    [() => kernels("cpu", { denseWeights: "q4" as never }), "denseWeights"],
    [() => kernels("cpu", { repeatable: 1 as never }), "repeatable"],
    [() => kernels("cpu", { thread: 1 } as never), "thread"],
    [() => bf16([1] as never), "values"],
    [() => float32([1] as never), "bits"],
  ])("%s", async (call, field) => {
    expect(await failure(call)).toMatchObject({ code: "INVALID_ARGUMENT", field });
  });

  it("an instruction set that is not there is refused by the first call", async () => {
    await using cpu = kernels("cpu", { isa: "avx1024" });
    expect(await failure(() => cpu.info())).toMatchObject({ code: "INVALID_ARGUMENT", message: /avx1024/ });
    expect(await failure(() => cpu.rmsNorm(norm))).toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("a GPU that is not there, too", async () => {
    await using gpu = kernels("cuda:7");
    expect((await failure(() => gpu.info())).code).toMatch(/UNSUPPORTED|INVALID_ARGUMENT/);
  });
});
