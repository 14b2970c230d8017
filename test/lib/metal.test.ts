import "../support/emulated-addon.cjs";
import { appendFileSync, cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, it } from "vitest";
import { addon } from "../../lib/binding.js";
import { Engine } from "../../lib/index.js";
import {
  describeEmulated,
  doctorLine,
  expectGoldenTokens,
  expectRecorded,
  model,
  runOn,
  small,
} from "../support/emulated-gpu.js";
import { failure } from "../support/failure.js";
import { robust } from "../support/recorded.js";
import { isThorough } from "../support/thorough.js";

/** The Metal backend through the public API, on the emulated GPU; the kernels and the engine have their own tests in C++. */

// Before the addon is loaded: a Mac has no CUDA.
process.env.EMULATED_METAL = "seed=1";
process.env.EMULATED_GPU = "devices=0";

const load = (options: object = {}) => Engine.load(model, { backend: "metal", ...small, ...options });

const on = (machine: string) => ({ EMULATED_METAL: machine });

describeEmulated("metal", () => {
  it("is listed with its device, and reports its properties", async () => {
    const status = addon()
      .listBackends()
      .find(({ name }) => name === "metal");
    expect(status).toMatchObject({ available: true, detail: expect.stringContaining("Emulated Apple GPU") });
    await using engine = await load();
    expect(engine.info).toMatchObject({
      backend: "metal",
      backendReason: "asked for",
      device: "Emulated Apple GPU",
      isa: "apple9",
      numerics: "fast",
      kvCacheDtype: "bf16",
      limits: { contextLength: 512, maxSequences: 4, maxBatchTokens: 64 },
    });
    const { weightsBytes, packedBytes, availableReason } = engine.info.memory;
    expect(packedBytes).toBeLessThan(weightsBytes / 2); // the rest is read in the file
    expect(availableReason).toBe("of the memory that macOS lets its GPU use");
  });

  it("streams the golden tokens, with log probabilities", async () => {
    await using engine = await load();
    await expectGoldenTokens(engine, 8);
  });

  it("refuses what it does not have", async () => {
    for (const [options, message] of [
      [{ kvCache: { dtype: "f32" } }, /"bf16" or "fp8"/],
      [{ numerics: "exact" }, /the CPU backend has "exact"/],
      [{ expertWeights: "bf16" }, /expertWeights "bf16" is for the CPU backend; use "mxfp4" on a GPU/],
    ] as const) {
      const error = await failure(() => load(options));
      expect(error.code).toBe("UNSUPPORTED");
      expect(error.message).toMatch(message);
    }
  });

  it("ends with MODEL_FORMAT when its file is written to, because steps read it", async () => {
    const copy = mkdtempSync(path.join(tmpdir(), "metal-changed-"));
    try {
      cpSync(model, copy, { recursive: true });
      await using engine = await Engine.load(copy, { backend: "metal", ...small });
      expect((await engine.generate([1, 2, 3], { maxTokens: 2, ignoreEos: true }).result).tokens).toHaveLength(2);
      appendFileSync(path.join(copy, "model.safetensors"), "x");
      const error = await failure(() => engine.generate([1, 2, 3], { maxTokens: 2, ignoreEos: true }).result);
      expect(error.code).toBe("MODEL_FORMAT");
    } finally {
      rmSync(copy, { recursive: true });
    }
  });

  it("auto takes the CPU for a cache that Metal does not have", async () => {
    await using engine = await Engine.load(model, {
      backend: "auto",
      ...small,
      kvCache: { dtype: "f32", bytes: "4MiB" },
    });
    expect(engine.info.backend).toBe(process.env.GPT_OSS_BACKEND ?? "cpu");
    if (!process.env.GPT_OSS_BACKEND)
      expect(engine.info.backendReason).toMatch(/^Emulated Apple GPU cannot run it: .*"f32"/);
  });

  const program = `
    const { Engine } = require("./dist/index.js");
    Engine.load(${JSON.stringify(model)}, { contextLength: 512, kvCache: { bytes: "4MiB" } })
      .then((engine) => console.log(JSON.stringify([engine.info.backend, engine.info.backendReason])));`;
  it.each([
    ["seed=0", "metal", /^the first GPU that works$/],
    ["present=0", "cpu", /^no GPU works: cuda: .*; metal: no Metal GPU is emulated$/],
    [
      "working_set_bytes=400000000 memory_bytes=17179869184",
      "cpu",
      /^Emulated Apple GPU is too small: the model needs .* sudo sysctl iogpu\.wired_limit_mb=14336$/,
    ],
  ])("auto on a machine with %s takes %s", (machine, backend, reason) => {
    const { stdout, stderr } = runOn(on(machine), ["-e", program]);
    expect(stderr).toBe("");
    const [chosen, why] = JSON.parse(stdout) as [string, string];
    expect(chosen).toBe(backend);
    expect(why).toMatch(reason);
  });

  it.each([
    [
      "working_set_bytes=11453246122",
      /^Emulated Apple GPU, Apple GPU family 9, 10922 MiB for the GPU, which is too small for the 20b: auto takes the CPU for it$/,
    ],
    ["working_set_bytes=22906492245", /^Emulated Apple GPU, Apple GPU family 9, 21845 MiB for the GPU$/],
    ["present=0", /^absent: no Metal GPU is emulated$/],
    ["macos=13", /^absent: this is macOS 13\.0, and Metal needs macOS 14 or later$/],
    ["family=6", /^absent: the GPU "Emulated Apple GPU" is of Apple's family 6; family 7, an M1, or later is needed$/],
  ])("doctor says of %s: %s", (machine, line) => {
    expect(doctorLine("metal", on(machine))).toMatch(line);
  });

  // All of them take half an hour: the whole vocabulary at each step, one thread of the device after the other.
  it("gives the recorded answers of the demo model", async () => {
    const shortestFirst = [...robust].sort((a, b) => a.completion_ids.length - b.completion_ids.length);
    const conversations = isThorough ? shortestFirst : shortestFirst.slice(0, 2);
    await expectRecorded(conversations, { backend: "metal", kvCache: { bytes: "128MiB" } });
  }, 7_200_000);
});
