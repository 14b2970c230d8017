import { execFile, spawn } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../lib/engine.js";
import type { GptOssError } from "../../lib/errors.js";
import { failure } from "../support/failure.js";

const model = path.resolve("test/golden/models/a"); // vocabulary of 512, ends with 510
const built = path.resolve("dist/index.js");
const prompt = [1, 2, 3, 4, 5];
const run = promisify(execFile);

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load(model, { contextLength: 1024 });
});
afterAll(() => engine.close());

function pagesInUse(of: Engine): number {
  const { full, window } = of.stats().pages;
  return full.total - full.free + window.total - window.free;
}

describe("Engine.load", () => {
  it("reports config, device, memory and limits", () => {
    expect(engine.info).toMatchObject({
      model: { layers: 4, hidden: 96, heads: 16, kvHeads: 2, experts: 8, vocab: 512, slidingWindow: 128 },
      backend: "cpu",
      limits: { contextLength: 1024, maxSequences: 64, maxQueue: 1024 },
    });
    const { numerics, limits } = engine.info;
    expect(limits.maxBatchTokens).toBe(numerics === "fast" ? 512 : 256);
    expect(engine.info.memory.weightsBytes).toBeGreaterThan(2e6);
    expect(engine.info.memory.kvTokens).toBeGreaterThanOrEqual(1024);
    expect(engine.info.backendReason).toMatch(/^no GPU works: cuda: .*; metal: |^asked for$/);
  });

  it("reports progress up to the end", async () => {
    const phases: string[] = [];
    const totals = new Set<number>();
    const loaded = await Engine.load(model, {
      onProgress: ({ phase, loadedBytes, totalBytes }) => {
        expect(loadedBytes).toBeLessThanOrEqual(totalBytes);
        totals.add(totalBytes);
        phases.push(phase);
      },
    });
    await loaded.close();
    expect(phases[0]).toBe("open");
    expect(phases.at(-1)).toBe("ready");
    expect(totals.size).toBe(1);
  });

  it.each([
    [
      { contextLenght: 5 },
      "INVALID_ARGUMENT",
      /Unknown option "contextLenght" for Engine.load; did you mean "contextLength"/,
    ],
    [
      { maxSequences: "8" },
      "INVALID_ARGUMENT",
      /Expected an integer in \[1, 4096\] for maxSequences but received "8" \(string\)/,
    ],
    [{ maxSequences: 0 }, "INVALID_ARGUMENT", /received 0 \(number\)/],
    [{ contextLength: Number.NaN }, "INVALID_ARGUMENT", /contextLength but received NaN/],
    [{ contextLength: 131073 }, "INVALID_ARGUMENT", /131073 is more than the model's 131072/],
    [{ threads: -1 }, "INVALID_ARGUMENT", /threads/],
    [{ kvCache: { bytes: "4 giga" } }, "INVALID_ARGUMENT", /"4GiB".*received "4 giga"/],
    [{ kvCache: { bytes: "64KiB" }, contextLength: 100000 }, "OUT_OF_MEMORY", /needs \d+ bytes.*there are 65536/],
    [{ kvCache: { bytes: null } }, "INVALID_ARGUMENT", /kvCache.bytes but received null/],
    [{ kvCache: { size: 3 } }, "INVALID_ARGUMENT", /Unknown option "size" for kvCache/],
    [{ kvCache: { dtype: "fp8" } }, "UNSUPPORTED", /kvCache.dtype "fp8" needs a GPU/],
    [{ prefixCache: 1 }, "INVALID_ARGUMENT", /false or true for prefixCache/],
    [{ kvCache: { dtype: "int4" } }, "INVALID_ARGUMENT", /kvCache.dtype/],
    [{ numerics: "bf16" }, "INVALID_ARGUMENT", /"exact" or "fast" for numerics/],
    [{ denseWeights: "q4" }, "INVALID_ARGUMENT", /"bf16" or "q8" for denseWeights/],
    [{ expertWeights: "q8" }, "INVALID_ARGUMENT", /"mxfp4" or "bf16" for expertWeights/],
    [{ backend: "metal" }, "UNSUPPORTED", /metal/],
    [{ backend: "tpu" }, "INVALID_ARGUMENT", /backend/],
    [{ onProgress: 3 }, "INVALID_ARGUMENT", /onProgress/],
    [{ signal: {} }, "INVALID_ARGUMENT", /AbortSignal/],
    [null, "INVALID_ARGUMENT", /an object/],
  ])("refuses %j", async (options, code, message) => {
    const error = await failure(() => Engine.load(model, options as never));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  it.each([[""], [7], [undefined], ["a\0b"]])("refuses %j as a model", async (name) => {
    expect((await failure(() => Engine.load(name as never))).code).toBe("INVALID_ARGUMENT");
  });

  it("rejects with the signal's reason, before and while loading", async () => {
    const reason = new Error("not today");
    expect(await failure(() => Engine.load(model, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    const controller = new AbortController();
    const loading = Engine.load(model, { signal: controller.signal });
    controller.abort(reason);
    expect(await failure(() => loading)).toBe(reason);
  });

  it("rejects with the exception of onProgress", async () => {
    const reason = new Error("mine");
    const loading = Engine.load(model, {
      onProgress() {
        throw reason;
      },
    });
    expect(await failure(() => loading)).toBe(reason);
  });
});

describe("generate", () => {
  it("streams the tokens of the result, and gives the same tokens twice", async () => {
    const first = engine.generate(prompt, { temperature: 0, maxTokens: 20 });
    const streamed = [];
    for await (const t of first) streamed.push(t);
    const whole = await first.result;
    expect(streamed.map((t) => t.token)).toEqual(whole.tokens);
    expect(streamed.map((t) => t.text).join("")).toBe(whole.text);
    expect(streamed.every((t) => t.logprob <= 0 && t.index === 0)).toBe(true);
    expect(whole.finishReason).toBe("length");
    expect(whole.usage).toEqual({ promptTokens: 5, cachedTokens: 0, completionTokens: 20 });
    expect(whole.timings.prefillMilliseconds).toBeGreaterThan(0);
    expect((await engine.generate(prompt, { temperature: 0, maxTokens: 20 }).result).tokens).toEqual(whole.tokens);
  });

  it("gives the same tokens for the same seed beside any other requests, and others for another seed", async () => {
    const sample = (seed: number) => engine.generate(prompt, { seed, maxTokens: 30, ignoreEos: true }).result;
    const alone = (await sample(7)).tokens;
    const crowd = await Promise.all([sample(1), sample(7), sample(2), sample(7), sample(3)]);
    expect(crowd[1]!.tokens).toEqual(alone);
    expect(crowd[3]!.tokens).toEqual(alone);
    expect(crowd[0]!.tokens).not.toEqual(alone);
  });

  it("is the argmax of logits() when greedy", async () => {
    const { tokens } = await engine.generate(prompt, { temperature: 0, maxTokens: 3, ignoreEos: true }).result;
    const logits = await engine.logits([...prompt, ...tokens.slice(0, 2)], { last: 3 });
    expect(logits.length).toBe(3 * 512);
    for (let i = 0; i < 3; i++) {
      const row = logits.subarray(i * 512, (i + 1) * 512);
      expect(row.indexOf(Math.max(...row))).toBe(tokens[i]);
    }
  });

  it("stops at a stop token, which is its last", async () => {
    const { tokens } = await engine.generate(prompt, { temperature: 0, maxTokens: 20, ignoreEos: true }).result;
    const stop = tokens[10]!;
    const stopped = await engine.generate(prompt, { temperature: 0, stopTokens: [stop] }).result;
    expect(stopped.finishReason).toBe("stop");
    expect(stopped.tokens).toEqual(tokens.slice(0, tokens.indexOf(stop) + 1));
  });

  it("ends a loop that is left early as cancelled", async () => {
    const generation = engine.generate(prompt, { maxTokens: 900, ignoreEos: true });
    let seen = 0;
    for await (const _ of generation) if (++seen === 3) break;
    const { finishReason, tokens } = await generation.result;
    expect(finishReason).toBe("cancelled");
    expect(tokens.length).toBeLessThan(900);
    expect(pagesInUse(engine)).toBe(0);
  });

  it("rejects with the signal's reason, and frees its pages", async () => {
    const controller = new AbortController();
    const generation = engine.generate(prompt, { maxTokens: 900, ignoreEos: true, signal: controller.signal });
    const reason = new Error("enough");
    const streamed = failure(async () => {
      for await (const _ of generation) controller.abort(reason);
    });
    expect(await streamed).toBe(reason);
    expect(await failure(() => generation.result)).toBe(reason);
    expect((await failure(() => engine.generate(prompt, { signal: AbortSignal.abort(reason) }))) as unknown).toBe(
      reason,
    );
    await engine.generate(prompt, { maxTokens: 1 }).result; // a step later
    expect(pagesInUse(engine)).toBe(0);
  });

  it("an exception in the consumer's loop cancels", async () => {
    const generation = engine.generate(prompt, { maxTokens: 900, ignoreEos: true });
    const error = await failure(async () => {
      for await (const _ of generation) throw new Error("consumer");
    });
    expect(error.message).toBe("consumer");
    expect((await generation.result).finishReason).toBe("cancelled");
  });

  it("serves more requests than run at once", async () => {
    const small = await Engine.load(model, { contextLength: 256, maxSequences: 2 });
    const results = await Promise.all(
      Array.from(
        { length: 9 },
        (_, i) => small.generate([i + 1], { temperature: 0, maxTokens: 10, ignoreEos: true }).result,
      ),
    );
    const alone = await small.generate([9], { temperature: 0, maxTokens: 10, ignoreEos: true }).result;
    expect(results[8]!.tokens).toEqual(alone.tokens);
    await small.close();
  });

  it.each([
    [[], {}, "INVALID_ARGUMENT", /no tokens/],
    ["", {}, "INVALID_ARGUMENT", /no tokens/],
    [[512], {}, "INVALID_ARGUMENT", /token 512 at index 0 .* vocabulary of 512/],
    [[1.5], {}, "INVALID_ARGUMENT", /token 0 of the prompt/],
    [[-1], {}, "INVALID_ARGUMENT", /token 0 of the prompt/],
    [["1"], {}, "INVALID_ARGUMENT", /token 0 of the prompt/],
    [null, {}, "INVALID_ARGUMENT", /text or an array/],
    [5, {}, "INVALID_ARGUMENT", /text or an array/],
    [new Array(1024).fill(1), {}, "CONTEXT_OVERFLOW", /1024 tokens/],
    [[1], { maxTokens: 0 }, "INVALID_ARGUMENT", /maxTokens/],
    [[1], { maxTokens: -3 }, "INVALID_ARGUMENT", /maxTokens/],
    [[1], { temperature: Number.NaN }, "INVALID_ARGUMENT", /temperature/],
    [[1], { temperature: -1 }, "INVALID_ARGUMENT", /temperature/],
    [[1], { topP: 0 }, "INVALID_ARGUMENT", /topP/],
    [[1], { topK: 1.5 }, "INVALID_ARGUMENT", /topK/],
    [[1], { seed: "x" }, "INVALID_ARGUMENT", /seed/],
    [[1], { stopTokens: 3 }, "INVALID_ARGUMENT", /stopTokens/],
    [[1], { stopTokens: [1, -1] }, "INVALID_ARGUMENT", /stopTokens\[1\]/],
    [[1], { ignoreEos: 1 }, "INVALID_ARGUMENT", /ignoreEos/],
    [[1], { presencePenalty: 3 }, "INVALID_ARGUMENT", /presencePenalty/],
    [[1], { n: 65 }, "INVALID_ARGUMENT", /\[1, 64\] for n but received 65/],
    [[1], { n: -1 }, "INVALID_ARGUMENT", /n but received -1/],
    [[1], { minTokens: Number.NaN }, "INVALID_ARGUMENT", /minTokens but received NaN/],
    [[1], { priority: Number.NaN }, "INVALID_ARGUMENT", /priority but received NaN/],
    [[1], { logitBias: { 512: 1 } }, "INVALID_ARGUMENT", /below 512 for an id of logitBias but received 512/],
    [[1], { tempreature: 1 }, "INVALID_ARGUMENT", /Unknown option "tempreature"/],
    [[1], null, "INVALID_ARGUMENT", /an object/],
  ])("refuses %j with %j", async (tokens, options, code, message) => {
    const error = await failure(() => engine.generate(tokens as never, options as never));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  it("refuses 100,000 stop strings, and stop strings of 64 KiB and more", async () => {
    const many = await failure(() => engine.generate([1], { stop: Array.from({ length: 100_000 }, (_, i) => `${i}`) }));
    expect(many).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(/1024.*received 100000/) });
    const long = await failure(() => engine.generate([1], { stop: "x".repeat(65_537) }));
    expect(long).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(/65536.*received 65537/) });
  });

  it("fills the context to the last token", async () => {
    const { tokens, finishReason } = await engine.generate(new Array(1023).fill(1), { ignoreEos: true }).result;
    expect(tokens).toHaveLength(1);
    expect(finishReason).toBe("length");
  });

  it("refuses a detached array", async () => {
    const tokens = Uint32Array.of(1, 2, 3);
    structuredClone(tokens, { transfer: [tokens.buffer] });
    expect((await failure(() => engine.generate(tokens))).code).toBe("INVALID_ARGUMENT");
  });

  it("refuses the first request beyond the queue limit, and serves the others", async () => {
    const small = await Engine.load(model, { contextLength: 256, maxSequences: 1, maxQueue: 2 });
    const runs = [];
    const refused = [];
    for (let i = 0; i < 10; i++) {
      try {
        runs.push(small.generate([i + 1], { maxTokens: 50, ignoreEos: true }).result);
      } catch (error) {
        refused.push((error as GptOssError).code);
      }
    }
    expect(new Set(refused)).toEqual(new Set(["QUEUE_FULL"]));
    expect((await Promise.all(runs)).every((r) => r.tokens.length === 50)).toBe(true);
    await small.close();
  });
});

describe("logits", () => {
  it.each([
    [[1, 2], { last: 3 }, /last/],
    [[1, 2], { last: 0 }, /last/],
    [[], {}, /no tokens/],
    [[1], { lats: 1 }, /Unknown option "lats"/],
    [[1], { last: null }, /last but received null/],
    [[1], { signal: {} }, /AbortSignal/],
    [[1], { signal: null }, /AbortSignal/],
    [{ length: -1 }, {}, /the length of the prompt/],
    [{ length: 1.5 }, {}, /the length of the prompt/],
    [{ length: 2 ** 40 }, {}, /the length of the prompt/],
  ])("refuses %j with %j", async (tokens, options, message) => {
    const error = await failure(() => engine.logits(tokens, options as never));
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(error.message).toMatch(message);
  });

  it("rejects with the signal's reason", async () => {
    const controller = new AbortController();
    const logits = engine.logits(new Array(1000).fill(1), { signal: controller.signal });
    controller.abort("gone");
    expect(await failure(() => logits)).toBe("gone");
  });
});

describe("close", () => {
  it("rejects running and later requests with CLOSED, and may be called twice, and during a step", async () => {
    const other = await Engine.load(model, { contextLength: 1024 });
    const running = other.generate(new Array(900).fill(1), { maxTokens: 100, ignoreEos: true });
    const queued = other.logits([1, 2, 3]);
    const closing = Promise.all([other.close(), other.close()]);
    expect((await failure(() => running.result)).code).toBe("CLOSED");
    expect((await failure(() => queued)).code).toBe("CLOSED");
    await closing;
    expect((await failure(() => other.generate(prompt))).code).toBe("CLOSED");
    expect((await failure(() => other.logits(prompt))).code).toBe("CLOSED");
    expect(other.stats().running).toBe(0);
  });

  it("is called by `await using`", async () => {
    let inside: Engine;
    {
      await using scoped = await Engine.load(model, { contextLength: 64 });
      inside = scoped;
    }
    expect((await failure(() => inside.generate(prompt))).code).toBe("CLOSED");
  });
});

describe("the process", () => {
  const script = (body: string) => `
    import { Engine } from ${JSON.stringify(built)};
    const engine = await Engine.load(${JSON.stringify(model)}, { contextLength: 1024 });
    ${body}`;
  const node = (body: string, ...flags: string[]) =>
    run(process.execPath, [...flags, "--input-type=module", "-e", script(body)], { timeout: 30_000 });

  it("ends by itself with an idle engine that was not closed", async () => {
    const { stdout } = await node(`await engine.generate([1], { maxTokens: 3 }).result; console.log("idle");`);
    expect(stdout.trim()).toBe("idle");
  });

  it("stays until a busy engine has answered", async () => {
    const { stdout } = await node(
      `engine.generate([1], { maxTokens: 40, ignoreEos: true }).result.then((r) => console.log(r.tokens.length));`,
    );
    expect(stdout.trim()).toBe("40");
  });

  it("exits cleanly in mid-stream, by process.exit and by SIGTERM", async () => {
    // Several rounds: whether the engine's thread still uses something while the process ends is random.
    for (let round = 0; round < 8; round++) {
      const { stdout } = await node(
        `for await (const t of engine.generate([1], { maxTokens: 900, ignoreEos: true })) { console.log("out"); process.exit(0); }`,
      );
      expect(stdout.trim()).toBe("out");
    }
    const child = spawn(process.execPath, [
      "--input-type=module",
      "-e",
      script(`console.log("ready"); for await (const t of engine.generate([1], { maxTokens: 900, ignoreEos: true }));`),
    ]);
    await new Promise((resolve) => child.stdout.once("data", resolve));
    child.kill("SIGTERM");
    const signal = await new Promise((resolve) => child.once("exit", (_, s) => resolve(s)));
    expect(signal).toBe("SIGTERM");
  });

  it("frees an unreferenced engine, and a busy one only after its answer", async () => {
    const { stdout } = await node(
      `
      import { readdirSync } from "node:fs";
      const threads = () => readdirSync("/proc/self/task").length;
      const load = () => Engine.load(${JSON.stringify(model)}, { contextLength: 256, threads: 2 });
      const begin = async () => { const run = (await load()).generate([1], { maxTokens: 200, ignoreEos: true }); return () => run.result; };
      await (await load()).close(); // what a process starts once is there from here on
      const before = threads();
      let engines = [];
      for (let i = 0; i < 5; i++) engines.push(await load());
      await Promise.all(engines.map((engine) => engine.generate([1], { maxTokens: 2 }).result));
      const held = threads();
      engines = undefined;
      const answer = (await begin())();
      // The collector takes its time on a busy machine: ten seconds at most.
      for (let i = 0; i < 500 && threads() > held - 8; i++) { gc(); await new Promise((r) => setTimeout(r, 20)); }
      console.log(JSON.stringify({ grew: held >= before + 10, after: threads() <= held - 8, tokens: (await answer).tokens.length }));`,
      "--expose-gc",
    );
    expect(JSON.parse(stdout)).toEqual({ grew: true, after: true, tokens: 200 });
  });

  it("survives workers with separate engines, and one that is terminated in mid-stream", async () => {
    const source = `
      const { parentPort } = require("node:worker_threads");
      import(${JSON.stringify(built)}).then(async ({ Engine }) => {
        const engine = await Engine.load(${JSON.stringify(model)}, { contextLength: 1024 });
        for await (const t of engine.generate([1], { maxTokens: 900, ignoreEos: true })) parentPort.postMessage(t.token);
      });`;
    const workers = [0, 1].map(() => new Worker(source, { eval: true }));
    await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once("message", resolve))));
    await Promise.all(workers.map((worker) => worker.terminate()));
    expect((await engine.generate(prompt, { maxTokens: 5, ignoreEos: true }).result).tokens).toHaveLength(5);
  });
});
