import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type BackendPlan, Engine, type EngineOptions, type PlanOptions, planModel } from "../../../lib/index.js";
import { failure } from "../../support/failure.js";
import { seededRandom } from "../../support/random.js";

const golden = path.resolve("test/golden/models");
const isas = ["scalar", "avx2", "avx512", "avx512bf16", "amx", "neon", "neonbf16"];

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-plan-"));
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => vi.stubEnv("GPT_OSS_BACKEND", "")); // the tests of this package are run with "cpu"
afterEach(() => vi.unstubAllEnvs());

/** A folder with nothing but the config of a golden model. */
function configOnly(name: string, change: object = {}): string {
  const to = mkdtempSync(path.join(folder, `${name}-`));
  const file = path.join(to, "config.json");
  copyFileSync(path.join(golden, name, "config.json"), file);
  if (Object.keys(change).length > 0) writeFileSync(file, JSON.stringify(change));
  return to;
}

/** The plan of the only backend. */
async function planOf(model: string, options: PlanOptions): Promise<BackendPlan> {
  const { backends } = await planModel(model, options);
  expect(backends).toHaveLength(1);
  return backends[0]!;
}

const countsOf = (plan: BackendPlan) =>
  plan.capacities.flatMap(({ conversations }) => conversations.map(({ count }) => count));

describe("the plan of a CPU", () => {
  /** An engine, and its plan from a config without weights. */
  async function both(model: string, engineOptions: EngineOptions): Promise<[Engine["info"], BackendPlan]> {
    const engine = await Engine.load(model, { ...engineOptions, backend: "cpu" });
    await engine.close();
    const plan = await planOf(model.startsWith("synthetic:") ? model : configOnly(path.basename(model)), {
      ...(engineOptions as PlanOptions),
      backend: "cpu",
      memory: engine.info.memory.availableBytes,
    });
    return [engine.info, plan];
  }

  const models = [path.join(golden, "a"), path.join(golden, "c"), "synthetic:tiny", "synthetic:wide"];
  const variants: EngineOptions[] = [
    {},
    { denseWeights: "q8", maxSequences: 3 },
    { kvCache: { dtype: "bf16" }, contextLength: 500, maxBatchTokens: 100 },
    { numerics: "exact" },
  ];

  it.each(isas)("is what an engine takes: %s", async (isa) => {
    vi.stubEnv("GPT_OSS_ISA", isa);
    const usable = await Engine.load("synthetic:tiny", { backend: "cpu" }).then(
      (engine) => engine.close().then(() => true),
      () => false,
    );
    if (!usable) {
      // This machine has no engine to compare with. The C++ tests plan for every instruction set of the build.
      expect((await failure(() => planModel("20b", { memory: "32GB", backend: "cpu" }))).message).toContain(isa);
      return;
    }
    for (const model of models) {
      for (const variant of variants) {
        const [info, plan] = await both(model, variant);
        const { packedBytes, workspaceBytes, kvBytes, kvTokens } = info.memory;
        expect(plan.memory, `${model} ${JSON.stringify(variant)}`).toMatchObject({
          ...{ packedBytes, workspaceBytes, kvBytes, kvTokens },
          availableBytes: info.memory.availableBytes,
        });
        expect(plan).toMatchObject({ isa: info.isa, numerics: info.numerics, kvCacheDtype: info.kvCacheDtype });
        const { contextLength, maxSequences, maxBatchTokens } = info.limits;
        expect(plan.limits).toEqual({ contextLength, maxSequences, maxBatchTokens });
      }
    }
  });

  it("has the bytes of the weights, which are those of the files without their headers", async () => {
    for (const name of ["a", "b", "c"]) {
      const files = readdirSync(path.join(golden, name)).filter((file) => file.endsWith(".safetensors"));
      const bytes = files.reduce((sum, file) => sum + statSync(path.join(golden, name, file)).size, 0);
      const { memory } = await planOf(configOnly(name), { memory: "1GB", backend: "cpu" });
      expect(memory.weightsBytes).toBeLessThan(bytes);
      expect(memory.weightsBytes).toBeGreaterThan(bytes - files.length * 16_384); // 60 names, shapes and offsets
      expect(memory.mappedBytes + memory.packedBytes).toBeGreaterThan(memory.weightsBytes);
    }
  });

  it("without a given memory is of this machine", async () => {
    const plan = await planOf("synthetic:tiny", { backend: "cpu" });
    expect(plan.device).not.toBe("");
    expect(plan.memory.availableBytes).toBeGreaterThan(1e8);
    expect(plan.memory.availableReason).not.toBe("given");
    const given = await planOf("synthetic:tiny", { backend: "cpu", memory: plan.memory.availableBytes });
    expect(given).toMatchObject({ device: "", memory: { availableReason: "given", kvBytes: plan.memory.kvBytes } });
  });

  it("keeps half of a large memory for others, and what the weights leave of a small one", async () => {
    const large = await planOf("20b", { memory: "64GB", backend: "cpu" });
    expect(large.memory.kvBytes).toBeLessThanOrEqual(32e9);
    expect(large.limits.contextLength).toBe(131072);
    const small = await planOf("20b", { memory: "18GB", backend: "cpu" });
    expect(small.memory.kvBytes).toBeLessThanOrEqual(small.memory.leftBytes);
    expect(small.memory.kvBytes).toBeGreaterThan(0.99 * small.memory.leftBytes);
    const none = await planOf("20b", { memory: "12GB", backend: "cpu" });
    expect(none).toMatchObject({ fits: false, memory: { leftBytes: 0 } });
    expect(none.memory.kvBytes).toBeGreaterThan(0.99 * 2 ** 30);
    expect(none.memory.kvBytes).toBeLessThanOrEqual(2 ** 30);
  });
});

