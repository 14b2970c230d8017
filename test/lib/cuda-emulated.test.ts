import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { describe, expect, it, vi } from "vitest";
import { addon } from "../../lib/binding.js";
import { Engine } from "../../lib/index.js";

/** The CUDA backend through Node on the emulated GPU of test/emu: the addon of build/Emulated has its module beside it. */

const hook = path.resolve("test/support/emulated-addon.cjs");
const present = existsSync("build/Emulated/libgptoss_cuda.so");
if (present) createRequire(import.meta.url)(hook);

it.runIf(process.platform === "linux" && ["x64", "arm64"].includes(process.arch))(
  "the emulated module is built",
  () => {
    expect(present, '"npm run build:tests" builds it').toBe(true);
  },
);

describe.runIf(present)("an engine on the emulated GPU", () => {
  const golden = path.resolve("test/golden/models/c");
  const options = { backend: "cuda", kvCache: { bytes: "8MiB" }, contextLength: 256 } as const;
  const prompt = [1, 5, 9, 42, 7];

  it("says what it is", async () => {
    const engine = await Engine.load(golden, options);
    try {
      expect(engine.info).toMatchObject({
        backend: "cuda",
        device: "Emulated GPU",
        isa: "sm_90",
        numerics: "fast",
        kvCacheDtype: "bf16",
        repeatable: false,
      });
      expect(engine.info.backendReason).toBe("asked for by name: cuda");
    } finally {
      await engine.close();
    }
  });

  it("is taken by auto, unless float32 is asked for", async () => {
    vi.stubEnv("GPT_OSS_BACKEND", ""); // which the tests' configuration sets to "cpu"
    try {
      for (const [numerics, backend] of [
        ["fast", "cuda"],
        ["exact", "cpu"],
      ] as const) {
        const engine = await Engine.load(golden, { kvCache: { bytes: "8MiB" }, contextLength: 256, numerics });
        expect(engine.info.backend).toBe(backend);
        await engine.close();
      }
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it("gives the same tokens twice, streams what result holds, and cancels", async () => {
    const engine = await Engine.load(golden, options);
    try {
      const sampling = { temperature: 1, seed: 3, maxTokens: 12, ignoreEos: true };
      const [first, second] = await Promise.all(
        [1, 2].map(() => engine.generate(prompt, { ...sampling, logprobs: 2 }).result),
      );
      expect(second!.tokens).toEqual(first!.tokens);
      expect(second!.logprobs).toEqual(first!.logprobs);
      const streamed: number[] = [];
      for await (const { token } of engine.generate(prompt, sampling)) streamed.push(token);
      expect(streamed).toEqual(first!.tokens);

      const run = engine.generate(prompt, { maxTokens: 200, ignoreEos: true });
      for await (const _ of run) break;
      expect((await run.result).finishReason).toBe("cancelled");
      expect(engine.stats().running).toBe(0);
    } finally {
      await engine.close();
    }
  });

  it("the demo model answers as it was recorded", async () => {
    interface Conversation {
      prompt_ids: number[];
      completion_ids: number[];
      robust: boolean;
    }
    const length = (of: Conversation) => of.prompt_ids.length + of.completion_ids.length; // a token takes 0.1 s
    const conversations = readFileSync("test/golden/demo/expected.jsonl", "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Conversation)
      .filter(({ robust }) => robust)
      .sort((a, b) => length(a) - length(b))
      .slice(0, 2);
    const engine = await Engine.load("demo", { backend: "cuda", kvCache: { bytes: "32MiB" } });
    try {
      const results = await Promise.all(
        conversations.map(({ prompt_ids }) => engine.generate(prompt_ids, { temperature: 0, maxTokens: 60 }).result),
      );
      expect(results.map(({ tokens }) => tokens)).toEqual(conversations.map(({ completion_ids }) => completion_ids));
    } finally {
      await engine.close();
    }
  }, 300_000);

  it("refuses a device that is not there", async () => {
    await expect(Engine.load(golden, { ...options, backend: "cuda:1" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: 'backend "cuda:1": there is one CUDA device, "cuda:0"',
    });
  });

  it("is listed", () => {
    const cuda = addon()
      .listBackends()
      .find(({ name }) => name === "cuda");
    expect(cuda).toMatchObject({ available: true, detail: expect.stringMatching(/^cuda:0 Emulated GPU \(4 GiB/) });
  });
});

describe.runIf(present)("doctor", () => {
  const doctor = (machine: string) => {
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
  ])("%s: %s", (machine, line) => expect(doctor(machine)).toMatch(line));
});
