import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { Engine } from "../../lib/index.js";
import { writeCheckpoint } from "../support/checkpoint.js";
import { difference, expectClose } from "../support/compare.js";
import { SafetensorsFile } from "../support/safetensors.js";

/** Compares the engine with the oracle: every model case of test/golden, on every instruction set of this machine. */

const golden = path.resolve("test/golden");
const cases = readdirSync(path.join(golden, "cases")).map((file) => path.basename(file, ".safetensors"));
const isas = process.arch === "arm64" ? ["scalar", "neon"] : ["scalar", "avx2", "avx512"];
const bf16Units = process.arch === "arm64" ? ["neonbf16"] : ["avx512bf16", "amx"];

/** The `require` column of test/golden/README.md for a float32 engine whose RoPE angles are double. */
const tolerance = (name: string) => (name.endsWith(".yarn") ? 3e-5 : 1e-5);
const logprobTolerance = 1e-4; // absolute; logits reach 12, times 1e-5

/**
 * With lossy dense weights: a weight is off by 0.5 % (rms: a step over √12, where 32 normal numbers reach 2.1 σ), and
 * so are the results of attention and head. This moves the logits by 1 to 2.5 %. Where it swaps experts, which are
 * random and unrelated, it moves them by up to 6.3 %, and one logit by 22 %. Wrong products are 100 % off.
 */
const q8Tolerance = { maxRel: 0.4, rmsRel: 0.1 };

async function expectNearWithQ8(name: string): Promise<void> {
  const file = new SafetensorsFile(path.join(golden, "cases", `${name}.safetensors`));
  const positions = file.i32("positions");
  const folder = path.join(golden, "models", name.split(".")[0]!);
  await using engine = await Engine.load(folder, { kvCache: { bytes: "64MiB" }, denseWeights: "q8" });
  expect(engine.info.denseWeights).toBe("q8");
  const { vocab } = engine.info.model;
  const first = positions[0]!;
  const tokens = file.i32("tokens");
  const logits = await engine.logits(tokens, { last: tokens.length - first });
  const stored = Array.from(positions, (p) => [...logits.subarray((p - first) * vocab, (p - first + 1) * vocab)]);
  const { maxRel, rmsRel } = difference(stored.flat(), file.f64("logits_f64"));
  expect(maxRel).toBeLessThan(q8Tolerance.maxRel);
  expect(rmsRel).toBeLessThan(q8Tolerance.rmsRel);
  expect(rmsRel).toBeGreaterThan(5e-3); // the option is in use
}
const shortCases = cases.filter((name) => !name.endsWith(".yarn")); // 5000 tokens

const load = (folder: string) => Engine.load(folder, { kvCache: { bytes: "64MiB" } });

/** `undefined` where GPT_OSS_ISA names an instruction set that this machine does not have. */
async function isaOf(name: string): Promise<string | undefined> {
  vi.stubEnv("GPT_OSS_ISA", name);
  try {
    await using engine = await load(path.join(golden, "models/c"));
    return engine.info.isa;
  } catch (error) {
    if ((error as { code?: string }).code === "UNSUPPORTED") return undefined;
    throw error;
  } finally {
    vi.unstubAllEnvs();
  }
}

/** Returns the names that this machine supports. The others must be refused. */
async function available(names: string[]): Promise<string[]> {
  const here: string[] = [];
  for (const isa of names) {
    if ((await isaOf(isa)) !== undefined) {
      here.push(isa);
      continue;
    }
    it(`${isa}: golden models NOT RUN, this machine does not have it; asking for it is refused`, async () => {
      expect(await isaOf(isa)).toBeUndefined();
    });
  }
  return here;
}

