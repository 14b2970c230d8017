import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine, type GenerationResult } from "../../../lib/index.js";
import { robust } from "../../support/recorded.js";

/** The recorded answers of the oracle with the embedded demo model: a wrong kernel shows as wrong words. */

const options = { temperature: 0, maxTokens: 160 };

describe("the demo model", () => {
  let engine: Engine;
  let results: GenerationResult[];
  beforeAll(async () => {
    engine = await Engine.load("demo", { kvCache: { bytes: "128MiB" } });
    // all at once: a batch of 64 takes a quarter of the time of sequential requests
    results = await Promise.all(robust.map(({ prompt_ids }) => engine.generate(prompt_ids, options).result));
  }, 300_000);
  afterAll(() => engine.close());

  it("was recorded in 153 robust robust", () => {
    expect(robust).toHaveLength(153);
  });

  it.each(robust.map((conversation, i) => ({ ...conversation, i })))("$id", ({ i, completion_ids }) => {
    expect(results[i]!.tokens).toEqual(completion_ids);
    expect(results[i]!.finishReason).toBe("stop");
  });

  it("gives the same answer alone as in a batch", async () => {
    for (const { prompt_ids, completion_ids } of robust.filter((_, i) => i % 20 === 0)) {
      expect((await engine.generate(prompt_ids, options).result).tokens).toEqual(completion_ids);
    }
  });
});
