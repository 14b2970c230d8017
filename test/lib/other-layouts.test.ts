import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../lib/engine.js";
import type { ErrorCode } from "../../lib/errors.js";
import type { EngineOptions } from "../../lib/generation/options.js";
import { inspectCheckpoint } from "../../lib/inspect.js";
import { GoldenModel } from "../support/gguf.js";
import { type StoredTensor, writeModel } from "../support/write-safetensors.js";

/** Merged fine-tunes, whose experts are bf16, and MLX: a golden model in these layouts. */

let root: string;
beforeAll(() => {
  root = realpathSync(mkdtempSync(path.join(tmpdir(), "gpt-oss-layouts-")));
});
afterAll(() => rmSync(root, { recursive: true }));

type Tensors = Map<string, StoredTensor>;
const golden = new GoldenModel("c");
const huggingface = path.resolve("test/golden/models/c");

let folders = 0;
function write(config: unknown, tensors: Tensors): string {
  const folder = path.join(root, String(++folders));
  writeModel(folder, config, tensors);
  return folder;
}

const tokens = Array.from({ length: 60 }, (_, i) => (i * 37) % 300);

async function logits(model: string, options: EngineOptions = {}): Promise<Float32Array> {
  await using engine = await Engine.load(model, { backend: "cpu", contextLength: 128, ...options });
  return await engine.logits(tokens, { last: 5 });
}

const bf16 = (values: Float32Array): Uint8Array =>
  new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16).buffer);

/** [experts, rows, cols] of MXFP4 → [experts, cols, rows], as transformers dequantises it. */
function dequantized(name: string): { shape: [number, number, number]; values: Float32Array } {
  const blocks = golden.get(`${name}_blocks`);
  const scales = golden.get(`${name}_scales`).bytes;
  const [experts, rows, groups] = blocks.shape as [number, number, number];
  const cols = groups * 32;
  const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  const values = new Float32Array(experts * rows * cols);
  for (let e = 0; e < experts; e++) {
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        const at = (e * rows + r) * cols + c;
        const byte = blocks.bytes[at >> 1]!;
        const code = at % 2 === 0 ? byte & 15 : byte >> 4;
        values[(e * cols + c) * rows + r] =
          (code & 8 ? -1 : 1) * magnitudes[code & 7]! * 2 ** (scales[Math.floor(at / 32)]! - 127);
      }
    }
  }
  return { shape: [experts, cols, rows], values };
}

/** The golden model as transformers saves it without quantisation. `change` alters the weights of an expert. */
function merged(change: (values: Float32Array) => Float32Array = (values) => values): Tensors {
  const out: Tensors = new Map();
  for (const [name, tensor] of golden.tensors) {
    if (name.endsWith("_scales")) continue;
    if (!name.endsWith("_blocks")) {
      out.set(name, tensor);
      continue;
    }
    const base = name.slice(0, -"_blocks".length);
    const { shape, values } = dequantized(base);
    out.set(base, { dtype: "BF16", shape, bytes: bf16(change(values)) });
  }
  return out;
}
const { quantization_config: _, ...plainConfig } = golden.config as Record<string, unknown>;

