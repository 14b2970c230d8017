import { setImmediate as turn } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine, type Usage } from "../../../lib/index.js";
import { recorded } from "../../support/recorded.js";

/**
 * Many turns of one conversation on the demo model, and a long prompt that is cancelled. The tests count and use no
 * clocks.
 */

const pageTokens = 64;

const prompts = recorded.map(({ prompt_ids }) => prompt_ids);

/** The last message of a prompt and the header of the answer: `<|start|>user … <|end|><|start|>assistant`. */
function lastQuestion(prompt: number[]): number[] {
  const start = 200006;
  const user = 1428;
  const at = prompt.findLastIndex((token, i) => token === start && prompt[i + 1] === user);
  return prompt.slice(at);
}

function pagesInUse({ full, window } = engine.stats().pages): number {
  return full.total - full.free + window.total - window.free;
}

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load("demo", {
    contextLength: 12_000,
    maxBatchTokens: pageTokens,
    kvCache: { bytes: "256MiB" },
  });
});
afterAll(() => engine.close());

describe("a conversation of 20 turns", () => {
  const turns: { earlier: number; fresh: number; computed: number; usage: Usage }[] = [];
  beforeAll(async () => {
    let tokens: number[] = [];
    for (const prompt of prompts.slice(0, 20)) {
      const earlier = tokens.length;
      tokens = earlier === 0 ? [...prompt] : [...tokens, ...lastQuestion(prompt)];
      const fresh = tokens.length - earlier;
      const before = engine.stats().promptTokens;
      const result = await engine.generate(tokens, { temperature: 0, maxTokens: 60 }).result;
      turns.push({ earlier, fresh, computed: engine.stats().promptTokens - before, usage: result.usage });
      tokens = [...tokens, ...result.tokens];
    }
  }, 120_000);

  it("is longer than the sliding window, so that those layers have freed most of its pages", () => {
    expect(turns).toHaveLength(20);
    expect(turns.at(-1)!.earlier).toBeGreaterThan(3 * engine.info.model.slidingWindow);
  });

  it("reuses all earlier tokens except the last page, from the second turn on", () => {
    expect(turns[0]!.usage.cachedTokens).toBe(0);
    for (const { earlier, usage } of turns.slice(1)) {
      expect(usage.cachedTokens).toBeGreaterThanOrEqual(earlier - pageTokens);
    }
  });

  it("computes only the new tokens in turn 20", () => {
    const { earlier, fresh, computed, usage } = turns.at(-1)!;
    expect(computed).toBe(usage.promptTokens - usage.cachedTokens);
    expect(computed).toBeLessThanOrEqual(fresh + pageTokens);
    expect(computed).toBeLessThan(earlier / 4);
  });

  it("leaves every page free", () => {
    expect(pagesInUse()).toBe(0);
  });
});

describe("a prompt of 10,000 tokens that is aborted", () => {
  const long = Array.from({ length: 10_000 }, (_, i) => (i * 7919) % 199_000);

  it("frees its pages after the running step, and computes no more", async () => {
    const controller = new AbortController();
    const start = engine.stats().promptTokens;
    const run = engine.generate(long, { maxTokens: 1, signal: controller.signal });
    while (engine.stats().promptTokens < start + 10 * pageTokens) await turn();
    expect(pagesInUse()).toBeGreaterThanOrEqual(10);
    controller.abort(new Error("too long"));
    const { promptTokens } = engine.stats();
    expect(promptTokens).toBeLessThan(start + 9_000);
    await expect(run.result).rejects.toThrow("too long");
    while (pagesInUse() > 0) await turn();
    expect(engine.stats().promptTokens).toBeLessThanOrEqual(promptTokens + pageTokens); // tokens of the step that ran
  });

  it("frees them before the next step of another stream", async () => {
    const controller = new AbortController();
    const stream = engine.generate([1, 2, 3], { maxTokens: 500, ignoreEos: true });
    const start = engine.stats().promptTokens;
    const run = engine.generate([5, ...long], { maxTokens: 1, signal: controller.signal });
    while (engine.stats().promptTokens < start + 10 * pageTokens) await turn();
    controller.abort(new Error("too long"));
    const { steps } = engine.stats();
    await expect(run.result).rejects.toThrow("too long");
    // The running step ends as steps + 1. The next one begins without the prompt, and ends as steps + 2.
    while (engine.stats().steps < steps + 2) await turn();
    const { pages, running } = engine.stats();
    expect(running).toBe(1);
    const pagesOfStream = Math.ceil(503 / pageTokens);
    expect(pagesInUse(pages)).toBeLessThanOrEqual(2 * pagesOfStream);
    stream.cancel();
    await stream.result;
  });
});

describe("cacheSalt", () => {
  it("shares no prompt between salts", async () => {
    const prompt = Array.from({ length: 200 }, (_, i) => 1000 + i);
    const cached = async (cacheSalt?: string) => {
      const options = { maxTokens: 1, temperature: 0, ...(cacheSalt !== undefined && { cacheSalt }) };
      return (await engine.generate(prompt, options).result).usage.cachedTokens;
    };
    expect(await cached("a")).toBe(0);
    expect(await cached("b")).toBe(0);
    expect(await cached()).toBe(0);
    expect(await cached("a")).toBe(192);
    expect(await cached("b")).toBe(192);
    expect(await cached()).toBe(192);
  });
});
