import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { Engine, type EngineOptions, type PlanOptions, planModel } from "../../../lib/index.js";
import { failure } from "../../support/failure.js";
import { floatExperts, GoldenModel, ggufBytes, ggufOf } from "../../support/gguf.js";
import { isas } from "../../support/instruction-sets.js";
import { merged, mlx, mlxConfig, plainConfig } from "../../support/other-layouts.js";
import { writeModel } from "../../support/write-safetensors.js";

/** Plans of models that are converted, and of adapters, against the engines that load them. */

const golden = path.resolve("test/golden");
const huggingface = path.join(golden, "models/c");
const adapter = path.join(golden, "adapters/c.unsloth");
const root = mkdtempSync(path.join(tmpdir(), "gpt-oss-plan-converted-"));
afterAll(() => rmSync(root, { recursive: true }));
beforeEach(() => vi.stubEnv("GPT_OSS_BACKEND", ""));
afterEach(() => vi.unstubAllEnvs());

let written = 0;
function gguf(dense: "bf16" | "f32" | "q8_0"): string {
  const file = path.join(root, `${++written}.gguf`);
  writeFileSync(file, ggufBytes(ggufOf(new GoldenModel("c"), { dense })));
  return file;
}
function folder(config: unknown, tensors: Parameters<typeof writeModel>[2]): string {
  const to = path.join(root, String(++written));
  writeModel(to, config, tensors);
  return to;
}

/** Its down experts are bf16, and gate and up float16. */
function ggufOfFloats(): string {
  const file = path.join(root, `${++written}.gguf`);
  writeFileSync(file, ggufBytes(floatExperts(ggufOf(new GoldenModel("c")), { down: "bf16", gateAndUp: "f16" })));
  return file;
}

interface Model extends Pick<EngineOptions, "expertWeights" | "adapters"> {
  path: string;
}
const models: Readonly<Record<string, Model>> = {
  "safetensors of the release": { path: huggingface },
  "GGUF, bf16": { path: gguf("bf16") },
  "GGUF, f32": { path: gguf("f32") },
  "GGUF, q8_0": { path: gguf("q8_0") },
  MLX: { path: folder(mlxConfig, mlx().tensors) },
  "MLX, affine": { path: folder(mlxConfig, mlx(4).tensors) },
  "bf16 experts": { path: folder(plainConfig, merged()) },
  "bf16 experts that are kept": { path: folder(plainConfig, merged()), expertWeights: "bf16" },
  "experts of a GGUF file that are kept": { path: ggufOfFloats(), expertWeights: "bf16" },
  "a merged adapter": { path: huggingface, adapters: { one: { path: adapter, merge: true } } },
  "an adapter of requests": { path: huggingface, adapters: { one: adapter } },
  "both, in bf16 experts that are kept": {
    path: folder(plainConfig, merged()),
    expertWeights: "bf16",
    adapters: { one: adapter, two: { path: adapter, merge: true } },
  },
  "both, in GGUF": { path: gguf("q8_0"), adapters: { one: adapter, two: { path: adapter, merge: true } } },
};

describe.each(isas)("on %s", (isa) => {
  it.each(Object.keys(models))("%s takes what is planned", async (name) => {
    const { path: model, ...always } = models[name]!;
    vi.stubEnv("GPT_OSS_ISA", isa);
    for (const options of [{}, { denseWeights: "q8", packedWeights: "memory" }] satisfies EngineOptions[]) {
      const engine = { ...options, backend: "cpu", contextLength: 500, ...always } as const;
      let info: Engine["info"];
      try {
        await using loaded = await Engine.load(model, engine);
        info = loaded.info;
      } catch (error) {
        // This machine does not have the instruction set. test/native compares plans on those that it has.
        expect(error).toMatchObject({ code: "UNSUPPORTED", message: expect.stringContaining(isa) });
        return;
      }
      const plan = (await planModel(model, { ...engine, memory: info.memory.availableBytes })).backends[0]!;
      const { packedBytes, workspaceBytes, kvBytes, weightsBytes } = info.memory;
      expect(plan.memory).toMatchObject({ packedBytes, workspaceBytes, kvBytes });
      expect(plan).toMatchObject({ isa: info.isa, denseWeights: info.denseWeights });
      expect(plan.expertWeights).toBe(info.expertWeights);
      expect(plan.memory.weightsBytes).toBe(weightsBytes);
    }
  });
});

