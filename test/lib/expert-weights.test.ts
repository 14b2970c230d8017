import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { Engine, type EngineOptions, planModel } from "../../lib/index.js";
import { inspectCheckpoint } from "../../lib/inspect.js";
import { difference, expectClose } from "../support/compare.js";
import { failure } from "../support/failure.js";
import { floatExperts, GoldenModel, ggufBytes, ggufOf } from "../support/gguf.js";
import { describeOnEachIsa } from "../support/instruction-sets.js";
import { fineTuned, golden, merged, mlx, mlxConfig, plainConfig, type Tensors } from "../support/other-layouts.js";
import { SafetensorsFile } from "../support/safetensors.js";
import { writeModel } from "../support/write-safetensors.js";

/** Experts that stay bf16 (`expertWeights: "bf16"`), against the oracle; in each layout; and what is refused. */

const root = realpathSync(mkdtempSync(path.join(tmpdir(), "gpt-oss-bf16-experts-")));
afterAll(() => rmSync(root, { recursive: true }));

let written = 0;
function folder(tensors: Tensors, config: unknown = plainConfig): string {
  const to = path.join(root, String(++written));
  writeModel(to, config, tensors);
  return to;
}
function gguf(types?: Parameters<typeof floatExperts>[1]): string {
  const file = path.join(root, `${++written}.gguf`);
  const model = ggufOf(new GoldenModel("c"));
  writeFileSync(file, ggufBytes(types === undefined ? model : floatExperts(model, types)));
  return file;
}

const tuned = folder(fineTuned());
const adapter = path.resolve("test/golden/adapters/c.unsloth");
const expected = new SafetensorsFile(path.resolve("test/golden/bf16-experts/c.unsloth.safetensors"));
const tokens = [...expected.i32("tokens")];
const shape = expected.info("logits_plain_f64").shape as [number, number];
const values = 3 * 5 * 3 * 64 * 128; // layers, experts, gate with up and down

const load = (model: string, options: EngineOptions = {}) =>
  Engine.load(model, { backend: "cpu", contextLength: 512, kvCache: { bytes: "16MiB" }, ...options });
const kept = (model: string, options: EngineOptions = {}) => load(model, { expertWeights: "bf16", ...options });

/** The `require` of test/golden/README.md, for models and for models with an adapter. */
const tolerances = {
  plain: { exact: { maxRel: 1e-5, rmsRel: 1e-5 }, fast: { maxRel: 4e-2, rmsRel: 2e-2 } },
  adapted: { exact: { maxRel: 1e-5, rmsRel: 1e-5 }, fast: { maxRel: 5e-2, rmsRel: 3e-2 } },
};

