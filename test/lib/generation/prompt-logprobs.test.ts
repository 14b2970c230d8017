import { readdirSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine, type PromptLogprobs } from "../../../lib/index.js";
import { failure } from "../../support/failure.js";
import { SafetensorsFile } from "../../support/safetensors.js";

/** Log probabilities of prompts. The oracle computes in float64; test/golden/README.md has its tolerances. */

const golden = path.resolve("test/golden");
const folder = path.join(golden, "models/a"); // vocabulary of 512
const cases = readdirSync(path.join(golden, "cases"))
  .map((file) => path.basename(file, ".safetensors"))
  .filter((name) => !name.endsWith(".yarn")); // 5000 tokens
const tolerance = 1e-4; // absolute; logits reach 12, times 1e-5

/** log softmax of a row, in float64. */
function logSoftmax(row: ArrayLike<number>): number[] {
  const most = Math.max(...Array.from(row));
  const total = Array.from(row).reduce((sum, logit) => sum + Math.exp(logit - most), 0);
  return Array.from(row, (logit) => logit - most - Math.log(total));
}

const tokens = Array.from({ length: 150 }, (_, i) => (i * 37 + 11) % 509);

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load(folder, { kvCache: { bytes: "64MiB" }, contextLength: 1024, numerics: "exact" });
});
afterAll(() => engine.close());

describe("promptLogprobs", () => {
  it.each(cases)("%s: is the oracle's log softmax", async (name) => {
    const file = new SafetensorsFile(path.join(golden, "cases", `${name}.safetensors`));
    await using model = await Engine.load(path.join(golden, "models", name.split(".")[0]!), {
      kvCache: { bytes: "64MiB" },
      numerics: "exact",
    });
    const { vocab } = model.info.model;
    const all = [...file.i32("tokens"), ...file.i32("greedy_tokens")];
    const logits = file.f64("logits_f64");
    const found = await model.promptLogprobs(all, { logprobs: 5 });
    expect(found.length).toBe(all.length);
    for (const [row, position] of file.i32("positions").entries()) {
      if (position + 1 >= all.length) continue;
      const right = logSoftmax(logits.slice(row * vocab, (row + 1) * vocab));
      const { token, logprob, top } = found.at(position + 1)!;
      expect(token).toBe(all[position + 1]);
      expect(Math.abs(logprob - right[token]!)).toBeLessThan(tolerance);
      const best = [...right].sort((a, b) => b - a).slice(0, 5);
      for (const [i, likely] of top.entries()) expect(Math.abs(likely.logprob - best[i]!)).toBeLessThan(tolerance);
    }
  });

  it("has the token of each place, likely ones in order, and nothing for the first", async () => {
    const found = [...(await engine.promptLogprobs(tokens, { logprobs: 20 }))];
    const logits = await engine.logits(tokens, { last: tokens.length });
    expect(found[0]).toBeNull();
    for (let at = 1; at < tokens.length; at++) {
      const right = logSoftmax(logits.subarray((at - 1) * 512, at * 512));
      const { token, logprob, top } = found[at]!;
      expect(token).toBe(tokens[at]);
      expect(logprob).toBeCloseTo(right[token]!, 5);
      expect(top).toHaveLength(20);
      expect(top[0]!.logprob).toBeCloseTo(Math.max(...right), 5);
      expect(top.every(({ logprob: one }, i) => i === 0 || one <= top[i - 1]!.logprob)).toBe(true);
    }
    expect((await engine.promptLogprobs(tokens)).at(1)).toMatchObject({ token: tokens[1], top: [] });
  });

  it("has the same bits in chunks, beside others, and where the prefix is cached", async () => {
    const all = async (of: Engine) => [...(await of.promptLogprobs(tokens, { logprobs: 3 }))];
    const whole = await all(engine);
    const busy = Array.from({ length: 3 }, (_, i) => engine.generate([i, 2, 3], { maxTokens: 60, ignoreEos: true }));
    expect(await all(engine)).toEqual(whole);
    await Promise.all(busy.map(({ result }) => result));
    for (const maxBatchTokens of [1, 7]) {
      const options = { kvCache: { bytes: "64MiB" }, maxBatchTokens, maxSequences: 2, numerics: "exact" } as const;
      await using narrow = await Engine.load(folder, options);
      expect(await all(narrow)).toEqual(whole);
    }
  });

  it("fills the prefix cache for a completion with the same salt", async () => {
    const own = tokens.map((token) => (token + 1) % 509);
    const cached = async (cacheSalt: string) =>
      (await engine.generate(own, { maxTokens: 1, cacheSalt }).result).usage.cachedTokens;
    await engine.promptLogprobs(own, { cacheSalt: "a" });
    expect(await cached("b")).toBe(0);
    expect(await cached("a")).toBe(128); // whole pages of 64
  });

  it("takes text and a single token", async () => {
    await using demo = await Engine.load("demo");
    const text = "The quick brown fox";
    const found = await demo.promptLogprobs(text);
    expect([...found].map((entry) => entry?.token)).toEqual([undefined, ...demo.tokenizer.encode(text).slice(1)]);
    expect([...(await engine.promptLogprobs([7]))]).toEqual([null]);
    expect(found.at(found.length)).toBeUndefined();
    for (const index of [-1, 1.5, "1" as unknown as number]) expect(found.at(index)).toBeUndefined();
  });

  it.each([
    [[], {}, "INVALID_ARGUMENT", "prompt"],
    [[512], {}, "INVALID_ARGUMENT", "prompt[0]"],
    [[1], { logprobs: 21 }, "INVALID_ARGUMENT", "logprobs"],
    [[1], { top: 1 }, "INVALID_ARGUMENT", undefined],
    [[1], { adapter: "none" }, "INVALID_ARGUMENT", "adapter"],
    [new Array(1024).fill(1), {}, "CONTEXT_OVERFLOW", "prompt"],
  ])("refuses %j with %j", async (given, options, code, field) => {
    const error = await failure(() => engine.promptLogprobs(given, options as never) as Promise<PromptLogprobs>);
    expect([error.code, error.field]).toEqual([code, field ?? error.field]);
  });

  it("rejects with the signal's reason, and leaves nothing behind", async () => {
    const controller = new AbortController();
    const found = engine.promptLogprobs(new Array(1000).fill(1), { signal: controller.signal });
    controller.abort("gone");
    expect(await failure(() => found)).toBe("gone");
    await engine.generate([1], { maxTokens: 1 }).result;
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0 });
  });
});
