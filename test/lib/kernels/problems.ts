import path from "node:path";
import { expect } from "vitest";
import { bf16, float32, type Kernels } from "../../../lib/kernels/index.js";
import { seededRandom } from "../../support/random.js";
import { SafetensorsFile } from "../../support/safetensors.js";

/** Operations with known results: the golden cases of the oracle, and plain loops. Each backend must have them. */

/** How far results may be off, as a part of the largest one: float32 sums, or bf16 operands. */
export interface Precision {
  /** Of a product. */
  product: number;
  /** Of a result that is an operand. */
  operand: number;
}
export const exact: Precision = { product: 2e-6, operand: 2e-6 };
export const rounded: Precision = { product: 2 ** -7, operand: 2 ** -7 };

const golden = (name: string) => new SafetensorsFile(path.resolve(`test/golden/kernels/${name}.safetensors`));

export function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  const largest = Math.max(...Array.from(expected, Math.abs));
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i]! - expected[i]!);
    if (!(error <= tolerance * largest)) expect([i, actual[i]]).toEqual([i, expected[i]]);
  }
}

export function randomFloats(count: number, seed: number, scale = 1): Float32Array {
  const random = seededRandom(seed);
  // Values that bf16 holds: then no rounding of inputs counts.
  return float32(bf16(Float32Array.from({ length: count }, () => (random() * 2 - 1) * scale)));
}
const randomBf16 = (count: number, seed: number, scale = 1) => bf16(randomFloats(count, seed, scale));

async function rmsNorm(on: Kernels, { operand }: Precision): Promise<void> {
  const file = golden("rmsnorm");
  const [rows, hidden] = [11, 160];
  const { output } = await on.rmsNorm({ x: file.f32("x"), weight: file.f32("weight"), rows, hidden });
  const expected = file.f64("expect_f64");
  // Each row has its own size.
  for (let r = 0; r < rows; r++) {
    const row = <T extends Float32Array | Float64Array>(of: T) => of.slice(r * hidden, (r + 1) * hidden);
    expectClose(row(output), row(expected), operand);
  }
}

async function router(on: Kernels): Promise<void> {
  const file = golden("router");
  for (const [name, tokens, experts] of [
    ["plain", 24, 32],
    ["ties", 7, 8],
  ] as const) {
    const { index, weight } = await on.router({ logits: Float32Array.from(file.f64(name)), tokens, experts, topK: 4 });
    expect([...index]).toEqual([...file.i32(`${name}_index`)]);
    expectClose(weight, file.f64(`${name}_weight`), 1e-6);
  }
}

async function attention(on: Kernels, { operand }: Precision): Promise<void> {
  const file = golden("attention");
  const [tokens, heads] = [40, 6];
  const q = Float32Array.from(file.f64("q"));
  const queries = Float32Array.from(
    { length: tokens * heads * 64 },
    (_, i) => q[Math.floor(i / (heads * 64)) * 64 + (i % 64)]!,
  );
  const [k, v, sinks] = ["k", "v", "sinks"].map((name) => Float32Array.from(file.f64(name))) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  for (const window of [0, 1, 7]) {
    const dims = { tokens, keys: tokens, heads, kvHeads: 1, window };
    const { output } = await on.attention({ q: queries, k, v, sinks, ...dims });
    const expected = file.f64(`expect_window${window}_f64`); // [sinks, tokens, 64]
    const inOrder = Float64Array.from(
      output,
      (_, i) => expected[(Math.floor(i / 64) % heads) * tokens * 64 + Math.floor(i / (heads * 64)) * 64 + (i % 64)]!,
    );
    expectClose(output, inOrder, operand);
  }
}

/** The golden rotations, by identity matrices: two heads of queries, and a key that is their first half. */
async function rotations(on: Kernels, { operand }: Precision): Promise<void> {
  const file = golden("rope");
  const [tokens, hidden] = [20, 128];
  const identity = (rows: number) =>
    bf16(Float32Array.from({ length: rows * hidden }, (_, i) => (Math.floor(i / hidden) === i % hidden ? 1 : 0)));
  const { q, k, v } = await on.qkv({
    x: Float32Array.from(file.f64("x")),
    positions: file.i32("positions"),
    qWeight: identity(128),
    kWeight: identity(64),
    vWeight: identity(64),
    qBias: new Float32Array(128),
    kBias: new Float32Array(64),
    vBias: new Float32Array(64),
    tokens,
    hidden,
    heads: 2,
    kvHeads: 1,
  });
  const [x, rotated] = [file.f64("x"), file.f64("rotated_f64")];
  expectClose(q, rotated, operand);
  const first = (of: Float64Array) => of.filter((_, i) => i % 128 < 64);
  expectClose(k, first(rotated), operand);
  expectClose(v, first(x), operand);
}

async function embed(on: Kernels): Promise<void> {
  const table = randomBf16(50 * 64, 1);
  const tokens = new Int32Array([3, 49, 0, 3]);
  const { output } = await on.embed({ table, tokens, vocab: 50, hidden: 64 });
  const values = float32(table);
  expect([...output]).toEqual([...tokens].flatMap((token) => [...values.subarray(token * 64, (token + 1) * 64)]));
}

function product(x: Float32Array, w: Float32Array, rows: number, cols: number, out: number): Float64Array {
  return Float64Array.from({ length: rows * out }, (_, i) => {
    const [r, o] = [Math.floor(i / out), i % out];
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += x[r * cols + c]! * w[o * cols + c]!;
    return sum;
  });
}