describe("a model", () => {
  it.each(["20b", "120b"])("is known by names: %s", async (size) => {
    const memory = "200GB";
    const plans = [
      size,
      `gpt-oss-${size}`,
      `openai/gpt-oss-${size}`,
      `OpenAI/GPT-OSS-${size.toUpperCase()}/`,
      `gpt-oss:${size}`,
      `openai/gpt-oss-${size}@main`,
      `https://huggingface.co/openai/gpt-oss-${size}`,
    ].map((name) => planModel(name, { memory }));
    const [first, ...others] = await Promise.all(plans);
    expect(first).toMatchObject({ name: `gpt-oss-${size}`, fits: true, model: { layers: size === "20b" ? 24 : 36 } });
    for (const other of others) expect(other).toEqual(first);
    expect(first!.backends.map(({ backend }) => backend)).toEqual(["cpu", "cuda"]);
  });

  it.each(["me/gpt-oss-20b", "openai/gpt-oss-20b:Q8_0", "./20b"])("of another name is not known: %s", async (name) => {
    expect((await failure(planModel(name, { memory: "200GB" }))).code).toBe("MODEL_NOT_FOUND");
  });

  it("that lies in a folder of such a name is that of the folder", async () => {
    const parent = mkdtempSync(path.join(folder, "named-"));
    mkdirSync(path.join(parent, "20b"));
    copyFileSync(path.join(golden, "a/config.json"), path.join(parent, "20b/config.json"));
    const cwd = vi.spyOn(process, "cwd").mockReturnValue(parent);
    try {
      const { name, model } = await planModel("20b", { memory: "1GB", backend: "cpu" });
      expect(name).toBe("20b");
      expect(model.layers).toBeLessThan(24);
    } finally {
      cwd.mockRestore();
    }
  });

  it("in OpenAI's layout is read from original/, too", async () => {
    const parent = mkdtempSync(path.join(folder, "original-"));
    mkdirSync(path.join(parent, "original"));
    writeFileSync(path.join(parent, "original/config.json"), originalConfig);
    const { model } = await planModel(parent, { memory: "32GB", backend: "cpu" });
    expect(model).toMatchObject({ layers: 24, experts: 32, maxContext: 131072 });
  });
});

/** The keys of OpenAI's own config, with the numbers of the 20b. */
const originalConfig = JSON.stringify({
  ...{ num_hidden_layers: 24, num_experts: 32, experts_per_token: 4, vocab_size: 201088, hidden_size: 2880 },
  ...{ intermediate_size: 2880, swiglu_limit: 7, head_dim: 64, num_attention_heads: 64, num_key_value_heads: 8 },
  ...{ sliding_window: 128, initial_context_length: 4096, rope_theta: 150000, rope_scaling_factor: 32 },
  ...{ rope_ntk_alpha: 1, rope_ntk_beta: 32 },
});

