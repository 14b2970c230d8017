import { spawnSync } from "node:child_process";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { Engine, type EngineOptions } from "../../lib/index.js";
import type { Recorded } from "./recorded.js";
import { SafetensorsFile } from "./safetensors.js";

/** What the tests of both GPUs share. They run on emulated ones, so they import `emulated-addon.cjs` first. */

/** The golden model of these tests. */
export const model = path.resolve("test/golden/models/a");

/** An engine that an emulator runs soon enough. */
export const small = { contextLength: 512, maxSequences: 4, maxBatchTokens: 64, kvCache: { bytes: "4MiB" } } as const;

// The emulator switches stacks, which it supports on Linux for x86-64 and arm64.
const emulated = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);

/** The tests of one GPU. Where no emulator runs, one test says so. */
export function describeEmulated(backend: string, tests: () => void): void {
  if (emulated) describe(backend, tests);
  else
    it(`${backend}: NOT RUN, there is no emulated GPU for ${process.platform}-${process.arch}`, () => {
      expect(emulated).toBe(false);
    });
}

/** Runs a program of this package on an emulated machine, which environment variables describe. */
export function runOn(machine: NodeJS.ProcessEnv, args: string[]) {
  return spawnSync(process.execPath, ["--require", path.resolve("test/support/emulated-addon.cjs"), ...args], {
    encoding: "utf8",
    env: { ...process.env, GPT_OSS_BACKEND: undefined, ...machine },
  });
}

/** What `doctor` says of a backend. */
export function doctorLine(backend: string, machine: NodeJS.ProcessEnv): string | undefined {
  const { stdout } = runOn(machine, ["dist/cli/main.js", "doctor"]);
  return new RegExp(`^backend ${backend} +(.*)$`, "m").exec(stdout)?.[1];
}

/** The engine streams the first golden tokens, with their log probabilities. */
export async function expectGoldenTokens(engine: Engine, count: number): Promise<void> {
  const file = new SafetensorsFile(path.resolve("test/golden/cases/a.short.safetensors"));
  const options = { temperature: 0, maxTokens: count, ignoreEos: true, logprobs: 2 };
  const run = engine.generate(file.i32("tokens"), options);
  const logprobs: number[] = [];
  for await (const { token, logprob, top } of run) {
    expect(top).toHaveLength(2);
    expect(top?.[0]).toEqual({ token, logprob });
    logprobs.push(logprob ?? Number.NaN);
  }
  expect((await run.result).tokens).toEqual([...file.i32("greedy_tokens")].slice(0, count));
  const wanted = file.f64("greedy_logprob");
  for (const [i, logprob] of logprobs.entries()) expect(Math.abs(logprob - wanted[i]!)).toBeLessThan(0.2); // bf16
}

/** The demo model gives these recorded answers. */
export async function expectRecorded(conversations: Recorded[], options: EngineOptions): Promise<void> {
  await using engine = await Engine.load("demo", options);
  const results = await Promise.all(
    conversations.map(({ prompt_ids }) => engine.generate(prompt_ids, { temperature: 0, maxTokens: 160 }).result),
  );
  expect(results.map(({ tokens }) => tokens)).toEqual(conversations.map(({ completion_ids }) => completion_ids));
}
