import "../support/emulated-addon.cjs";
import { existsSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { Engine, type EngineOptions } from "../../lib/index.js";
import { difference, expectClose } from "../support/compare.js";
import { failure } from "../support/failure.js";
import { SafetensorsFile } from "../support/safetensors.js";

/** Adapters on a GPU, of requests and merged: the oracle's logits, several in one batch, loaded and unloaded. */

const golden = path.resolve("test/golden");
const adapter = (name: string) => path.join(golden, "adapters", name);
const load = (name: string, options: EngineOptions = {}) =>
  Engine.load(path.join(golden, "models", name.split(".")[0]!), {
    backend: "cuda",
    contextLength: 512,
    maxSequences: 6,
    maxBatchTokens: 64,
    kvCache: { bytes: "4MiB" },
    ...options,
  });

/** The `require` of test/golden/README.md for bf16 activations, whose effect an adapter enlarges. */
const tolerance = { maxRel: 5e-2, rmsRel: 3e-2 };

// The emulator switches stacks, which it supports on Linux for x86-64 and arm64.
const emulated = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);

if (!emulated) {
  it(`adapters on a GPU: NOT RUN, there is no emulated GPU for ${process.platform}-${process.arch}`, () => {
    expect(existsSync("build/Emulated/libgptoss_cuda.so")).toBe(false);
  });
}

(emulated ? describe : () => undefined)("adapters on the emulated GPU", () => {
  it.each(["a.peft", "a.transposed", "c.unsloth"])("%s beside the weights gives the oracle's logits", async (name) => {
    const file = new SafetensorsFile(path.join(adapter(name), "expected.safetensors"));
    const tokens = file.i32("tokens");
    const expected = file.f64("logits_beside_f64");
    await using engine = await load(name, { adapters: { tuned: adapter(name) } });
    const actual = await engine.logits(tokens, { last: tokens.length, adapter: "tuned" });
    const { shape } = file.info("logits_beside_f64");
    expectClose(name, actual, expected, shape as [number, number], tolerance.maxRel);
    expect(difference(actual, expected).rmsRel).toBeLessThan(tolerance.rmsRel);
    const base = await engine.logits(tokens, { last: tokens.length });
    expect(difference(base, expected).rmsRel).toBeGreaterThan(0.5);
  });

  it("merged, give the oracle's logits", async () => {
    const file = new SafetensorsFile(path.join(adapter("a.peft"), "expected.safetensors"));
    const tokens = file.i32("tokens");
    await using engine = await load("a", { adapters: { one: { path: adapter("a.peft"), merge: true } } });
    const { rmsRel } = difference(await engine.logits(tokens, { last: tokens.length }), file.f64("logits_merged_f64"));
    expect(rmsRel).toBeLessThan(tolerance.rmsRel);
  });

  it("with repeatable, a request has the same bits alone and beside requests with other adapters", async () => {
    const adapters = { one: adapter("a.peft"), half: { path: adapter("a.peft"), scale: 0.5 } };
    await using engine = await load("a", { adapters, repeatable: true, prefixCache: false });
    const names = [undefined, "one", "half", "one", undefined];
    const ask = (index: number) => {
      const name = names[index];
      const prompt = Array.from({ length: 20 + 7 * index }, (_, i) => (i * 31 + 5 * index) % 500);
      return engine.generate(prompt, {
        maxTokens: 4,
        temperature: 0,
        logprobs: 3,
        ignoreEos: true,
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

  it("are loaded and unloaded while requests run; a running request keeps its adapter", async () => {
    await using engine = await load("a");
    const ask = (options: object) =>
      engine.generate([1, 2, 3], { maxTokens: 8, temperature: 0, ignoreEos: true, ...options });
    const plain = (await ask({}).result).tokens;
    const other = ask({});
    await other[Symbol.asyncIterator]().next();
    const loaded = await engine.loadAdapter("one", adapter("a.peft"));
    expect(engine.adapters()).toEqual([loaded]);
    expect((await other.result).tokens).toEqual(plain);
    const whole = (await ask({ adapter: "one" }).result).tokens;
    expect(whole).not.toEqual(plain);

    const running = ask({ adapter: "one" });
    await running[Symbol.asyncIterator]().next();
    engine.unloadAdapter("one");
    expect(() => ask({ adapter: "one" })).toThrow(/no adapter with the name "one" is loaded/);
    expect((await running.result).tokens).toEqual(whole);
    expect((await ask({}).result).tokens).toEqual(plain);
    await engine.loadAdapter("one", adapter("a.transposed"));
    expect((await ask({ adapter: "one" }).result).tokens).toEqual(whole);
  });

  it("end with their engine: unloaded, cancelled and running ones", async () => {
    const engine = await load("a", { adapters: { one: adapter("a.peft"), two: adapter("a.peft") } });
    const ask = (name: string) => engine.generate([1, 2, 3], { adapter: name, maxTokens: 400, ignoreEos: true });
    for await (const _ of ask("one")) break;
    const [left, kept] = [ask("one"), ask("two")];
    await Promise.all([left, kept].map((run) => run[Symbol.asyncIterator]().next()));
    engine.unloadAdapter("one");
    const loading = failure(engine.loadAdapter("three", adapter("a.peft")));
    await engine.close();
    expect((await failure(() => left.result)).code).toBe("CLOSED");
    expect((await failure(() => kept.result)).code).toBe("CLOSED");
    expect(await loading).toMatchObject({ code: "CLOSED" });
  });
});
