import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine, type EngineOptions } from "../../lib/index.js";
import { difference, expectClose } from "../support/compare.js";
import { failure } from "../support/failure.js";
import { describeOnEachIsa } from "../support/instruction-sets.js";
import { SafetensorsFile } from "../support/safetensors.js";

/** Adapters beside the weights and merged into them, against the oracle; several in one batch; and their refusals. */

const golden = path.resolve("test/golden");
const adapter = (name: string) => path.join(golden, "adapters", name);
const modelOf = (name: string) => path.join(golden, "models", name.split(".")[0]!);
const load = (model: string, options: EngineOptions = {}) =>
  Engine.load(modelOf(model), { backend: "cpu", contextLength: 512, kvCache: { bytes: "16MiB" }, ...options });

function expected(name: string) {
  const file = new SafetensorsFile(path.join(adapter(name), "expected.safetensors"));
  const tokens = file.i32("tokens");
  const { shape } = file.info("logits_beside_f64");
  const logits = { beside: file.f64("logits_beside_f64"), merged: file.f64("logits_merged_f64") };
  return { tokens, logits, shape: shape as [number, number] };
}

/** The `require` of test/golden/README.md: float32 sums, and bf16 activations, whose effect an adapter enlarges. */
const tolerances = { exact: { maxRel: 1e-5, rmsRel: 1e-5 }, fast: { maxRel: 5e-2, rmsRel: 3e-2 } };

await describeOnEachIsa("adapters", (isa) => {
  for (const name of ["a.peft", "a.transposed", "c.unsloth"]) {
    for (const kind of ["beside", "merged"] as const) {
      it(`${name} ${kind} the weights gives the oracle's logits`, async () => {
        const { tokens, logits, shape } = expected(name);
        const adapters = { tuned: { path: adapter(name), merge: kind === "merged" } };
        await using engine = await load(name, { adapters });
        expect(engine.info.isa).toBe(isa);
        const options = { last: tokens.length, ...(kind === "beside" && { adapter: "tuned" }) };
        const actual = await engine.logits(tokens, options);
        const { maxRel, rmsRel } = tolerances[engine.info.numerics];
        expectClose(`${name} ${kind} on ${isa}`, actual, logits[kind], shape, maxRel);
        expect(difference(actual, logits[kind]).rmsRel).toBeLessThan(rmsRel);
        const base = await engine.logits(tokens, { last: tokens.length });
        if (kind === "merged") expect(base).toEqual(actual);
        else expect(difference(base, logits.beside).rmsRel).toBeGreaterThan(0.5);
      });
    }
  }

  it("a request has the same bits alone and beside requests with other adapters", async () => {
    const adapters = { one: adapter("a.peft"), half: { path: adapter("a.peft"), scale: 0.5 } };
    await using engine = await load("a", { adapters });
    const names = [undefined, "one", "half", "one", undefined];
    let salt = 0;
    const ask = (index: number) => {
      const name = names[index];
      const prompt = Array.from({ length: 20 + 7 * index }, (_, i) => (i * 31 + 5 * index) % 500);
      return engine.generate(prompt, {
        maxTokens: 12,
        temperature: 0,
        logprobs: 3,
        ignoreEos: true,
        cacheSalt: String(++salt), // nothing is reused
        ...(name !== undefined && { adapter: name }),
      }).result;
    };
    const together = await Promise.all(names.map((_, index) => ask(index)));
    for (const [index, { tokens, logprobs }] of together.entries()) {
      const alone = await ask(index);
      expect(alone.tokens).toEqual(tokens);
      expect(alone.logprobs).toEqual(logprobs);
    }
  });
});

