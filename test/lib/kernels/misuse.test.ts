import { describe, expect, it } from "vitest";
import { bf16, float32, type Kernels, kernels, type OperationName } from "../../../lib/kernels/index.js";
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
const sizes = { tokens: 1, hidden: 32, intermediate: 32, experts: 2 };
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
  ["a number for an array", (on) => on.rmsNorm(wrong(norm, { x: 3 })), "x", /a Float32Array but received 3 \(number\)/],
  ["text for an array", (on) => on.rmsNorm(wrong(norm, { x: "x" })), "x", /received "x" \(string\)/],
  ["int32 for an array", (on) => on.rmsNorm(wrong(norm, { x: new Int32Array(8) })), "x", /received an Int32Array/],
  [
    "bytes for int32",
    (on) => on.experts(wrong(moe, { index: bytes(1) })),
    "index",
    /an Int32Array but received a Uint8/,
  ],
  ["text for an optional array", (on) => on.linear(wrong(product, { bias: "0" })), "bias", /received "0" \(string\)/],
  ["a number for a result", (on) => on.linear(wrong(product, { output: 1 })), "output", /received 1 \(number\)/],
  [
    "text for a number",
    (on) => on.rmsNorm(wrong(norm, { rows: "2" })),
    "rows",
    /integer for rows but received "2" \(str/,
  ],
  ["an array for a number", (on) => on.rmsNorm(wrong(norm, { rows: ones(1) })), "rows", /received a Float32Array/],
  ["a boolean for a number", (on) => on.rmsNorm(wrong(norm, { rows: true })), "rows", /received true \(boolean\)/],
  ["a bigint for a number", (on) => on.rmsNorm(wrong(norm, { rows: 2n })), "rows", /received 2 \(bigint\)/],
  [
    "text for an optional number",
    (on) => on.rmsNorm(wrong(norm, { epsilon: "1" })),
    "epsilon",
    /received "1" \(string\)/,
  ],
  ["text for an optional count", (on) => on.router(wrong(choice, { topK: "2" })), "topK", /an integer for topK/],
  ["text for a seed", (on) => on.sample(wrong(draw, { seed: "2" })), "seed", /received "2" \(string\)/],
  ["a number for a word", (on) => on.linear(wrong(product, { precision: 3 })), "precision", /received 3 \(number\)/],
  ["the name of a prototype", (on) => on.rmsNorm(JSON.parse('{"__proto__": 3}')), "rows", /needs rows/],
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
  ...[0, -1, 1.5, Number.NaN, 2 ** 25].map((tokens): (typeof invalid)[number] => [
    `${tokens} tokens to embed`,
    (on) => on.bench("embed", { vocab: 2, hidden: 4, tokens: tokens as never }),
    "tokens",
    /an integer in \[1, 16777216\] or an Int32Array for tokens but received/,
  ]),
  ["tokens as text", (on) => on.bench("embed", wrong({ vocab: 2, hidden: 4 }, { tokens: "3" })), "tokens", /"3" \(str/],
  ["random floats beyond a gigabyte", (on) => on.bench("rmsNorm", { rows: 2 ** 24, hidden: 2 ** 24 }), "x", /at most/],
  ["too many random choices", (on) => on.bench("experts", { ...sizes, tokens: 2 ** 20 }), "tokens", /\[1, 65536\]/],
  [
    "text as topK of random choices",
    (on) => on.bench("experts", wrong(sizes, { topK: "1" })),
    "topK",
    /"1" \(string\)/,
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
    for (const call of [() => cpu.rmsNorm(given as never), () => cpu.bench("rmsNorm", given as never)]) {
      const error = await failure(call as () => Promise<unknown>);
      expect(error).toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("arguments of rmsNorm"),
      });
      expect(Object.hasOwn(error, "field")).toBe(false); // it is no name in the call
    }
  });

  it("a getter that throws", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    const given = {
      ...norm,
      get x(): Float32Array {
        throw new Error("no");
      },
    };
    for (const call of [() => cpu.rmsNorm(given), () => cpu.bench("rmsNorm", given)])
      expect(await failure(call as () => Promise<unknown>)).toMatchObject({ code: "INVALID_ARGUMENT", field: "x" });
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
    const refusal = { code: "INVALID_ARGUMENT", field: "isa", message: expect.stringContaining("avx1024") };
    for (const call of [() => cpu.info(), () => cpu.rmsNorm(norm)])
      expect(await failure(call as () => Promise<unknown>)).toMatchObject(refusal);
  });

  it("numerics that the instruction set does not have, too", async () => {
    await using cpu = kernels("cpu", { isa: "scalar", numerics: "fast" });
    expect(await failure(() => cpu.info())).toMatchObject({ code: "UNSUPPORTED", field: "numerics" });
  });

  it("a GPU that is not there, too", async () => {
    await using gpu = kernels("cuda:7");
    const error = await failure(() => gpu.info());
    expect(error.code).toMatch(/UNSUPPORTED|INVALID_ARGUMENT/);
    expect(error.field).toBe("backend");
  });

  it("a type of the cache that the device lacks, by its name here", async () => {
    await using cpu = kernels("cpu", { threads: 1 });
    for (const call of [
      () => cpu.attention({ ...attend, kvCacheDtype: "fp8" }),
      () => cpu.qkv({ ...qkv, kvCacheDtype: "fp8" }),
    ]) {
      const error = await failure(call as () => Promise<unknown>);
      expect(error).toMatchObject({ code: "UNSUPPORTED", field: "kvCacheDtype" });
      expect(error.message).toMatch(/^kvCacheDtype "fp8"/);
    }
  });
});