await describeOnEachIsa("experts in bf16", (isa) => {
  it("gives the oracle's logits, which MXFP4 is far from", async () => {
    await using engine = await kept(tuned);
    expect(engine.info).toMatchObject({ isa, expertWeights: "bf16", packedWeights: { in: "none" } });
    const reference = expected.f64("logits_plain_f64");
    const actual = await engine.logits(tokens, { last: tokens.length });
    const { maxRel, rmsRel } = tolerances.plain[engine.info.numerics];
    expectClose(`bf16 experts on ${isa}`, actual, reference, shape, maxRel);
    expect(difference(actual, reference).rmsRel).toBeLessThan(rmsRel);

    await using rounded = await load(tuned);
    expect(rounded.info.expertWeights).toBe("mxfp4");
    const other = await rounded.logits(tokens, { last: tokens.length });
    expect(difference(other, reference).rmsRel).toBeGreaterThan(4 * rmsRel);
    if (rounded.info.numerics !== "exact") return; // the choice of experts may be near a tie
    expectClose(`experts in MXFP4 on ${isa}`, other, expected.f64("logits_rounded_f64"), shape, maxRel);
  });

  it.each(["beside", "merged"] as const)("an adapter %s the weights gives the oracle's logits", async (kind) => {
    const adapters = { tuned: { path: adapter, merge: kind === "merged" } };
    await using engine = await kept(tuned, { adapters });
    const reference = expected.f64(`logits_${kind}_f64`);
    const options = { last: tokens.length, ...(kind === "beside" && { adapter: "tuned" }) };
    const actual = await engine.logits(tokens, options);
    const { maxRel, rmsRel } = tolerances.adapted[engine.info.numerics];
    expectClose(`${kind} bf16 experts on ${isa}`, actual, reference, shape, maxRel);
    expect(difference(actual, reference).rmsRel).toBeLessThan(rmsRel);
    for (const { error } of engine.info.mergedAdapters) expect(error).toEqual({ ofWeights: 0, ofChange: 0 });
    const base = await engine.logits(tokens, { last: tokens.length });
    if (kind === "merged") expect(base).toEqual(actual);
    else expect(difference(base, reference).rmsRel).toBeGreaterThan(0.5);
  });

  it("gives the same bits for a prompt in chunks, for each token alone, and on any number of threads", async () => {
    const prompt = Array.from({ length: 140 }, (_, i) => (i * 37) % 300);
    await using engine = await kept(tuned, { threads: 2 });
    const whole = await engine.logits(prompt, { last: 60 });
    for (const options of [{ maxBatchTokens: 7 }, { maxBatchTokens: 1, threads: 1 }, { threads: 3 }]) {
      await using other = await kept(tuned, options);
      expect(await other.logits(prompt, { last: 60 })).toEqual(whole);
    }
  });

  it("a request has the same bits alone and beside requests with an adapter", async () => {
    await using engine = await kept(tuned, { adapters: { tuned: adapter } });
    const ask = (index: number, cacheSalt: string) =>
      engine.generate(
        Array.from({ length: 20 + 7 * index }, (_, i) => (i * 31 + 5 * index) % 300),
        {
          ...{ maxTokens: 12, temperature: 0, logprobs: 3, ignoreEos: true, cacheSalt },
          ...(index % 2 === 1 && { adapter: "tuned" }),
        },
      ).result;
    const together = await Promise.all([0, 1, 2, 3, 4].map((index) => ask(index, "together")));
    for (const [index, { tokens: found, logprobs }] of together.entries()) {
      const alone = await ask(index, "alone");
      expect(alone.tokens).toEqual(found);
      expect(alone.logprobs).toEqual(logprobs);
    }
  });
});

describe("each layout", () => {
  const prompt = Array.from({ length: 60 }, (_, i) => (i * 37) % 300);
  async function logits(model: string) {
    await using engine = await kept(model);
    return { info: engine.info, logits: await engine.logits(prompt, { last: 5 }) };
  }

  it("gives the same bits: transposed, in GGUF as bf16, as float32 and as float16", async () => {
    const { logits: reference, info } = await logits(folder(merged()));
    expect(info.conversion).toMatchObject({ dense: { values: 0 }, experts: { values: 0 } }); // nothing is changed
    for (const [down, gateAndUp, converted] of [
      ["bf16", "bf16", 0],
      ["bf16", "f16", (values * 2) / 3],
      ["f32", "f32", values],
    ] as const) {
      const other = await logits(gguf({ down, gateAndUp }));
      expect(other.logits).toEqual(reference);
      expect(other.info.conversion!.experts).toMatchObject({ values: converted, changed: 0 });
    }
  });

  it("rounds float32 to the nearest bf16, and tells it", async () => {
    const { logits: reference } = await logits(tuned);
    const floats: Tensors = new Map();
    for (const [name, tensor] of fineTuned()) {
      if (!/experts\.(gate_up|down)_proj$/.test(name)) {
        floats.set(name, tensor);
        continue;
      }
      const short = new Uint16Array(new Uint8Array(tensor.bytes).buffer);
      const bits = Uint32Array.from(short, (value) => (value << 16) | (value & 0x7fff ? 0x6000 : 0)); // 3/8 of a step
      floats.set(name, { ...tensor, dtype: "F32", bytes: new Uint8Array(bits.buffer) });
    }
    const { logits: rounded, info } = await logits(folder(floats));
    expect(rounded).toEqual(reference);
    const { experts } = info.conversion!;
    expect(experts.values).toBe(values);
    expect(experts.changed).toBeGreaterThan(0.8 * values); // all but zeros
    expect(experts.relativeRms).toBeGreaterThan(1e-4);
    expect(experts.relativeRms).toBeLessThan(2 ** -8);
    expect(experts.largestIn).toMatch(/experts\.(gate_up|down)_proj$/);
  });

  it("stays as it is for inspect, which tells what the default makes of it", async () => {
    const { conversion } = await inspectCheckpoint(tuned);
    expect(conversion!.experts.changed).toBeGreaterThan(0.5 * values);
  });

  it("has random experts in a synthetic model, as planned", async () => {
    await using engine = await kept("synthetic:tiny");
    const { packedBytes, workspaceBytes } = engine.info.memory;
    const { backends } = await planModel("synthetic:tiny", {
      ...{ backend: "cpu", expertWeights: "bf16", contextLength: 512, memory: "1GB" },
    });
    expect(backends[0]).toMatchObject({ expertWeights: "bf16", memory: { packedBytes, workspaceBytes } });
    const { tokens: found } = await engine.generate([1, 2, 3], { maxTokens: 8, ignoreEos: true }).result;
    expect(found).toHaveLength(8);
  });
});

