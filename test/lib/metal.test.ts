import "../support/emulated-addon.cjs";
import { spawnSync } from "node:child_process";
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { addon } from "../../lib/binding.js";
import { Engine } from "../../lib/index.js";
import { failure } from "../support/failure.js";
import { SafetensorsFile } from "../support/safetensors.js";
import { isThorough } from "../support/thorough.js";

/** The Metal backend through the public API, on the emulated GPU; the kernels and the engine have their own tests in C++. */

// Before the addon is loaded: a Mac has no CUDA.
process.env.EMULATED_METAL = "seed=1";
process.env.EMULATED_GPU = "devices=0";

const golden = path.resolve("test/golden");
const model = path.join(golden, "models/a");
const small = { contextLength: 512, maxSequences: 4, maxBatchTokens: 64, kvCache: { bytes: "4MiB" } } as const;
const load = (options: object = {}) => Engine.load(model, { backend: "metal", ...small, ...options });

// The emulator switches stacks, which it supports on Linux for x86-64 and arm64.
const emulated = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);

if (!emulated) {
  it(`metal: NOT RUN, there is no emulated GPU for ${process.platform}-${process.arch}`, () => {
    expect(emulated).toBe(false);
  });
}

/** Runs a program of this package with the emulated addon on another machine. */
function runOn(machine: string, args: string[]) {
  return spawnSync(process.execPath, ["--require", path.resolve("test/support/emulated-addon.cjs"), ...args], {
    encoding: "utf8",
    env: { ...process.env, EMULATED_METAL: machine, EMULATED_GPU: "devices=0", GPT_OSS_BACKEND: undefined },
  });
}

(emulated ? describe : () => undefined)("metal", () => {
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
    const file = new SafetensorsFile(path.join(golden, "cases/a.short.safetensors"));
    const expected = [...file.i32("greedy_tokens")].slice(0, 8);
    await using engine = await load();
    const run = engine.generate(file.i32("tokens"), { temperature: 0, maxTokens: 8, ignoreEos: true, logprobs: 2 });
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
    const { stdout, stderr } = runOn(machine, ["-e", program]);
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
    const { stdout } = runOn(machine, ["dist/cli/main.js", "doctor"]);
    expect(/^backend metal +(.*)$/m.exec(stdout)?.[1]).toMatch(line);
  });

  interface Conversation {
    prompt_ids: number[];
    completion_ids: number[];
    robust: boolean;
  }
  const robust = readFileSync(path.join(golden, "demo/expected.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Conversation)
    .filter(({ robust }) => robust)
    .sort((a, b) => a.completion_ids.length - b.completion_ids.length);

  // All of them take half an hour: the whole vocabulary at each step, one thread of the device after the other.
  it("gives the recorded answers of the demo model", async () => {
    const conversations = isThorough ? robust : robust.slice(0, 2);
    await using engine = await Engine.load("demo", { backend: "metal", kvCache: { bytes: "128MiB" } });
    const results = await Promise.all(
      conversations.map(({ prompt_ids }) => engine.generate(prompt_ids, { temperature: 0, maxTokens: 160 }).result),
    );
    expect(results.map(({ tokens }) => tokens)).toEqual(conversations.map(({ completion_ids }) => completion_ids));
  }, 7_200_000);
});