for (const isa of await available(bf16Units)) {
  describe(isa, () => {
    beforeAll(() => {
      vi.stubEnv("GPT_OSS_ISA", isa);
    });
    afterAll(() => {
      vi.unstubAllEnvs();
    });

    it.each(cases)("%s: logits, and the golden tokens one by one", { timeout: 300_000 }, async (name) => {
      const file = new SafetensorsFile(path.join(golden, "cases", `${name}.safetensors`));
      const tokens = file.i32("tokens");
      const positions = file.i32("positions");
      const greedy = file.i32("greedy_tokens");
      await using engine = await load(path.join(golden, "models", name.split(".")[0]!));
      expect(engine.info).toMatchObject({ isa, numerics: "fast" });
      const { vocab } = engine.info.model;

      const first = positions[0]!;
      const all = [...tokens, ...greedy];
      const logits = await engine.logits(all, { last: all.length - first });
      const row = (position: number) => logits.subarray((position - first) * vocab, (position - first + 1) * vocab);
      const actual = Float32Array.from(Array.from(positions, (p) => [...row(p)]).flat());
      const { maxRel, rmsRel } = difference(actual, file.f64("logits_f64"));
      // the `require` column for bf16 activations
      expect(maxRel).toBeLessThan(4e-2);
      expect(rmsRel).toBeLessThan(2e-2);

      const margins = file.f64("greedy_margin");
      for (const [i, token] of greedy.entries()) {
        const at = row(tokens.length - 1 + i);
        const best = at.indexOf(Math.max(...at));
        if (margins[i]! > 4e-2 * Math.max(...at.map(Math.abs))) expect(best, `step ${i}`).toBe(token);
      }
    });

    it.each(shortCases)('%s: near the oracle with denseWeights "q8"', expectNearWithQ8);

    it("gives the same bits for a prompt in chunks of 7 tokens, and for each token alone", async () => {
      const tokens = new SafetensorsFile(path.join(golden, "cases", "a.window.safetensors"))
        .i32("tokens")
        .slice(0, 140);
      const folder = path.join(golden, "models/a");
      await using engine = await load(folder);
      const whole = await engine.logits(tokens, { last: 60 });
      for (const maxBatchTokens of [7, 1]) {
        await using narrow = await Engine.load(folder, { kvCache: { bytes: "64MiB" }, maxBatchTokens });
        expect(await narrow.logits(tokens, { last: 60 })).toEqual(whole);
      }
    });
  });
}

for (const isa of await available(isas)) {
  describe(isa, () => {
    beforeAll(() => {
      vi.stubEnv("GPT_OSS_ISA", isa);
    });
    afterAll(() => {
      vi.unstubAllEnvs();
    });

    // the 5000 tokens of b.yarn, twice: 35 s in scalar code on two busy cores
    it.each(cases)("%s: logits and greedy continuation", { timeout: 300_000 }, async (name) => {
      const file = new SafetensorsFile(path.join(golden, "cases", `${name}.safetensors`));
      const tokens = file.i32("tokens");
      const positions = file.i32("positions");
      await using engine = await load(path.join(golden, "models", name.split(".")[0]!));
      expect(engine.info.isa).toBe(isa);
      expect(engine.info.numerics).toBe("exact");
      const { vocab } = engine.info.model;

      const first = positions[0]!;
      const logits = await engine.logits(tokens, { last: tokens.length - first });
      const stored = Array.from(positions, (p) => logits.subarray((p - first) * vocab, (p - first + 1) * vocab));
      const actual = Float32Array.from(stored.flatMap((row) => [...row]));
      expectClose(`${name} logits`, actual, file.f64("logits_f64"), [positions.length, vocab], tolerance(name));

      const expected = [...file.i32("greedy_tokens")];
      const run = engine.generate(tokens, { temperature: 0, maxTokens: expected.length, ignoreEos: true });
      const logprobs: number[] = [];
      for await (const { logprob } of run) logprobs.push(logprob);
      expect((await run.result).tokens).toEqual(expected);
      for (const [i, logprob] of file.f64("greedy_logprob").entries()) {
        expect(Math.abs(logprobs[i]! - logprob), `logprob of step ${i}`).toBeLessThan(logprobTolerance);
      }
    });

    it.each(shortCases)('%s: near the oracle with denseWeights "q8"', expectNearWithQ8);

    it("gives the same bits for a prompt in chunks of 7 tokens", async () => {
      const tokens = new SafetensorsFile(path.join(golden, "cases", "c.window.safetensors")).i32("tokens");
      const folder = path.join(golden, "models/c");
      await using engine = await load(folder);
      await using narrow = await Engine.load(folder, { kvCache: { bytes: "64MiB" }, maxBatchTokens: 7 });
      expect(await narrow.logits(tokens, { last: 60 })).toEqual(await engine.logits(tokens, { last: 60 }));
    });
  });
}

describe("a checkpoint in OpenAI's layout", () => {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(path.join(tmpdir(), "gpt-oss-layouts-"));
  });
  afterAll(() => rmSync(root, { recursive: true }));

  it("gives the same bits as in the Hugging Face layout, in one file or in shards", async () => {
    const tokens = Array.from({ length: 200 }, (_, i) => (i * 97) % 512);
    const variants = [
      { layout: "huggingface" },
      { layout: "original" },
      { layout: "original", shardBytes: 500_000 },
    ] as const;
    const logits: Float32Array[] = [];
    for (const [i, variant] of variants.entries()) {
      const folder = path.join(root, String(i));
      writeCheckpoint(folder, { layers: 2, window: 16, ...variant });
      await using engine = await load(folder);
      logits.push(await engine.logits(tokens, { last: 3 }));
    }
    expect(logits[1]).toEqual(logits[0]);
    expect(logits[2]).toEqual(logits[0]);
  });
});
