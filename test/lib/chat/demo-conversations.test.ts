import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine, type GenerationResult } from "../../../lib/index.js";

/** The recorded answers of the oracle with the embedded demo model: a wrong kernel shows as wrong words. */

interface Conversation {
  id: string;
  prompt_ids: number[];
  completion_ids: number[];
  /** True when no token was a near tie, so that rounding does not change the answer. */
  robust: boolean;
}

const file = path.resolve("test/golden/demo/expected.jsonl");
const conversations = readFileSync(file, "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Conversation)
  .filter(({ robust }) => robust);

const options = { temperature: 0, maxTokens: 160 };

describe("the demo model", () => {
  let engine: Engine;
  let results: GenerationResult[];
  beforeAll(async () => {
    engine = await Engine.load("demo", { kvCache: { bytes: "128MiB" } });
    // all at once: a batch of 64 takes a quarter of the time of sequential requests
    results = await Promise.all(conversations.map(({ prompt_ids }) => engine.generate(prompt_ids, options).result));
  }, 300_000);
  afterAll(() => engine.close());

  it("was recorded in 153 robust conversations", () => {
    expect(conversations).toHaveLength(153);
  });

  it.each(conversations.map((conversation, i) => ({ ...conversation, i })))("$id", ({ i, completion_ids }) => {
    expect(results[i]!.tokens).toEqual(completion_ids);
    expect(results[i]!.finishReason).toBe("stop");
  });

  it("gives the same answer alone as in a batch", async () => {
    for (const { prompt_ids, completion_ids } of conversations.filter((_, i) => i % 20 === 0)) {
      expect((await engine.generate(prompt_ids, options).result).tokens).toEqual(completion_ids);
    }
  });
});
