import "../support/emulated-addon.cjs";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { addon } from "../../lib/binding.js";
import { Engine, GptOssError } from "../../lib/index.js";
import { failure } from "../support/failure.js";
import { SafetensorsFile } from "../support/safetensors.js";
import { isThorough } from "../support/thorough.js";

/** The CUDA backend through the public API, on the emulated GPU; the kernels and the engine have their own tests in C++. */

const golden = path.resolve("test/golden");
const model = path.join(golden, "models/a");
const small = { contextLength: 512, maxSequences: 4, maxBatchTokens: 64, kvCache: { bytes: "4MiB" } } as const;
const load = (options: object = {}) => Engine.load(model, { backend: "cuda", ...small, ...options });
const prompt = (seed: number, length: number) => Array.from({ length }, (_, i) => (i * 97 + seed * 31) % 512);

// The emulator switches stacks, which it supports on Linux for x86-64 and arm64.
const emulated = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);

if (!emulated) {
  it(`cuda: NOT RUN, there is no emulated GPU for ${process.platform}-${process.arch}`, () => {
    expect(existsSync("build/Emulated/libgptoss_cuda.so")).toBe(false);
  });
}

(emulated ? describe : () => undefined)("cuda", () => {
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
    const file = new SafetensorsFile(path.join(golden, "cases/a.short.safetensors"));
    const expected = [...file.i32("greedy_tokens")].slice(0, 12);
    await using engine = await load();
    const run = engine.generate(file.i32("tokens"), { temperature: 0, maxTokens: 12, ignoreEos: true, logprobs: 2 });
    const logprobs: number[] = [];
    for await (const { token, logprob, top } of run) {
      expect(top).toHaveLength(2);
      expect(top?.[0]).toEqual({ token, logprob });
      logprobs.push(logprob ?? Number.NaN);
    }
    expect((await run.result).tokens).toEqual(expected);
    const wanted = file.f64("greedy_logprob");
    for (const [i, logprob] of logprobs.entries()) expect(Math.abs(logprob - wanted[i]!)).toBeLessThan(0.2); // bf16
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
    async () => {
      const conversations = readFileSync("test/golden/demo/expected.jsonl", "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { prompt_ids: number[]; completion_ids: number[]; robust: boolean })
        .filter(({ robust, completion_ids }) => robust && completion_ids.length < 40)
        .slice(0, 4);
      await using engine = await Engine.load("demo", { backend: "cuda", kvCache: { bytes: "32MiB" } });
      const results = await Promise.all(
        conversations.map(({ prompt_ids }) => engine.generate(prompt_ids, { temperature: 0, maxTokens: 60 }).result),
      );
      expect(results.map(({ tokens }) => tokens)).toEqual(conversations.map(({ completion_ids }) => completion_ids));
    },
    300_000,
  );

  const doctor = (machine: string) => {
    const hook = path.resolve("test/support/emulated-addon.cjs");
    const { stdout } = spawnSync(process.execPath, ["--require", hook, "dist/cli/main.js", "doctor"], {
      encoding: "utf8",
      env: { ...process.env, EMULATED_GPU: machine },
    });
    return /^backend cuda +(.*)$/m.exec(stdout)?.[1];
  };

  it.each([
    ["devices=2", /^cuda:0-1 Emulated GPU \(4 GiB, compute capability 9\.0\); driver for CUDA \d+\.\d$/],
    ["devices=0", /^absent: no NVIDIA driver on this machine; in a container/],
    ["old_driver=1", /^absent: the NVIDIA driver is too old: it supports CUDA .*, needed is /],
    ["compute_major=7", /^absent: Emulated GPU has compute capability 7\.0, and this build has kernels for emulated$/],
  ])("doctor says of %s: %s", (machine, line) => {
    expect(doctor(machine)).toMatch(line);
  });
});