describe("what is refused", () => {
  const mixed: Tensors = new Map(merged());
  const one = "model.layers.1.mlp.experts.down_proj";
  mixed.delete(one);
  for (const name of [`${one}_blocks`, `${one}_scales`]) mixed.set(name, golden.tensors.get(name)!);

  it.each([
    ["the layout of the release", path.resolve("test/golden/models/c"), "gate_up_proj_blocks"],
    ["GGUF", gguf(), "blk.0.ffn_gate_exps.weight + blk.0.ffn_up_exps.weight"],
    ["MLX", folder(mlx().tensors, mlxConfig), "gate_proj.weight"],
    ["one matrix of many", folder(mixed), `${one}_blocks`],
  ])("experts in MXFP4: %s", async (_, model, name) => {
    for (const ask of [() => kept(model), () => planModel(model, { backend: "cpu", expertWeights: "bf16" })]) {
      const error = await failure(ask as () => Promise<unknown>);
      expect(error).toMatchObject({ code: "UNSUPPORTED", field: "expertWeights" });
      expect((error as Error).message).toContain(`${name}`);
      expect((error as Error).message).toContain('use "mxfp4", which has the same values');
    }
  });

  it("weights that are no numbers, by their place", async () => {
    const tensors: Tensors = new Map(merged());
    const name = "model.layers.2.mlp.experts.down_proj";
    const bytes = Uint8Array.from(tensors.get(name)!.bytes);
    new DataView(bytes.buffer).setUint16(2 * (3 * 128 * 64 + 7 * 64 + 5), 0x7fc0, true); // expert 3, input 7, output 5
    tensors.set(name, { ...tensors.get(name)!, bytes });
    expect(await failure(() => kept(folder(tensors)))).toMatchObject({
      code: "MODEL_FORMAT",
      message: expect.stringContaining(`"${name}": expert 3, output 5, input 7: expected a weight that is finite`),
    });
  });

  it("a plan for a GPU, which names the CPU", async () => {
    const asked = { memory: "64GB", expertWeights: "bf16" } as const;
    expect(await failure(() => planModel("20b", { ...asked, backend: "cuda" }))).toMatchObject({
      code: "UNSUPPORTED",
      field: "expertWeights",
    });
    vi.stubEnv("GPT_OSS_BACKEND", "");
    const { backends, leftOut } = await planModel("20b", asked);
    vi.unstubAllEnvs();
    expect(backends.map(({ backend }) => backend)).toEqual(["cpu"]);
    expect(leftOut).toEqual([{ backend: "cuda", reason: expect.stringContaining('use "mxfp4" on a GPU') }]);
  });
});

describe("a plan that does not fit", () => {
  it("names MXFP4 as the change with the most loss, and the smaller model as the release has it", async () => {
    const { fits, backends } = await planModel("120b", { backend: "cpu", memory: "80GB", expertWeights: "bf16" });
    expect(fits).toBe(false);
    const { changes, memory } = backends[0]!;
    expect(memory.packedBytes).toBeGreaterThan(36 * 128 * 3 * 2880 * 2880 * 2); // 229 GB
    expect(changes.slice(1)).toEqual([{ options: { expertWeights: "mxfp4" } }, { model: "gpt-oss-20b" }]);
  });

  it("takes 38.2 GB for the experts of the 20b", async () => {
    const options = { backend: "cpu", memory: "64GB" } as const;
    const bytesOf = async (expertWeights: "mxfp4" | "bf16") => {
      const { memory } = (await planModel("20b", { ...options, expertWeights, packedWeights: "memory" })).backends[0]!;
      return memory.packedBytes + memory.mappedBytes;
    };
    const experts = 24 * 32 * 3 * 2880 * 2880;
    expect((await bytesOf("bf16")) - (await bytesOf("mxfp4"))).toBe(experts * (2 - 17 / 32));
    expect(2 * experts).toBeCloseTo(38.2e9, -8);
  });
});
