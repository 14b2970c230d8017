import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Engines, fuzzSchemas, loadEngines } from "../../fuzz/schema-completions.js";
import { draws } from "../../support/thorough.js";

/** A slice of `npm run fuzz:schemas`. */

let engines: Engines;
beforeAll(async () => {
  engines = await loadEngines();
});
afterAll(() => Promise.all([engines.tiny.close(), engines.wide.close()]));

describe("completions under random schemas", () => {
  it.each([1, 2, 3])(
    "are values of their schema, or it is refused by name: seed %i",
    { timeout: 600_000 },
    async (seed) => {
      const report = await fuzzSchemas(engines, seed, draws(300, 5000));
      expect(report.failures).toEqual([]);
      expect(report.calls).toBeGreaterThan(0);
      expect(report.completions).toBeGreaterThanOrEqual(300);
    },
  );

  it.each([
    [
      "a required name that propertyNames does not list and a pattern matches",
      { type: "object", propertyNames: { enum: ["a"] }, required: ["a", "xe"], patternProperties: { e$: {} } },
    ],
    [
      "the same where propertyNames has a pattern",
      { type: "object", propertyNames: { pattern: "^a" }, required: ["xe"], patternProperties: { e$: {} } },
    ],
  ])("that it has found: %s has no value", async (_, schema) => {
    const format = { type: "json_schema", schema } as const;
    const run = engines.tiny.generate([1], { constraint: { kind: "text", format }, maxTokens: 60 });
    await expect(run.result).rejects.toThrow("no text satisfies it");
  });
});