describe("memory", () => {
  it("is a size or a number of bytes", async () => {
    const bytesOf = async (memory: string | number) =>
      (await planOf("20b", { memory, backend: "cuda" })).memory.availableBytes;
    expect(await bytesOf("80GB")).toBe(80e9);
    expect(await bytesOf("80 GB")).toBe(80e9);
    expect(await bytesOf("64GiB")).toBe(64 * 2 ** 30);
    expect(await bytesOf("1.5TB")).toBe(1.5e12);
    expect(await bytesOf(80e9)).toBe(80e9);
    expect(await bytesOf("80000000000")).toBe(80e9);
  });

  it("has the kernels of two steps on Metal, and none elsewhere", async () => {
    expect((await planOf("20b", { memory: "36GB", backend: "cpu" })).kernels).toEqual([]);
    const [decode, prefill] = (await planOf("20b", { memory: "36GB", backend: "metal", contextLength: 8192 })).kernels;
    expect(decode).toMatchObject({ step: "decode", tokens: 1, keys: 8191 });
    expect(prefill).toMatchObject({ step: "prefill", tokens: 512, keys: 0 });
    const experts = decode!.kernels.find(({ name }) => name === "experts_gate_up")!;
    // Four experts of 24 layers, in MXFP4: 17 bytes for 32 weights, and a float of bias for each row.
    const weights = 24 * 4 * (5760 * 2880 * (17 / 32) + 5760 * 4);
    expect(experts).toMatchObject({ dispatches: 24, threads: 128, weightBytes: weights });
    expect(experts.bytes).toBeGreaterThan(weights);
    expect(prefill!.kernels.map(({ name }) => name)).toContain("experts_gate_up_64");
  });

  it("is that of the Mac for metal, whose GPU may use a part of it", async () => {
    const plan = (memory: string) => planModel("20b", { memory, backend: "metal" });
    const small = await plan("16GB");
    expect(small.fits).toBe(false);
    expect(small.backends[0]!.memory).toMatchObject({
      availableBytes: 10_666_666_666,
      packedBytes: expect.any(Number),
    });
    // The weights stay in the mapped files, and count.
    expect(small.backends[0]!.memory.mappedBytes).toBeGreaterThan(13e9);
    expect(small.backends[0]!.changes[0]!.memoryBytes).toBeGreaterThan(14e9);
    const large = await plan("36GB");
    expect(large.fits).toBe(true);
    expect(large.backends[0]!.memory.availableBytes).toBe(27e9);
    // Half of what is left is for others.
    expect(large.backends[0]!.memory.kvBytes).toBeLessThan(0.51 * large.backends[0]!.memory.leftBytes);
  });

  it.each([
    "",
    "GB",
    "80",
    "-1GB",
    "80 giga",
    "auto",
    "1e9",
    "NaN",
    0,
    -1,
    80,
    Number.NaN,
    Infinity,
    null,
    {},
    [],
    true,
  ])("is refused if it is none: %s", async (memory) => {
    const error = await failure(() => planModel("20b", { memory: memory as never }));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field: "memory" });
    expect(error.message).toMatch(/^Expected a size such as "80GB" or "64GiB", .* for memory but received /);
  });

  it("that is more never has room for less", async () => {
    const random = seededRandom(19);
    for (let round = 0; round < 40; round++) {
      const backend = random() < 0.5 ? "cpu" : "cuda";
      const options = {
        backend,
        maxSequences: 1 + Math.floor(200 * random()),
        maxBatchTokens: 1 + Math.floor(4000 * random()),
        ...(random() < 0.5 && { contextLength: 1 + Math.floor(131072 * random()) }),
      } as const;
      const least = 13e9 + 60e9 * random();
      const [less, more] = [
        await planOf("20b", { ...options, memory: Math.floor(least) }),
        await planOf("20b", { ...options, memory: Math.floor(least * (1 + random())) }),
      ];
      const what = JSON.stringify({ ...options, least });
      for (const [i, count] of countsOf(less).entries()) expect(countsOf(more)[i], what).toBeGreaterThanOrEqual(count);
      expect(more.memory.kvBytes, what).toBeGreaterThanOrEqual(less.memory.kvBytes);
      expect(Number(more.fits), what).toBeGreaterThanOrEqual(Number(less.fits));
      expect(more.wanted.bytes, what).toBe(less.wanted.bytes);
    }
  });
});

describe("changes", () => {
  /** Each change, applied to the same options, must make the model fit. */
  it.each([
    ["20b", { memory: "14.8GB", backend: "cuda" }],
    ["20b", { memory: "15GB", backend: "cuda", contextLength: 65536 }],
    ["20b", { memory: "16GB", backend: "cuda", contextLength: 32768 }],
    ["20b", { memory: "15GB", backend: "cuda", contextLength: 131072, maxSequences: 16 }],
    ["20b", { memory: "15GB", backend: "cpu", contextLength: 8192, maxSequences: 4 }],
    ["20b", { memory: "14.4GB", backend: "cpu" }],
    ["120b", { memory: "67GB", backend: "cpu", contextLength: 131072 }],
    ["120b", { memory: "67GB", backend: "cuda", contextLength: 131072 }],
    ["120b", { memory: "48GB", backend: "cuda" }],
  ] satisfies [string, PlanOptions][])("make %s fit: %o", async (model, options: PlanOptions) => {
    const { fits, changes } = await planOf(model, options);
    expect(fits).toBe(false);
    expect(changes.length).toBeGreaterThan(0);
    for (const change of changes) {
      const changed = { ...options, ...change.options, ...(change.memoryBytes && { memory: change.memoryBytes }) };
      expect((await planOf(change.model ?? model, changed)).fits, JSON.stringify(change)).toBe(true);
    }
    expect(changes[0]).toHaveProperty("memoryBytes");
    expect(changes.some(({ model }) => model === "gpt-oss-20b")).toBe(model === "120b");
  });

  it("are alone where one suffices, in the order of their loss", async () => {
    const { changes } = await planOf("20b", { memory: "16GB", backend: "cuda", contextLength: 32768 });
    expect(changes.slice(1).map(({ options }) => Object.keys(options!))).toEqual([
      ["maxBatchTokens"],
      ["maxSequences"],
      ["kvCache"],
      ["contextLength"],
    ]);
  });

  it("are several together where none suffices", async () => {
    const options = { memory: "15GB", backend: "cuda", contextLength: 131072, maxSequences: 16 } as const;
    const [, together, ...none] = (await planOf("20b", options)).changes;
    expect(Object.keys(together!.options!).length).toBeGreaterThan(1);
    expect(none).toEqual([]);
  });

  it("are none where it fits", async () => {
    expect((await planOf("20b", { memory: "24GB", backend: "cuda" })).changes).toEqual([]);
  });
});