async function linear(on: Kernels, { product: tolerance }: Precision): Promise<void> {
  for (const rows of [1, 5, 40]) {
    const [cols, out] = [96, 160];
    const [x, weight] = [randomFloats(rows * cols, 2), randomBf16(out * cols, 3)];
    const [bias, residual] = [randomFloats(out, 4), randomFloats(rows * out, 5)];
    const plain = product(x, float32(weight), rows, cols, out);
    const dims = { rows, in: cols, out };
    expectClose((await on.linear({ x, weight, ...dims })).output, plain, tolerance);
    expectClose((await on.linear({ x: bf16(x), weight, ...dims, precision: "high" })).output, plain, tolerance);
    const sum = plain.map((value, i) => value + bias[i % out]! + residual[i]!);
    expectClose((await on.linear({ x, weight, bias, residual, ...dims })).output, sum, tolerance);
    expectClose((await on.lmHead({ x, weight, rows, hidden: cols, vocab: out })).logits, plain, tolerance);
  }
}

const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

export function mxfp4Values(blocks: Uint8Array, scales: Uint8Array): Float32Array {
  return Float32Array.from({ length: scales.length * 32 }, (_, i) => {
    const pair = blocks[i >> 1]!;
    const code = i % 2 === 0 ? pair & 15 : pair >> 4;
    return (code & 8 ? -1 : 1) * magnitudes[code & 7]! * 2 ** (scales[i >> 5]! - 127);
  });
}

export function randomMxfp4(values: number, seed: number) {
  const random = seededRandom(seed);
  return {
    blocks: Uint8Array.from({ length: values / 2 }, () => Math.floor(random() * 256)),
    scales: Uint8Array.from({ length: values / 32 }, () => 121 + Math.floor(random() * 4)),
  };
}

async function experts(on: Kernels, { product: tolerance }: Precision): Promise<void> {
  for (const tokens of [1, 5, 40]) {
    const [hidden, intermediate, count, topK] = [64, 96, 5, 4];
    const [gateUp, down] = [
      randomMxfp4(count * 2 * intermediate * hidden, 6),
      randomMxfp4(count * hidden * intermediate, 7),
    ];
    const [gateUpBias, downBias] = [randomFloats(count * 2 * intermediate, 8), randomFloats(count * hidden, 9)];
    const [x, residual] = [randomFloats(tokens * hidden, 10), randomFloats(tokens * hidden, 11)];
    const index = Int32Array.from({ length: tokens * topK }, (_, i) => ((i % topK) + Math.floor(i / topK)) % count);
    const weight = Float32Array.from({ length: tokens * topK }, (_, i) => 0.1 + 0.1 * (i % topK));
    const { output } = await on.experts({
      ...{ x, index, weight, residual, gateUpBias, downBias },
      ...{ gateUpBlocks: gateUp.blocks, gateUpScales: gateUp.scales },
      ...{ downBlocks: down.blocks, downScales: down.scales },
      ...{ tokens, hidden, intermediate, experts: count, topK },
    });
    const [w1, w2] = [mxfp4Values(gateUp.blocks, gateUp.scales), mxfp4Values(down.blocks, down.scales)];
    const expected = Float64Array.from(residual);
    for (const [pair, e] of index.entries()) {
      const t = Math.floor(pair / topK);
      const row = x.subarray(t * hidden, (t + 1) * hidden);
      const of = w1.subarray(e * 2 * intermediate * hidden, (e + 1) * 2 * intermediate * hidden);
      const sums = product(row, of, 1, hidden, 2 * intermediate).map(
        (sum, r) => sum + gateUpBias[e * 2 * intermediate + r]!,
      );
      const act = Float32Array.from({ length: intermediate }, (_, i) => swiglu(sums[2 * i]!, sums[2 * i + 1]!));
      const back = w2.subarray(e * hidden * intermediate, (e + 1) * hidden * intermediate);
      for (const [c, sum] of product(act, back, 1, intermediate, hidden).entries())
        expected[t * hidden + c]! += weight[pair]! * (sum + downBias[e * hidden + c]!);
    }
    expectClose(output, expected, tolerance);
  }
}

export function swiglu(gate: number, up: number, alpha = 1.702, limit = 7): number {
  const [g, u] = [Math.min(gate, limit), Math.min(Math.max(up, -limit), limit)];
  return (g / (1 + Math.exp(-alpha * g))) * (u + 1);
}

async function sample(on: Kernels): Promise<void> {
  const [rows, vocab] = [3, 500];
  const logits = randomFloats(rows * vocab, 12, 3);
  const best = Array.from({ length: rows }, (_, r) => {
    const row = logits.subarray(r * vocab, (r + 1) * vocab);
    const token = row.indexOf(Math.max(...row));
    return { token, logprob: row[token]! - Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0)) };
  });
  const greedy = await on.sample({ logits, rows, vocab, temperature: 0 });
  expect([...greedy.token]).toEqual(best.map(({ token }) => token));
  expectClose(
    greedy.logprob,
    best.map(({ logprob }) => logprob),
    1e-5,
  );
  const drawn = await on.sample({ logits, rows, vocab, seed: 7 });
  expect([...(await on.sample({ logits, rows, vocab, seed: 7 })).token]).toEqual([...drawn.token]);
  expect([...(await on.sample({ logits, rows, vocab, seed: 7, topK: 1 })).token]).toEqual([...greedy.token]);
  expect([...(await on.sample({ logits, rows, vocab, seed: 8 })).token]).not.toEqual([...drawn.token]);
}

/** The operations of the seam, which every backend has. */
export const seam = ["embed", "rmsNorm", "linear", "qkv", "attention", "router", "experts", "lmHead", "sample"];

/** All problems of the seam, by name. */
export const problems: [string, (on: Kernels, precision: Precision) => Promise<void>][] = [
  ["rmsNorm", rmsNorm],
  ["router", router],
  ["attention", attention],
  ["rotations", rotations],
  ["embed", embed],
  ["linear and lmHead", linear],
  ["experts", experts],
  ["sample", sample],
];