describe("adapters of requests", () => {
  it("PEFT's two orders of the experts give the same bits", async () => {
    await using engine = await load("a", { adapters: { new: adapter("a.peft"), old: adapter("a.transposed") } });
    const { tokens } = expected("a.peft");
    expect(await engine.logits(tokens, { adapter: "old" })).toEqual(await engine.logits(tokens, { adapter: "new" }));
  });

  it("do not change with scale 0, and change in proportion to a small scale", async () => {
    await using engine = await load("a");
    // Activations in bf16 (numerics "fast") hide the change of a smaller scale.
    const isExact = engine.info.numerics === "exact";
    const scale = isExact ? 1e-4 : 1e-3;
    for (const [name, times] of Object.entries({ none: 0, small: 1, twice: 2 })) {
      await engine.loadAdapter(name, adapter("a.peft"), { scale: times * scale });
    }
    const { tokens } = expected("a.peft");
    const base = await engine.logits(tokens);
    expect(await engine.logits(tokens, { adapter: "none" })).toEqual(base);
    const change = async (name: string) => (await engine.logits(tokens, { adapter: name })).map((x, i) => x - base[i]!);
    const [once, twice] = [await change("small"), await change("twice")];
    // The logits bend: at scale 1e-4 they change by 1.1e-3 of their size, and the bend is about twice that.
    const { rmsRel } = difference(
      twice,
      once.map((x) => 2 * x),
    );
    expect(rmsRel).toBeLessThan(isExact ? 5e-3 : 0.5);
    expect(
      difference(
        once,
        once.map(() => 0),
      ).maxAbs,
    ).toBeGreaterThan(scale);
  });

  it("share pages of the prefix cache only with requests of the same adapter", async () => {
    await using engine = await load("a", { adapters: { one: adapter("a.peft") } });
    const prompt = Array.from({ length: 200 }, (_, i) => (i * 13) % 500);
    const cached = async (options: object) =>
      (await engine.generate(prompt, { maxTokens: 1, temperature: 0, ...options }).result).usage.cachedTokens;
    expect(await cached({})).toBe(0);
    expect(await cached({})).toBe(192);
    expect(await cached({ adapter: "one" })).toBe(0);
    expect(await cached({ adapter: "one" })).toBe(192);
    await engine.loadAdapter("again", adapter("a.peft"));
    expect(await cached({ adapter: "again" })).toBe(0);
    engine.unloadAdapter("one");
    await engine.loadAdapter("one", adapter("a.peft"), { scale: 0.5 });
    expect(await cached({ adapter: "one" })).toBe(0); // a new adapter under an old name
  });

  it("are loaded and unloaded while requests run; a running request keeps its adapter", async () => {
    await using engine = await load("a");
    expect(engine.adapters()).toEqual([]);
    const loaded = await engine.loadAdapter("one", adapter("a.peft"));
    expect(loaded).toEqual({
      name: "one",
      path: adapter("a.peft"),
      scale: 1,
      merged: false,
      rank: 4,
      matrices: 4 * (5 + 2 * 8),
      bytes: expect.any(Number),
    });
    expect(engine.adapters()).toEqual([loaded]);
    const ask = () => engine.generate([1, 2, 3], { adapter: "one", maxTokens: 100, temperature: 0, ignoreEos: true });
    const whole = (await ask().result).tokens;
    const run = ask();
    for await (const _ of run) break; // leaving the loop cancels it
    const running = ask();
    const iterator = running[Symbol.asyncIterator]();
    await iterator.next();
    engine.unloadAdapter("one");
    expect((await running.result).tokens).toEqual(whole);
    expect(engine.adapters()).toEqual([]);
    expect(() => ask()).toThrow(/no adapter with the name "one" is loaded; there are none/);
    expect(() => engine.unloadAdapter("one")).toThrow(/no adapter with the name "one"/);
  });

  it("are shared with engines that are attached to this one", async () => {
    await using engine = await load("a", { adapters: { one: adapter("a.peft") } });
    const attached = Engine.attach(engine.share());
    const { tokens } = expected("a.peft");
    expect(await attached.logits(tokens, { adapter: "one" })).toEqual(await engine.logits(tokens, { adapter: "one" }));
    await attached.close();
  });

  it("are not loaded by an engine that is closed meanwhile", async () => {
    const engine = await load("a");
    const loading = failure(engine.loadAdapter("one", adapter("a.peft")));
    await engine.close();
    expect(await loading).toMatchObject({ code: "CLOSED" });
    expect(engine.adapters()).toEqual([]);
  });

  it("are not left behind by an attached engine that is closed meanwhile", async () => {
    await using engine = await load("a");
    const attached = Engine.attach(engine.share());
    const loading = failure(attached.loadAdapter("one", adapter("a.peft")));
    await attached.close();
    expect(await loading).toMatchObject({ code: "CLOSED" });
    expect(engine.adapters()).toEqual([]);
    const other = Engine.attach(engine.share());
    const orphaned = other.loadAdapter("one", adapter("a.peft"));
    await Promise.allSettled([engine.close(), orphaned]); // it may have been faster
    expect(other.adapters()).toEqual([]);
    await other.close();
  });

  it("work with several choices and without the prefix cache", async () => {
    await using engine = await load("a", { adapters: { one: adapter("a.peft") }, prefixCache: false });
    const { tokens } = await engine.generate([4, 5, 6], { adapter: "one", maxTokens: 8, temperature: 0, n: 2 }).result;
    const plain = await engine.generate([4, 5, 6], { maxTokens: 8, temperature: 0 }).result;
    expect(tokens).not.toEqual(plain.tokens);
  });

  it("are refused by name and field", async () => {
    await using engine = await load("a", { adapters: { one: adapter("a.peft") } });
    const taken = await failure(() => engine.loadAdapter("one", adapter("a.peft")));
    expect(taken).toMatchObject({ code: "INVALID_ARGUMENT", field: "name" });
    const unknown = await failure(async () => engine.generate([1], { adapter: "two" }));
    expect(unknown).toMatchObject({ code: "INVALID_ARGUMENT", field: "adapter" });
    expect((unknown as Error).message).toContain('there are "one"');
    for (const name of ["", "a:b", "a/b", ".a", "x".repeat(65), 7]) {
      const error = await failure(() => engine.loadAdapter(name as string, adapter("a.peft")));
      expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field: "name" });
    }
    const error = await failure(() => engine.loadAdapter("c", adapter("c.unsloth")));
    expect(error).toMatchObject({ code: "MODEL_SHAPE" });
    expect((error as Error).message).toContain("lm_head.lora_A");
    await engine.close();
    expect(await failure(() => engine.loadAdapter("x", adapter("a.peft")))).toMatchObject({ code: "CLOSED" });
  });

  it("are checked before the model loads", async () => {
    for (const [adapters, field] of [
      [[], "adapters"],
      ["path", "adapters"],
      [{ a: 7 }, "adapters.a"],
      [{ a: "" }, "adapters.a.path"],
      [{ a: { path: "x", scale: Number.NaN } }, "adapters.a.scale"],
      [{ a: { path: "x", merge: 1 } }, "adapters.a.merge"],
      [{ a: { path: "x", rank: 1 } }, "adapters.a.rank"],
      [{ "a:b": "x" }, "a name of adapters"],
    ] as const) {
      const error = await failure(() => load("a", { adapters } as unknown as EngineOptions));
      expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field });
    }
    const error = await failure(() => load("a", { adapters: { a: "/nowhere" } }));
    expect(error).toMatchObject({ code: "MODEL_NOT_FOUND" });
  });
});

