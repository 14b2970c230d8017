import { describe, expect, it } from "vitest";
import { Engine, inspectCheckpoint } from "../../lib/index.js";

describe("synthetic models", () => {
  it("are inspected without making a weight", async () => {
    const { layout, fileBytes, files, model, tensors } = await inspectCheckpoint("synthetic:120b?seed=3");
    expect({ layout, fileBytes, files }).toEqual({ layout: "synthetic", fileBytes: 65248815744, files: [] });
    expect(model).toMatchObject({ layers: 36, experts: 128, hidden: 2880, vocab: 201088, eosTokens: [200002] });
    expect(tensors).toHaveLength(36 * 19 + 3);
  });

  it("run: the same seed gives the same tokens, another seed gives others", async () => {
    const options = { temperature: 0, maxTokens: 12 };
    const said = async (model: string) => {
      const engine = await Engine.load(model, { threads: 1, contextLength: 256 });
      try {
        return (await engine.generate([1, 2, 3, 4, 5], options).result).tokens;
      } finally {
        await engine.close();
      }
    };
    const first = await said("synthetic:tiny");
    expect(first).toHaveLength(12);
    expect(await said("synthetic:tiny?seed=1&skew=0")).toEqual(first);
    expect(await said("synthetic:tiny?seed=2")).not.toEqual(first);
    expect(await said("synthetic:tiny?skew=3")).not.toEqual(first);
  });

  it("have logits that are suitable for sampling", async () => {
    const engine = await Engine.load("synthetic:tiny", { threads: 1 });
    const logits = await engine.logits(Array.from({ length: 150 }, (_, i) => (i * 37) % 512));
    const deviation = Math.hypot(...logits) / Math.sqrt(logits.length);
    expect(deviation).toBeGreaterThan(1.5);
    expect(deviation).toBeLessThan(4);
    // 512 tokens are not enough for the harmony format.
    expect(() => engine.chat([{ role: "user", content: "Hi" }])).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
    await engine.close();
  });

  it.each([
    ["synthetic:7b", "MODEL_NOT_FOUND", /expected synthetic:120b, .* found "synthetic:7b"/],
    ["synthetic:", "MODEL_NOT_FOUND", /found "synthetic:"/],
    ["synthetic:tiny?seed=x", "INVALID_ARGUMENT", /seed: expected an integer in \[0, 2\^64 - 1\], found "x"/],
    ["synthetic:tiny?skew=-1", "INVALID_ARGUMENT", /skew: expected a number in \[0, 100\], found "-1"/],
    ["synthetic:tiny?layers=3", "INVALID_ARGUMENT", /expected seed=N or skew=X/],
  ])("are refused by the name %s", async (model, code, message) => {
    await expect(Engine.load(model)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});