describe("experts in bf16", () => {
  it("have the same bits as before, when they were MXFP4", async () => {
    const folder = write(plainConfig, merged());
    const expected = await logits(huggingface);
    expect(await logits(folder)).toEqual(expected);
    expect(await logits(write({ ...plainConfig, quantization_config: { quant_method: "none" } }, merged()))).toEqual(
      expected,
    );
    const { layout, conversion, tensors } = await inspectCheckpoint(folder);
    expect(layout).toBe("huggingface, bf16 experts");
    const values = 3 * 5 * 3 * 64 * 128; // layers, experts, gate with up and down
    expect(conversion!.experts).toEqual({ values, changed: 0, relativeRms: 0, largestError: 0, largestIn: null });
    const blocks = tensors.find(({ name }) => name === "model.layers.1.mlp.experts.down_proj_blocks");
    expect(blocks).toMatchObject({
      dtype: "BF16",
      shape: [5, 64, 4, 16],
      storedName: "model.layers.1.mlp.experts.down_proj",
    });
  });

  it("are quantised, and the error is told at load and by inspect", async () => {
    const folder = write(
      plainConfig,
      merged((values) => values.map((value, i) => value * (1 + 0.1 * Math.sin(i)))),
    );
    await using engine = await Engine.load(folder, { backend: "cpu", contextLength: 64, packedWeights: "memory" });
    const told = engine.info.conversion!.experts;
    expect(told.values).toBe(3 * 5 * 3 * 64 * 128);
    // Values on the grid, moved by 7 % in rms, go back to the grid: most of them to where they were.
    expect(told.relativeRms).toBeGreaterThan(0.04);
    expect(told.relativeRms).toBeLessThan(0.1);
    expect(told.largestIn).toMatch(/experts\.(gate_up|down)_proj$/);
    const { experts } = (await inspectCheckpoint(folder)).conversion!;
    expect(experts.changed).toBe(told.changed);
    expect(experts.relativeRms).toBeCloseTo(told.relativeRms, 12);
    expect(experts.largestError).toBe(told.largestError);
  });

  it("give the same packed weights as MXFP4, in a file of their own", async () => {
    const folder = write(plainConfig, merged());
    const place = path.join(root, "place");
    const first = await logits(folder, { packedWeights: place });
    expect(await logits(folder, { packedWeights: place })).toEqual(first);
    expect(await logits(huggingface, { packedWeights: place })).toEqual(first);
    await using engine = await Engine.load(folder, { backend: "cpu", contextLength: 64, packedWeights: place });
    if (engine.info.packedWeights.in !== "file") return; // no CPU that packs
    expect(engine.info.conversion!.experts.values).toBe(0); // nothing is read but the packed file
    await using other = await Engine.load(huggingface, { backend: "cpu", contextLength: 64, packedWeights: place });
    expect(other.info.packedWeights.path).not.toBe(engine.info.packedWeights.path);
  });
});

/** The golden model in the layout of mlx-lm, its dense matrices affine where `bits` is given. */
function mlx(bits?: 4 | 8): { tensors: Tensors; dense: Tensors } {
  const tensors: Tensors = new Map();
  const dense: Tensors = new Map(); // the same values as bf16
  const everyOther = (name: string, first: number, row: number, dtype: string, shape: number[]): StoredTensor => {
    const { bytes } = golden.get(name);
    const parts: Uint8Array[] = [];
    for (let at = first * row; at < bytes.length; at += 2 * row) parts.push(bytes.subarray(at, at + row));
    return { dtype, shape, bytes: Buffer.concat(parts) };
  };
  for (const [name, tensor] of golden.tensors) {
    const base = name.replace(/_(blocks|scales|bias)$/, "");
    if (base.endsWith("gate_up_proj")) {
      const [experts, rows, groups] = golden.get(`${base}_blocks`).shape as [number, number, number];
      for (const [i, half] of ["gate_proj", "up_proj"].entries()) {
        const to = base.replace("gate_up_proj", half);
        const shape = [experts, rows / 2];
        if (name.endsWith("_blocks"))
          tensors.set(`${to}.weight`, everyOther(name, i, groups * 16, "U32", [...shape, groups * 4]));
        if (name.endsWith("_scales"))
          tensors.set(`${to}.scales`, everyOther(name, i, groups, "U8", [...shape, groups]));
        if (name.endsWith("_bias")) tensors.set(`${to}.bias`, everyOther(name, i, 2, "BF16", shape));
      }
    } else if (base.endsWith("down_proj")) {
      const [experts, rows, groups] = golden.get(`${base}_blocks`).shape as [number, number, number];
      if (name.endsWith("_blocks"))
        tensors.set(`${base}.weight`, { dtype: "U32", shape: [experts, rows, groups * 4], bytes: tensor.bytes });
      if (name.endsWith("_scales")) tensors.set(`${base}.scales`, tensor);
      if (name.endsWith("_bias")) tensors.set(`${base}.bias`, tensor);
    } else if (bits && tensor.shape.length === 2) {
      const affine = affineOf(golden.values(name), tensor.shape as [number, number], bits);
      tensors.set(name, affine.words);
      tensors.set(name.replace(/weight$/, "scales"), affine.scales);
      tensors.set(name.replace(/weight$/, "biases"), affine.biases);
      dense.set(name, affine.bf16);
    } else {
      tensors.set(name, tensor);
    }
  }
  return { tensors, dense };
}