describe("what is planned", () => {
  const options: PlanOptions = { backend: "cpu", isa: "scalar", memory: "1GB", contextLength: 500 };
  const memoryOf = async (name: string, more: PlanOptions = {}) => {
    const { path: model, ...always } = models[name]!;
    const { backends } = await planModel(model, { ...options, ...more, ...always });
    return backends[0]!.memory;
  };

  it("follows the types of the file: Q8_0 takes 34 bytes where bf16 takes 64", async () => {
    const [bf16, f32, q8] = [await memoryOf("GGUF, bf16"), await memoryOf("GGUF, f32"), await memoryOf("GGUF, q8_0")];
    const { layers, hidden, heads, kvHeads, headDim, vocab } = (await planModel(huggingface, options)).model;
    const dense = layers * hidden * headDim * (2 * heads + 2 * kvHeads) + 2 * vocab * hidden;
    expect(f32.packedBytes - bf16.packedBytes).toBe(2 * dense); // bf16 lies in the file, f32 is a copy
    expect(f32.packedBytes - q8.packedBytes).toBe((30 / 32) * dense);
  });

  it("counts experts that the files have in another form as copies", async () => {
    const released = await memoryOf("safetensors of the release");
    const experts = (3 * 5 * 3 * 64 * 128 * 17) / 32;
    for (const name of ["GGUF, bf16", "bf16 experts"]) {
      // The router of the GGUF file is in float32.
      const router = name === "GGUF, bf16" ? 3 * 5 * 64 * 2 : 0;
      expect((await memoryOf(name)).packedBytes).toBe(released.packedBytes + experts + router);
    }
    expect((await memoryOf("MLX")).packedBytes).toBe(released.packedBytes + (experts * 2) / 3); // gate and up
  });

  it("counts experts in bf16 as copies, except for those that a GGUF file holds so", async () => {
    const released = await memoryOf("safetensors of the release");
    const experts = 3 * 5 * 3 * 64 * 128 * 2;
    const kept = await memoryOf("bf16 experts that are kept");
    expect(kept.packedBytes).toBe(released.packedBytes + experts);
    const inGguf = await memoryOf("experts of a GGUF file that are kept");
    const router = 3 * 5 * 64 * 2; // float32 in the file
    expect(inGguf.packedBytes).toBe(released.packedBytes + (experts * 2) / 3 + router);
    expect(inGguf.mappedBytes - kept.mappedBytes).toBe(experts / 3 - router);
  });

  it("is the layout of the release where there is only a config, and for missing parts", async () => {
    const alone = path.join(root, "alone");
    writeModel(alone, plainConfig, merged());
    rmSync(path.join(alone, "model.safetensors"));
    const { memory } = (await planModel(alone, options)).backends[0]!;
    expect(memory).toMatchObject({ packedBytes: (await memoryOf("safetensors of the release")).packedBytes });
    const wanted = { ...options, adapters: { one: { path: adapter, merge: true } } };
    expect(await failure(() => planModel(alone, wanted))).toMatchObject({
      code: "MODEL_NOT_FOUND",
      message: expect.stringContaining("expected the weights that adapters are merged into, found the config alone"),
    });
    // An adapter of requests changes no tensor.
    const { backends } = await planModel(alone, { ...options, adapters: { one: adapter } });
    expect(backends[0]!.memory).toMatchObject({
      packedBytes: (await memoryOf("an adapter of requests")).packedBytes,
    });
  });

  it("counts adapters of requests on a GPU, with the table of their terms", async () => {
    const onGpu = async (adapters: NonNullable<PlanOptions["adapters"]>) => {
      const { backends } = await planModel(huggingface, {
        memory: "1GB",
        backend: "cuda",
        contextLength: 500,
        adapters,
      });
      return backends[0]!.memory;
    };
    const [plain, adapted] = [await onGpu({}), await onGpu({ one: adapter })];
    // 24 bytes for each matrix that an adapter can change: 5 of each layer, two of each expert, and the head.
    const table = Math.ceil(((3 * (5 + 2 * 5) + 1) * 24) / 256) * 256;
    expect(adapted.adapterBytes).toBe((await memoryOf("an adapter of requests")).adapterBytes + table);
    expect(adapted.packedBytes - plain.packedBytes).toBe(adapted.adapterBytes);
    expect(adapted.workspaceBytes).toBeGreaterThan(plain.workspaceBytes);
    const both = await planModel(huggingface, { memory: "4GB", adapters: { one: adapter } });
    expect(both.leftOut).toEqual([]);
  });

  it("refuses adapters of another model", async () => {
    expect(await failure(() => planModel("20b", { ...options, adapters: { one: adapter } }))).toMatchObject({
      code: expect.stringMatching(/^MODEL_/),
    });
  });

  it("names changes without the adapter where another model is one", async () => {
    const small = await planModel(huggingface, { ...options, memory: 1000, adapters: { one: adapter } });
    expect(small.fits).toBe(false);
    expect(small.backends[0]!.changes[0]).toHaveProperty("memoryBytes");
  });

  it("is the layout of the release for weights that are no files yet, such as pointers of a clone", async () => {
    const damaged = path.join(root, "damaged");
    cpSync(huggingface, damaged, { recursive: true });
    for (const file of readdirSync(damaged).filter((name) => name.endsWith(".safetensors"))) {
      writeFileSync(path.join(damaged, file), "nothing");
    }
    const { memory } = (await planModel(damaged, options)).backends[0]!;
    expect(memory.packedBytes).toBe((await memoryOf("safetensors of the release")).packedBytes);
    const file = path.join(root, "damaged.gguf");
    writeFileSync(file, "nothing");
    expect(await failure(() => planModel(file, options))).toMatchObject({ code: "MODEL_FORMAT" });
  });
});