describe("merged adapters", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-adapters-"));
    cpSync(modelOf("a"), path.join(folder, "model"), { recursive: true });
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it("report what MXFP4 loses", async () => {
    await using engine = await load("a", { adapters: { one: { path: adapter("a.peft"), merge: true } } });
    expect(engine.adapters()).toEqual([]);
    const [info] = engine.info.mergedAdapters;
    expect(info).toMatchObject({ name: "one", merged: true, bytes: 0, rank: 4 });
    // The steps of E2M1 are 1/8 to 1/2 of a value, so rounding costs 10 to 12 % of the weights (rms).
    expect(info!.error!.ofWeights).toBeGreaterThan(0.05);
    expect(info!.error!.ofWeights).toBeLessThan(0.15);
    expect(info!.error!.ofChange).toBeGreaterThan(info!.error!.ofWeights);
    const attention = await load("a", { adapters: {} });
    expect(attention.info.mergedAdapters).toEqual([]);
    await attention.close();
    expect(await failure(async () => engine.generate([1], { adapter: "one" }))).toMatchObject({ field: "adapter" });
  });

  it("with scale 0 leave every bit of the model alone", async () => {
    const { tokens } = expected("a.peft");
    await using base = await load("a");
    await using merged = await load("a", { adapters: { one: { path: adapter("a.peft"), scale: 0, merge: true } } });
    expect(await merged.logits(tokens)).toEqual(await base.logits(tokens));
  });

  it("have packed weights of their own, for each scale", async () => {
    const { tokens } = expected("a.peft");
    const packed = path.join(folder, "packed");
    const results = new Set<string>();
    let packs = false;
    for (const scale of [1, 0.5, 1, 0.5]) {
      const adapters = { one: { path: adapter("a.peft"), scale, merge: true } };
      const options = { backend: "cpu", contextLength: 256, packedWeights: packed, adapters } as const;
      await using engine = await Engine.load(path.join(folder, "model"), options);
      packs = engine.info.packedWeights.in === "file";
      results.add((await engine.logits(tokens)).join());
    }
    expect(results.size).toBe(2);
    if (packs) expect(readdirSync(packed)).toHaveLength(2);
  });

  it("also work with q8 weights, and beside adapters of requests", async () => {
    const adapters = { merged: { path: adapter("c.unsloth"), merge: true }, beside: adapter("c.unsloth") };
    await using engine = await load("c", { adapters, denseWeights: "q8" });
    const { tokens, logits } = expected("c.unsloth");
    const actual = await engine.logits(tokens, { last: tokens.length });
    expect(difference(actual, logits.merged).rmsRel).toBeLessThan(0.1); // as in golden-models.test.ts
    expect(await engine.logits(tokens, { adapter: "beside" })).not.toEqual(await engine.logits(tokens));
  });
});
