import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../lib/engine.js";
import type { ErrorCode } from "../../lib/errors.js";
import type { EngineOptions } from "../../lib/generation/options.js";
import { inspectCheckpoint } from "../../lib/inspect.js";
import { golden, merged, mlx, mlxConfig, plainConfig, type Tensors } from "../support/other-layouts.js";
import { type StoredTensor, writeModel } from "../support/write-safetensors.js";

/** Merged fine-tunes, whose experts are bf16, and MLX: a golden model in these layouts. */

let root: string;
beforeAll(() => {
  root = realpathSync(mkdtempSync(path.join(tmpdir(), "gpt-oss-layouts-")));
});
afterAll(() => rmSync(root, { recursive: true }));

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

describe("experts in bf16", () => {
  it("have the same bits as before, when they were MXFP4", async () => {
    const folder = write(plainConfig, merged());
    const expected = await logits(huggingface);
    expect(await logits(folder)).toEqual(expected);
    expect(await logits(write({ ...plainConfig, quantization_config: { quant_method: "none" } }, merged()))).toEqual(
      expected,
    );
    const { layout, conversion, tensors, stored } = await inspectCheckpoint(folder);
    expect(layout).toBe("huggingface, bf16 experts");
    const values = 3 * 5 * 3 * 64 * 128; // layers, experts, gate with up and down
    expect(conversion!.experts).toEqual({ values, changed: 0, relativeRms: 0, largestError: 0, largestIn: null });
    const blocks = tensors.find(({ name }) => name === "model.layers.1.mlp.experts.down_proj_blocks");
    expect(blocks).toMatchObject({
      dtype: "U8",
      shape: [5, 64, 4, 16],
      storedName: "model.layers.1.mlp.experts.down_proj",
    });
    expect(stored.find(({ name }) => name === "model.layers.1.mlp.experts.down_proj")).toMatchObject({
      dtype: "BF16",
      bytes: 5 * 128 * 64 * 2,
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

describe("MLX", () => {
  it("has the same bits as the Hugging Face layout", async () => {
    const folder = write({ ...mlxConfig, quantization_config: mlxConfig.quantization }, mlx().tensors);
    expect(await logits(folder)).toEqual(await logits(huggingface));
    const { layout, tensors, stored, conversion } = await inspectCheckpoint(folder);
    expect(layout).toBe("mlx");
    expect(conversion).toMatchObject({ dense: { values: 0 }, experts: { values: 0 } });
    expect(tensors.find(({ name }) => name.endsWith("0.mlp.experts.down_proj_blocks"))).toMatchObject({
      dtype: "U8",
      shape: [5, 64, 4, 16],
    });
    expect(stored.find(({ name }) => name.endsWith("0.mlp.experts.down_proj.weight"))).toMatchObject({
      dtype: "U32",
      bytes: 5 * 64 * 4 * 16,
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