describe("a bench of more memory than there is", () => {
  it.each<[string, (on: Kernels) => Promise<unknown>]>([
    ["weights", (on) => on.bench("linear", { rows: 1, in: 2 ** 22, out: 2 ** 22 })],
    ["copies of weights", (on) => on.bench("linear", { rows: 1, in: 32, out: 32 }, { coldBytes: 2 ** 40 })],
    ["results", (on) => on.bench("linear", { rows: 2 ** 18, in: 32, out: 2 ** 18 })],
  ])("is refused before it is made: %s", async (_, run) => {
    await using cpu = kernels("cpu", { threads: 1 });
    expect(await failure(() => run(cpu))).toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(/would take \d+ bytes; \d+ are /),
    });
    expect((await cpu.rmsNorm(norm)).output).toHaveLength(8);
  });
});

describe("a bench of operands whose result is not finite", () => {
  const nan = Number.NaN;
  const inf = Number.POSITIVE_INFINITY;
  /** Ones, and `value` at element 3. */
  const but = (n: number, value: number) => ones(n).fill(value, 3, 4);
  const bitsBut = (n: number, value: number) => bits(n).fill(value, 3, 4);
  const bytesBut = (n: number, value: number) => bytes(n).fill(value, 3, 4);
  const [nanBits, infBits] = [0x7fc0, 0x7f80];
  const gemm = { x: ones(64), blocks: bytes(32 * 16), scales: bytes(32), rows: 2, in: 32, out: 32 };
  const head = { x: ones(8), weight: bits(12), rows: 2, hidden: 4, vocab: 3 };
  const table = { table: bits(8), tokens: new Int32Array([0]), vocab: 2, hidden: 4 };
  const blocks = { blocks: bytes(4 * 16), scales: bytes(4), rows: 2, cols: 64 };

  it.each([
    [
      "embed",
      { ...table, table: bitsBut(8, nanBits) },
      "table",
      /output\[3\] of embed is not finite in float32, as table\[3\] is NaN/,
    ],
    ["rmsNorm", { ...norm, x: but(8, nan) }, "x", /x\[3\] is NaN/],
    ["rmsNorm", { ...norm, weight: but(4, -inf) }, "weight", /weight\[3\] is -Infinity/],
    ["linear", { ...product, x: but(8, inf) }, "x", /x\[3\] is Infinity/],
    ["linear", { ...product, weight: bitsBut(12, infBits) }, "weight", /weight\[3\] is Infinity/],
    ["linear", { ...product, bias: ones(3).fill(nan, 2) }, "bias", /bias\[2\] is NaN/],
    ["linear", { ...product, residual: but(6, -inf) }, "residual", /residual\[3\] is -Infinity/],
    [
      "linear",
      { ...product, x: but(8, 3e38), weight: bits(12).fill(0x7f00) },
      undefined,
      /not finite in float32; `check: false`/,
    ],
    ["rmsNorm", { ...norm, x: but(8, 3e38) }, undefined, /not finite in float32; `check: false`/],
    ["lmHead", { ...head, x: but(8, nan) }, "x", /logits\[/],
    ["qkv", { ...qkv, qBias: but(64, nan) }, "qBias", /qBias\[3\]/],
    ["qkv", { ...qkv, vWeight: bitsBut(64 * 32, nanBits) }, "vWeight", /vWeight\[3\]/],
    ["attention", { ...attend, k: but(128, nan) }, "k", /k\[3\]/],
    ["attention", { ...attend, v: but(128, inf) }, "v", /v\[3\]/],
    ["attention", { ...attend, sinks: ones(1).fill(inf) }, "sinks", /sinks\[0\]/],
    ["router", { ...choice, logits: but(8, nan) }, "logits", /logits\[3\]/],
    ["router", { ...choice, logits: ones(8).fill(-inf) }, "logits", /logits\[0\]/],
    ["experts", { ...moe, x: but(32, nan) }, "x", /x\[3\]/],
    ["experts", { ...moe, weight: ones(1).fill(nan) }, "weight", /weight\[0\]/],
    [
      "experts",
      { ...moe, index: new Int32Array([1]), gateUpScales: bytes(128).fill(255, 64) },
      "gateUpScales",
      /\[64\] is 255/,
    ],
    ["sample", { ...draw, logits: but(8, nan) }, "logits", /logits\[3\]/],
    ["sample", { ...draw, logits: ones(8).fill(-inf) }, "logits", /logits\[0\]/],
    ["sample", { ...draw, logits: but(8, inf), temperature: 0 }, "logits", /logits\[3\]/],
    ["swiglu", { x: but(8, nan), rows: 2, intermediate: 2 }, "x", /x\[3\]/],
    ["mxfp4Dequantize", { ...blocks, scales: bytesBut(4, 255) }, "scales", /scales\[3\] is 255, which is NaN/],
    ["mxfp4Gemm", { ...gemm, scales: bytesBut(32, 255) }, "scales", /scales\[3\]/],
  ] as [OperationName, object, string | undefined, RegExp][])("%s %#", async (operation, given, field, message) => {
    await using cpu = kernels("cpu", { threads: 1, numerics: "exact" });
    const options = { seconds: 0, coldBytes: 0 };
    const error = await failure(() => cpu.bench(operation, given as never, options));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) });
    expect(error.field).toBe(field);
    const { samples } = await cpu.bench(operation, given as never, { ...options, check: false });
    expect(samples).toHaveLength(5);
  });

  it.each([
    ["attention", { ...attend, sinks: ones(1).fill(-inf) }],
    ["router", { ...choice, logits: but(8, -inf) }],
    ["sample", { ...draw, logits: but(8, -inf) }],
    ["rmsNorm", { ...norm, x: new Float32Array(8) }],
  ] as [OperationName, object][])("does not refuse %s where the infinity means none", async (operation, given) => {
    await using cpu = kernels("cpu", { threads: 1 });
    const { check } = await cpu.bench(operation, given as never, { seconds: 0, coldBytes: 0 });
    expect(check!.worstError).toBeLessThanOrEqual(1);
  });
});