describe("options", () => {
  it("that one backend lacks leave it out, if the other has them", async () => {
    const fp8 = await planModel("20b", { memory: "32GB", kvCache: { dtype: "fp8" } });
    expect(fp8.backends.map(({ backend }) => backend)).toEqual(["cuda"]);
    expect(fp8.leftOut).toEqual([{ backend: "cpu", reason: expect.stringContaining("needs a GPU") }]);
    const q8 = await planModel("20b", { memory: "32GB", denseWeights: "q8" });
    expect(q8.backends.map(({ backend }) => backend)).toEqual(["cpu"]);
    expect(q8.leftOut).toEqual([{ backend: "cuda", reason: expect.stringContaining("is for the CPU") }]);
    const neither = { memory: "32GB", kvCache: { dtype: "fp8" }, denseWeights: "q8" } as const;
    expect(await failure(() => planModel("20b", neither))).toMatchObject({ code: "UNSUPPORTED" });
  });

  it.each([
    ["kvCache.dtype", { backend: "cpu", kvCache: { dtype: "fp8" } }, "UNSUPPORTED"],
    ["denseWeights", { backend: "cuda", denseWeights: "q8" }, "UNSUPPORTED"],
    ["numerics", { backend: "cuda", numerics: "exact" }, "UNSUPPORTED"],
    ["contextLength", { contextLength: 131073 }, "INVALID_ARGUMENT"],
    ["contextLength", { contextLength: 0 }, "INVALID_ARGUMENT"],
    ["maxSequences", { maxSequences: 4097 }, "INVALID_ARGUMENT"],
    ["maxBatchTokens", { maxBatchTokens: 1.5 }, "INVALID_ARGUMENT"],
    ["isa", { isa: "mmx" }, "INVALID_ARGUMENT"],
    ["isa", { isa: 3 as never }, "INVALID_ARGUMENT"],
    ["isa", { backend: "cuda", isa: "scalar" }, null],
    ["isa", { backend: "metal", isa: "scalar" }, null],
    ["backend", { backend: "gpu" as never }, "INVALID_ARGUMENT"],
    ["contextSize", { contextSize: 3 } as never, "INVALID_ARGUMENT"],
    ["kvCache.bytes", { kvCache: { bytes: "4GiB" } as never }, null],
  ] satisfies [string, PlanOptions, string | null][])(
    "are checked: %s %o",
    async (field, options: PlanOptions, code) => {
      const planned = planModel("20b", { memory: "32GB", ...options });
      if (code === null) await planned;
      else expect(await failure(planned)).toMatchObject({ code, field });
    },
  );

  it.each([
    ["a folder without a config", () => folder, "MODEL_NOT_FOUND", /expected a config.json in /],
    ["nothing", () => path.join(folder, "nothing"), "MODEL_NOT_FOUND", /found nothing; a plan needs no file for "20b"/],
    ["a model of another kind", () => configOnly("a", { model_type: "llama" }), "UNSUPPORTED", /not a gpt-oss model/],
    ["a broken config", () => configOnly("a", { model_type: "gpt_oss" }), "MODEL_FORMAT", /num_hidden_layers/],
    ["an unknown synthetic model", () => "synthetic:nope", "MODEL_NOT_FOUND", /found "synthetic:nope"/],
    ["an empty name", () => "", "INVALID_ARGUMENT", /for the model but received ""/],
    ["no text", () => 20 as never, "INVALID_ARGUMENT", /for the model but received 20/],
  ])("say what is wrong with the model: %s", async (_, model, code, message) => {
    const error = await failure(() => planModel(model(), { memory: "32GB" }));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });
});
