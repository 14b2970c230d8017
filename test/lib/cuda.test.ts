import "../support/emulated-addon.cjs";
import { expect, it } from "vitest";
import { addon } from "../../lib/binding.js";
import { Engine, GptOssError } from "../../lib/index.js";
import {
  describeEmulated,
  doctorLine,
  expectGoldenTokens,
  expectRecorded,
  model,
  small,
} from "../support/emulated-gpu.js";
import { failure } from "../support/failure.js";
import { robust } from "../support/recorded.js";
import { isThorough } from "../support/thorough.js";

/** The CUDA backend through the public API, on the emulated GPU; the kernels and the engine have their own tests in C++. */

const load = (options: object = {}) => Engine.load(model, { backend: "cuda", ...small, ...options });
const prompt = (seed: number, length: number) => Array.from({ length }, (_, i) => (i * 97 + seed * 31) % 512);

describeEmulated("cuda", () => {
  it("is listed with its device, and is the choice of auto", async () => {
    const status = addon()
      .listBackends()
      .find(({ name }) => name === "cuda");
    expect(status).toMatchObject({ available: true, detail: expect.stringContaining("Emulated GPU") });
    await using engine = await Engine.load(model, { ...small, backend: "auto" });
    expect(engine.info.backend).toBe(process.env.GPT_OSS_BACKEND ?? "cuda");
  });

  it("reports its properties", async () => {
    await using engine = await load();
    expect(engine.info).toMatchObject({
      backend: "cuda",
      device: "Emulated GPU",
      isa: "sm_90",
      numerics: "fast",
      kvCacheDtype: "bf16",
      repeatable: false,
      limits: { contextLength: 512, maxSequences: 4, maxBatchTokens: 64 },
    });
    const { weightsBytes, packedBytes, workspaceBytes, kvBytes, kvTokens } = engine.info.memory;
    expect(packedBytes).toBeGreaterThan(weightsBytes / 2);
    expect(workspaceBytes).toBeGreaterThan(0);
    expect(kvBytes).toBeLessThanOrEqual(4 << 20);
    expect(kvTokens).toBeGreaterThanOrEqual(512);
  });

  it("streams the golden tokens, with log probabilities", async () => {
    await using engine = await load();
    await expectGoldenTokens(engine, 12);
  });

  it("gives the same tokens in a batch as alone, with repeatable, and accepts a seed, choices and logit processing", async () => {
    await using engine = await load({ repeatable: true });
    expect(engine.info.repeatable).toBe(true);
    const options = { maxTokens: 10, ignoreEos: true, seed: 5 };
    const alone = await engine.generate(prompt(1, 70), options).result;
    const crowd = await Promise.all([1, 2, 3, 4, 5].map((i) => engine.generate(prompt(i, 69 + i), options).result));
    expect(crowd[0]?.tokens).toEqual(alone.tokens);
    const both = engine.generate(prompt(1, 70), { ...options, n: 2 });
    const byChoice: number[][] = [[], []];
    for await (const { token, index } of both) byChoice[index]?.push(token);
    expect(byChoice[0]).toEqual(alone.tokens);
    expect(byChoice[1]).not.toEqual(alone.tokens);
  });

  it("stops aborted and abandoned requests, and continues the others", async () => {
    await using engine = await load();
    const controller = new AbortController();
    const aborted = engine.generate(prompt(1, 20), { maxTokens: 400, ignoreEos: true, signal: controller.signal });
    const rest = engine.generate(prompt(2, 20), { maxTokens: 20, ignoreEos: true });
    for await (const _ of engine.generate(prompt(3, 20), { maxTokens: 400, ignoreEos: true })) break;
    controller.abort(new Error("enough"));
    await expect(aborted.result).rejects.toThrow("enough");
    expect((await rest.result).tokens).toHaveLength(20);
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0 });
  });

  it("rejects running requests when it is closed", async () => {
    const engine = await load();
    const run = engine.generate(prompt(1, 20), { maxTokens: 400, ignoreEos: true });
    await run[Symbol.asyncIterator]().next();
    await engine.close();
    expect((await failure(() => run.result)).code).toBe("CLOSED");
  });

  it("halves the cache with fp8, and refuses unsupported options", async () => {
    await using wide = await load();
    await using narrow = await load({ kvCache: { bytes: "4MiB", dtype: "fp8" } });
    expect(narrow.info.kvCacheDtype).toBe("fp8");
    expect(narrow.info.memory.kvTokens).toBeGreaterThan(1.9 * wide.info.memory.kvTokens);
    expect((await narrow.generate(prompt(1, 70), { maxTokens: 5, ignoreEos: true }).result).tokens).toHaveLength(5);
    for (const [options, message] of [
      [{ kvCache: { dtype: "f32" } }, /"bf16" or "fp8"/],
      [{ numerics: "exact" }, /the CPU backend has "exact"/],
      [{ denseWeights: "q8" }, /denseWeights "q8" is for the CPU and Metal backends/],
      [{ expertWeights: "bf16" }, /expertWeights "bf16" is for the CPU backend; use "mxfp4" on a GPU/],
    ] as const) {
      const error = await failure(() => load(options));
      expect(error).toBeInstanceOf(GptOssError);
      expect(error.code).toBe("UNSUPPORTED");
      expect(error.message).toMatch(message);
    }
    const error = await failure(() => load({ backend: "cuda:5" }));
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(error.message).toMatch(/cuda:5/);
  });

  // Two minutes: all tokens of the vocabulary at each step, one thread of the device after the other.
  const inThoroughRuns: typeof it = isThorough ? it : ((() => undefined) as never);
  inThoroughRuns(
    "gives the recorded answers of the demo model",
    () =>
      expectRecorded(robust.filter(({ completion_ids }) => completion_ids.length < 40).slice(0, 4), {
        backend: "cuda",
        kvCache: { bytes: "32MiB" },
      }),
    300_000,
  );

  it.each([
    ["devices=2", /^cuda:0-1 Emulated GPU \(4 GiB, compute capability 9\.0\); driver for CUDA \d+\.\d$/],
    ["devices=0", /^absent: no NVIDIA driver on this machine; in a container/],
    ["old_driver=1", /^absent: the NVIDIA driver is too old: it supports CUDA .*, needed is /],
    ["compute_major=7", /^absent: Emulated GPU has compute capability 7\.0, and this build has kernels for emulated$/],
  ])("doctor says of %s: %s", (machine, line) => {
    expect(doctorLine("cuda", { EMULATED_GPU: machine })).toMatch(line);
  });
});