/** Groups of 64: scale and bias in bf16, codes in 32-bit words, the first in the lowest bits. */
function affineOf(values: Float32Array, [rows, cols]: [number, number], bits: number) {
  const group = 64;
  const steps = 2 ** bits - 1;
  const words = new Uint32Array((values.length * bits) / 32);
  const scales = new Float32Array(values.length / group);
  const biases = new Float32Array(values.length / group);
  const decoded = new Float32Array(values.length);
  const short = (value: number) => new Float32Array(Uint32Array.of((floatBits(value) >>> 16) << 16).buffer)[0]!;
  for (let g = 0; g < scales.length; g++) {
    const x = values.subarray(g * group, (g + 1) * group);
    biases[g] = short(Math.min(...x));
    scales[g] = short((Math.max(...x) - Math.min(...x)) / steps);
    for (const [i, value] of x.entries()) {
      const code = Math.max(0, Math.min(steps, Math.round((value - biases[g]!) / scales[g]!)));
      const at = g * group + i;
      words[Math.floor((at * bits) / 32)]! += code * 2 ** ((at * bits) % 32);
      decoded[at] = Math.fround(Math.fround(code * scales[g]!) + biases[g]!);
    }
  }
  const nearest = Uint16Array.from(new Uint32Array(decoded.buffer), (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16);
  const tensor = (dtype: string, width: number, bytes: Uint8Array): StoredTensor => ({
    dtype,
    shape: [rows, width],
    bytes,
  });
  return {
    words: tensor("U32", (cols * bits) / 32, new Uint8Array(words.buffer)),
    scales: tensor("BF16", cols / group, bf16(scales)),
    biases: tensor("BF16", cols / group, bf16(biases)),
    bf16: tensor("BF16", cols, new Uint8Array(nearest.buffer)),
  };
}

function floatBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

const mlxConfig = { ...plainConfig, quantization: { group_size: 32, bits: 4, mode: "mxfp4" } };

describe("MLX", () => {
  it("has the same bits as the Hugging Face layout", async () => {
    const folder = write({ ...mlxConfig, quantization_config: mlxConfig.quantization }, mlx().tensors);
    expect(await logits(folder)).toEqual(await logits(huggingface));
    const { layout, tensors, conversion } = await inspectCheckpoint(folder);
    expect(layout).toBe("mlx");
    expect(conversion).toMatchObject({ dense: { values: 0 }, experts: { values: 0 } });
    expect(tensors.find(({ name }) => name.endsWith("0.mlp.experts.down_proj_blocks"))).toMatchObject({
      dtype: "MXFP4 (U32)",
      shape: [5, 64, 4, 16],
    });
  });

  it.each([8, 4] as const)(
    "with affine dense weights of %i bits: the same bits as these values in bf16",
    async (bits) => {
      const { tensors, dense } = mlx(bits);
      const twin: Tensors = new Map([...golden.tensors].map(([name, tensor]) => [name, dense.get(name) ?? tensor]));
      expect(dense.size).toBe(2 + 3 * 5);
      expect(await logits(write(mlxConfig, tensors))).toEqual(await logits(write(golden.config, twin)));
    },
  );
});

async function refused(folder: string, code: ErrorCode, message: RegExp): Promise<void> {
  const error = await Engine.load(folder, { backend: "cpu" }).then(
    (engine) => engine.close().then(() => expect.fail("it loaded")),
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  expect((error as Error).message).toContain(folder);
}

describe("a model in another layout that is not whole is refused", () => {
  const experts = "model.layers.1.mlp.experts.";
  const set = (name: string, change: Partial<StoredTensor>) => (tensors: Tensors) =>
    tensors.set(name, { ...tensors.get(name)!, ...change });
  const rows: [string, () => Tensors, (tensors: Tensors) => unknown, ErrorCode, RegExp][] = [
    [
      "experts with outputs first",
      merged,
      set(`${experts}down_proj`, { shape: [5, 64, 128] }),
      "MODEL_SHAPE",
      /down_proj": expected shape \[5, 128, 64\], found \[5, 64, 128\]/,
    ],
    [
      "experts of integers",
      merged,
      set(`${experts}down_proj`, { dtype: "I16" }),
      "UNSUPPORTED",
      /down_proj": expected MXFP4, BF16, F16 or F32 experts, found I16/,
    ],
    [
      "an infinite weight",
      () => merged((values) => values.map((value, i) => (i === 1000 ? Number.POSITIVE_INFINITY : value))),
      () => undefined,
      "MODEL_FORMAT",
      /_proj": expert 0, output \d+, inputs 0 to 31: expected finite weights, found infinity or NaN/,
    ],
    [
      "a layer without its experts",
      merged,
      (tensors) => tensors.delete(`${experts}down_proj`),
      "MODEL_FORMAT",
      /expected a tensor "model.layers.1.mlp.experts.down_proj.weight"/,
    ],
    [
      "a bias of another length",
      merged,
      set(`${experts}down_proj_bias`, { shape: [5, 32, 2] }),
      "MODEL_SHAPE",
      /down_proj_bias": expected shape \[5, 64\], found \[5, 32, 2\]/,
    ],
    [
      "MLX: blocks as bytes",
      () => mlx().tensors,
      set(`${experts}gate_proj.weight`, { dtype: "I32" }),
      "MODEL_SHAPE",
      /gate_proj.weight": expected U32, found I32/,
    ],
    [
      "MLX: no scales",
      () => mlx().tensors,
      (tensors) => tensors.delete(`${experts}up_proj.scales`),
      "MODEL_FORMAT",
      /expected a tensor "model.layers.1.mlp.experts.up_proj.scales" of shape \[5, 128, 2\], found none/,
    ],
    [
      "MLX: a scale of 255",
      () => mlx().tensors,
      (tensors) => {
        const name = `${experts}up_proj.scales`;
        const bytes = new Uint8Array(tensors.get(name)!.bytes);
        bytes[9] = 255;
        set(name, { bytes })(tensors);
      },
      "MODEL_FORMAT",
      /up_proj.scales": expert 0, row 4, block 1: expected a scale in \[2, 252\], found 255/,
    ],
    [
      "MLX: affine codes of 16 bits",
      () => mlx(8).tensors,
      set("lm_head.weight", { shape: [301, 16], dtype: "U16", bytes: new Uint8Array(301 * 32) }),
      "MODEL_SHAPE",
      /"lm_head.weight": expected U32, found U16/,
    ],
    [
      "MLX: affine codes of 5 bits",
      () => mlx(8).tensors,
      set("lm_head.weight", { shape: [301, 10], bytes: new Uint8Array(301 * 40) }),
      "UNSUPPORTED",
      /"lm_head.weight": expected codes of 2, 4 or 8 bits for shape \[301, 64\], found U32 \[301, 10\]/,
    ],
    [
      "MLX: no biases",
      () => mlx(8).tensors,
      (tensors) => tensors.delete("lm_head.biases"),
      "MODEL_FORMAT",
      /expected a tensor "lm_head.biases", found none/,
    ],
    [
      "MLX: groups that do not divide a row",
      () => mlx(8).tensors,
      set("lm_head.scales", { shape: [301, 3], bytes: new Uint8Array(301 * 6) }),
      "MODEL_SHAPE",
      /"lm_head.scales": expected groups of the rows of \[301, 64\], found BF16 \[301, 3\]/,
    ],
  ];
  it.each(rows)("%s", async (_name, make, damage, code, message) => {
    const tensors = make();
    damage(tensors);
    await refused(write(mlxConfig, tensors), code, message);
  });
});