/** An engine whose cache may take nearly all that is free. Nothing of it is touched, so nothing is taken from others. */
async function fullEngine(load: (bytes: number) => Promise<Engine>): Promise<Engine> {
  for (let tries = 0; tries < 30; tries++) {
    const roomy = await load(1 << 20);
    await roomy.close();
    const bytes = roomy.info.memory.availableBytes - 300 * 2 ** 20;
    // Other programs may take or free memory meanwhile. Then this is done again.
    const full = await load(bytes).catch((error: unknown) => expect(error).toMatchObject({ code: "OUT_OF_MEMORY" }));
    if (!(full instanceof Engine)) continue;
    if (full.info.memory.availableBytes - bytes < 500 * 2 ** 20) return full; // 512 MiB are reserved
    await full.close();
  }
  throw new Error("the free memory of this machine changes too much");
}

describe("an adapter that is loaded later", () => {
  it("is refused when the engine's plan leaves no memory for it", async () => {
    const load = (bytes: number) => Engine.load(huggingface, { backend: "cpu", contextLength: 64, kvCache: { bytes } });
    const full = await fullEngine(load);
    onTestFinished(() => full.close());
    expect(await failure(() => full.loadAdapter("one", adapter))).toMatchObject({
      code: "OUT_OF_MEMORY",
      field: "name",
      message: expect.stringContaining("unload one, or lower kvCache.bytes"),
    });
    expect(full.adapters()).toEqual([]);
  });
});
