import diagnostics from "node:diagnostics_channel";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RequestMessage } from "../../../lib/engine.js";
import { Engine } from "../../../lib/engine.js";
import type { GptOssError } from "../../../lib/errors.js";
import type { GenerateOptions } from "../../../lib/generation/generate-options.js";
import { failure } from "../../support/failure.js";

/** The effect of each request option, on a tiny model with random weights. */

const model = path.resolve("test/golden/models/a"); // vocabulary of 512, ends with 510
const prompt = [1, 2, 3, 4, 5];
const greedy = { temperature: 0, maxTokens: 40, ignoreEos: true } satisfies GenerateOptions;

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load(model, { contextLength: 4096 });
});
afterAll(() => engine.close());

const result = (options: GenerateOptions) => engine.generate(prompt, options).result;

function pagesInUse(of: Engine): number {
  const { full, window } = of.stats().pages;
  return full.total - full.free + window.total - window.free;
}

describe("n", () => {
  it("gives choices, the first equal to n = 1, interleaved and identified by their index", async () => {
    const options = { seed: 5, maxTokens: 20, ignoreEos: true };
    const run = engine.generate(prompt, { ...options, n: 4 });
    const streamed: number[][] = [[], [], [], []];
    const texts = ["", "", "", ""];
    for await (const { index, token, text } of run) {
      streamed[index]!.push(token);
      texts[index] += text;
    }
    const { choices = [], tokens, usage } = await run.result;
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(choices.map((choice) => choice.tokens)).toEqual(streamed);
    expect(choices.map((choice) => choice.text)).toEqual(texts);
    expect(new Set(texts).size).toBe(4);
    expect(tokens).toEqual(streamed[0]);
    expect(usage.completionTokens).toBe(80);
    const alone = await result(options);
    expect(alone.tokens).toEqual(tokens);
    expect(alone.choices).toBeUndefined();
  });

  it("ends each choice separately", async () => {
    const { tokens } = await result({ seed: 5, maxTokens: 20, ignoreEos: true });
    const stop = tokens[3]!;
    const { choices = [] } = await result({ seed: 5, maxTokens: 20, stopTokens: [stop], n: 8 });
    expect(choices[0]!.finishReason).toBe("stop");
    expect(choices[0]!.tokens.length).toBeLessThanOrEqual(4);
    for (const { tokens, finishReason } of choices) {
      expect(finishReason === "stop" ? tokens.indexOf(stop) : 19).toBe(tokens.length - 1);
    }
  });

  it("may be more than run at once", async () => {
    await using small = await Engine.load(model, { contextLength: 256, maxSequences: 2 });
    const { choices = [] } = await small.generate(prompt, { seed: 5, maxTokens: 10, ignoreEos: true, n: 7 }).result;
    const all = await result({ seed: 5, maxTokens: 10, ignoreEos: true, n: 7 });
    expect(choices).toEqual(all.choices);
    expect(pagesInUse(small)).toBe(0);
  });

  it("shares the prompt's pages", async () => {
    await using fresh = await Engine.load(model, { contextLength: 1024 });
    const long = Array.from({ length: 640 }, (_, i) => (i * 31) % 500);
    await fresh.generate(long, { seed: 1, maxTokens: 5, ignoreEos: true, n: 6 }).result;
    expect(fresh.stats().promptTokens).toBeLessThan(2 * 640);
  });

  it("is cancelled as a whole", async () => {
    const run = engine.generate(prompt, { maxTokens: 3000, ignoreEos: true, n: 3 });
    for await (const _ of run) break;
    const { choices = [] } = await run.result;
    expect(choices.map(({ finishReason }) => finishReason)).toEqual(["cancelled", "cancelled", "cancelled"]);
    expect(pagesInUse(engine)).toBe(0);
  });
});

describe("minTokens", () => {
  it("bans stop tokens before", async () => {
    const { tokens } = await result(greedy);
    const stop = tokens[5]!;
    const first = tokens.indexOf(stop);
    const stopped = await result({ ...greedy, stopTokens: [stop], minTokens: first + 3 });
    expect(stopped.tokens.length).toBeGreaterThan(first + 3);
    expect(stopped.tokens.slice(0, first)).toEqual(tokens.slice(0, first));
    expect(stopped.tokens.slice(0, first + 3)).not.toContain(stop);
  });

  it("accepts stop tokens that the model cannot produce", async () => {
    const { tokens } = await result(greedy);
    const beyond = await result({ ...greedy, stopTokens: [512, 400_000, 2 ** 31 - 1], minTokens: 5 });
    expect(beyond.tokens).toEqual(tokens);
  });
});

describe("stop", () => {
  it("ends the completion wherever the text occurs, and leaves it out", async () => {
    const whole = await result(greedy);
    for (const [from, to] of [
      [7, 9],
      [10, 18],
      [0, 1],
      [20, 21],
    ]) {
      const stop = whole.text.slice(from, to);
      const run = engine.generate(prompt, { ...greedy, stop });
      let streamed = "";
      for await (const { text } of run) streamed += text;
      const stopped = await run.result;
      expect(stopped.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
      expect(streamed).toBe(stopped.text);
      expect(stopped.finishReason).toBe("stop");
      expect(stopped.tokens).toEqual(whole.tokens.slice(0, stopped.tokens.length));
    }
  });

  it("takes the first of several, and changes nothing when none occurs", async () => {
    const whole = await result(greedy);
    const late = whole.text.slice(15, 18);
    const early = whole.text.slice(4, 7);
    const stopped = await result({ ...greedy, stop: [late, "no such text", early] });
    expect(stopped.text).toBe(whole.text.slice(0, Math.min(whole.text.indexOf(late), whole.text.indexOf(early))));
    const almost = `${whole.text.slice(-3)}, and then`;
    const run = engine.generate(prompt, { ...greedy, stop: [almost, `${whole.text.slice(3, 9)}\0`] });
    let streamed = "";
    for await (const { text } of run) streamed += text;
    expect(await run.result).toMatchObject({ text: whole.text, tokens: whole.tokens, finishReason: "length" });
    expect(streamed).toBe(whole.text);
  });
});

describe("logprobs", () => {
  it("report the likeliest tokens of each position under the model", async () => {
    const run = engine.generate(prompt, { ...greedy, maxTokens: 4, logprobs: 3, presencePenalty: 1 });
    for await (const { top } of run) expect(top).toHaveLength(3);
    const { tokens, logprobs = [] } = await run.result;
    expect(logprobs.map(({ token }) => token)).toEqual(tokens);
    const logits = await engine.logits([...prompt, ...tokens.slice(0, -1)], { last: tokens.length });
    for (const [i, { token, logprob, top }] of logprobs.entries()) {
      const row = Array.from(logits.subarray(i * 512, (i + 1) * 512));
      const highest = Math.max(...row);
      const total = Math.log(row.reduce((sum, x) => sum + Math.exp(x - highest), 0));
      const expected = row
        .map((x, id) => ({ token: id, logprob: x - highest - total }))
        .sort((a, b) => b.logprob - a.logprob || a.token - b.token)
        .slice(0, 3);
      expect(top.map((t) => t.token)).toEqual(expected.map((t) => t.token));
      for (const [j, t] of top.entries()) expect(t.logprob).toBeCloseTo(expected[j]!.logprob, 4);
      expect(logprob).toBeCloseTo(row[token]! - highest - total, 4);
    }
  });

  it("are absent unless requested", async () => {
    const run = engine.generate(prompt, { ...greedy, maxTokens: 2 });
    for await (const t of run) expect(t.top).toBeUndefined();
    expect((await run.result).logprobs).toBeUndefined();
  });
});

describe("logitBias and penalties", () => {
  it("ban with -Infinity, favour with a positive value", async () => {
    const [first] = (await result({ ...greedy, maxTokens: 1 })).tokens as [number];
    const banned = await result({ ...greedy, logitBias: new Map([[first, Number.NEGATIVE_INFINITY]]) });
    expect(banned.tokens).not.toContain(first);
    expect((await result({ ...greedy, maxTokens: 5, logitBias: { 77: 100 } })).tokens).toEqual([77, 77, 77, 77, 77]);
  });

  it("make earlier tokens less likely", async () => {
    const logitBias = { 77: 1000, 78: 999.5 };
    const near = { 77: 100, 78: 99.5 };
    expect(((await failure(() => result({ ...greedy, logitBias }))) as GptOssError).code).toBe("INVALID_ARGUMENT");
    // 78 may itself be slightly likelier than 77; both are far above the others
    const presence = await result({ ...greedy, maxTokens: 6, logitBias: near, presencePenalty: 2 });
    expect(new Set(presence.tokens)).toEqual(new Set([77, 78]));
    const frequency = await result({ ...greedy, maxTokens: 12, logitBias: near, frequencyPenalty: 2 });
    expect(frequency.tokens.filter((t) => t === 77).length).toBeGreaterThan(3);
    expect(frequency.tokens.filter((t) => t === 78).length).toBeGreaterThan(3);
    const repetition = await result({ ...greedy, repetitionPenalty: 10 });
    expect(repetition.tokens).not.toEqual((await result(greedy)).tokens);
  });
});

describe("logitsProcessor", () => {
  it("without a change has no effect, and gets prompt and completion", async () => {
    const seen: number[][] = [];
    const logitsProcessor = (logits: Float32Array, tokens: Uint32Array) => {
      expect(logits).toHaveLength(512);
      seen.push(Array.from(tokens));
    };
    const { tokens } = await result({ ...greedy, maxTokens: 6, logitsProcessor });
    expect(tokens).toEqual((await result({ ...greedy, maxTokens: 6 })).tokens);
    expect(seen).toEqual(tokens.map((_, i) => [...prompt, ...tokens.slice(0, i)]));
  });

  it("decides in place or by new logits, at once or later, for every choice", async () => {
    const only = (id: number, logits: Float32Array) => logits.fill(-1).fill(50, id, id + 1);
    const inPlace = await result({
      ...greedy,
      maxTokens: 3,
      logitsProcessor: (logits, tokens) => void only(100 + tokens.length, logits),
    });
    expect(inPlace.tokens).toEqual([105, 106, 107]);
    const later = await result({
      ...greedy,
      maxTokens: 3,
      n: 3,
      logitsProcessor: async (logits, tokens) => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        return only(200 + tokens.length, Float32Array.from(logits));
      },
    });
    expect(later.choices?.map(({ tokens }) => tokens)).toEqual(new Array(3).fill([205, 206, 207]));
  });

  it("comes before penalties, bias and temperature", async () => {
    const { tokens } = await result({
      ...greedy,
      maxTokens: 2,
      logitBias: { 9: Number.NEGATIVE_INFINITY },
      logitsProcessor: (logits) => void logits.fill(-1).fill(50, 9, 10).fill(40, 11, 12),
    });
    expect(tokens).toEqual([11, 11]);
  });

  it("that throws ends only its own request", async () => {
    const alone = await result({ ...greedy, seed: 3, temperature: 1 });
    const mine = new Error("mine");
    const runs = Array.from({ length: 4 }, () => result({ ...greedy, seed: 3, temperature: 1 }));
    const failing = [
      () => {
        throw mine;
      },
      () => Promise.reject(mine),
    ].map((logitsProcessor) => failure(() => result({ ...greedy, n: 2, logitsProcessor })));
    const wrong = failure(() => result({ ...greedy, logitsProcessor: (() => "x") as never }));
    expect(await Promise.all(failing)).toEqual([mine, mine]);
    expect(((await wrong) as GptOssError).code).toBe("INVALID_ARGUMENT");
    for (const { tokens } of await Promise.all(runs)) expect(tokens).toEqual(alone.tokens);
    await result({ maxTokens: 1 }); // a step later
    expect(pagesInUse(engine)).toBe(0);
  });

  it("that never answers blocks only its own request, until that is aborted or the engine closed", async () => {
    const controller = new AbortController();
    const never = () => new Promise<void>(() => {});
    const aborted = failure(() => result({ ...greedy, logitsProcessor: never, signal: controller.signal }));
    await using other = await Engine.load(model, { contextLength: 64 });
    const closed = failure(() => other.generate(prompt, { logitsProcessor: never }).result);
    expect((await result(greedy)).tokens).toHaveLength(40);
    controller.abort("enough");
    expect(await aborted).toBe("enough");
    await other.close();
    expect(((await closed) as GptOssError).code).toBe("CLOSED");
  });
});

describe("priority", () => {
  it("lets the higher one run sooner", async () => {
    await using single = await Engine.load(model, { contextLength: 1024, maxSequences: 1 });
    const order: string[] = [];
    const submit = (name: string, maxTokens: number, priority: number) =>
      single
        .generate(prompt, { temperature: 0, maxTokens, ignoreEos: true, priority })
        .result.then(() => order.push(name));
    const first = single.generate(prompt, { temperature: 0, maxTokens: 100, ignoreEos: true });
    const started = first[Symbol.asyncIterator]();
    await started.next();
    const rest = [submit("low", 5, -1000), submit("default", 5, 0), submit("high", 5, 1000)];
    await Promise.all([first.result, ...rest]);
    expect(order).toEqual(["high", "default", "low"]);
  });
});

describe("prefix reuse", () => {
  const long = Array.from({ length: 300 }, (_, i) => (i * 17) % 500);
  const ask = async (of: Engine, tokens: number[], cacheSalt = "") =>
    of.generate(tokens, { ...greedy, maxTokens: 8, cacheSalt }).result;

  it("computes a known beginning once, with the same tokens", async () => {
    await using fresh = await Engine.load(model, { contextLength: 1024 });
    const first = await ask(fresh, long);
    const second = await ask(fresh, long);
    const third = await ask(fresh, [...long, ...first.tokens, 1, 2, 3]);
    expect(first.usage.cachedTokens).toBe(0);
    expect(second.usage.cachedTokens).toBeGreaterThanOrEqual(300 - 64);
    expect(third.usage.cachedTokens).toBeGreaterThanOrEqual(300 - 64);
    expect(second.tokens).toEqual(first.tokens);
    expect(fresh.stats().cachedTokens).toBe(second.usage.cachedTokens + third.usage.cachedTokens);
    expect(fresh.stats().pages.full.cached).toBeGreaterThan(0);
    expect(pagesInUse(fresh)).toBe(0);
  });

  it("keeps salts apart", async () => {
    await using fresh = await Engine.load(model, { contextLength: 1024 });
    await ask(fresh, long, "tenant a");
    expect((await ask(fresh, long, "tenant b")).usage.cachedTokens).toBe(0);
    expect((await ask(fresh, long)).usage.cachedTokens).toBe(0);
    expect((await ask(fresh, long, "tenant a")).usage.cachedTokens).toBeGreaterThan(0);
  });

  it("can be switched off", async () => {
    await using fresh = await Engine.load(model, { contextLength: 1024, prefixCache: false });
    expect(fresh.info.prefixCache).toBe(false);
    await ask(fresh, long);
    expect((await ask(fresh, long)).usage.cachedTokens).toBe(0);
  });
});

describe("kvCache.dtype", () => {
  it("bf16 takes half the bytes for as many tokens", async () => {
    const bytes = "8MiB";
    await using f32 = await Engine.load(model, { contextLength: 512, kvCache: { bytes } });
    await using bf16 = await Engine.load(model, { contextLength: 512, kvCache: { bytes, dtype: "bf16" } });
    expect(f32.info.kvCacheDtype).toBe("f32");
    expect(bf16.info.kvCacheDtype).toBe("bf16");
    const bytesPerToken = (of: Engine) => of.info.memory.kvBytes / of.info.memory.kvTokens;
    expect(bytesPerToken(bf16) / bytesPerToken(f32)).toBeCloseTo(0.5, 1);
    expect((await bf16.generate(prompt, greedy).result).tokens).toHaveLength(40);
  });
});

describe("a reader that does not read", () => {
  const maxTokens = 1600; // a reader may be 1,024 behind
  const someoneWaits = async () => {
    while (engine.stats().blocked === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  };

  it("pauses only its own request until it reads again, and loses no token", async () => {
    const whole = await result({ ...greedy, maxTokens });
    const run = engine.generate(prompt, { ...greedy, maxTokens });
    const reader = run[Symbol.asyncIterator]();
    await reader.next();
    const count = () => engine.stats().completionTokens;
    const began = count();
    await someoneWaits();
    expect(count() - began).toBeGreaterThan(900);
    expect(count() - began).toBeLessThan(maxTokens - 100);
    expect((await result(greedy)).tokens).toHaveLength(40); // other requests continue
    const tokens = [whole.tokens[0]!];
    for await (const { token } of reader) tokens.push(token);
    expect(tokens).toEqual(whole.tokens);
    expect((await run.result).tokens).toEqual(whole.tokens);
  });

  it("can be cancelled and aborted meanwhile", async () => {
    const held = async (options: GenerateOptions) => {
      const run = engine.generate(prompt, { ...greedy, maxTokens, ...options });
      await run[Symbol.asyncIterator]().next();
      await someoneWaits();
      return run;
    };
    const cancelled = await held({});
    cancelled.cancel();
    expect((await cancelled.result).finishReason).toBe("cancelled");
    const controller = new AbortController();
    const aborted = await held({ signal: controller.signal });
    controller.abort("enough");
    expect(await failure(() => aborted.result)).toBe("enough");
    await result({ maxTokens: 1 }); // a step later
    expect(pagesInUse(engine)).toBe(0);
  });
});

describe("chat", () => {
  const messages = [{ role: "user" as const, content: "Hi" }];

  it("has one choice", async () => {
    const error = (await failure(() => engine.chat(messages, { n: 2 } as object))) as GptOssError;
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(error.message).toBe(
      'Unknown option "n" for chat; a chat has one answer: ask again for another one, or use generate',
    );
  });

  it("passes the other options on", async () => {
    await using demo = await Engine.load("demo", { contextLength: 512 });
    const ask = { role: "user" as const, content: "What is 7 + 8?" };
    const whole = await demo.chat([ask], { temperature: 0, maxTokens: 100 }).result;
    expect(whole.content).toBe("7 + 8 = 15");
    const stopped = await demo.chat([ask], { temperature: 0, maxTokens: 100, stop: [" = ", "plus"] }).result;
    expect(stopped).toMatchObject({ content: "7 + 8", finishReason: "stop", reasoning: whole.reasoning });
  });
});

describe("diagnostics channels", () => {
  it("report a request from its beginning to its end", async () => {
    const told: { name: string; message: { id: number } }[] = [];
    const listen = (message: unknown, name: string | symbol) => {
      told.push({ name: String(name), message: message as { id: number } });
    };
    const names = ["gpt-oss:request", "gpt-oss:first-token", "gpt-oss:done"];
    for (const name of names) diagnostics.subscribe(name, listen);
    try {
      await result({ ...greedy, maxTokens: 3, n: 2, priority: 7 });
      await failure(() => engine.generate([512]).result);
    } finally {
      for (const name of names) diagnostics.unsubscribe(name, listen);
    }
    const id = told[0]!.message.id;
    expect((told[0]!.message as RequestMessage).engine).toBe(engine);
    expect(told).toMatchObject([
      { name: names[0], message: { id, promptTokens: 5, n: 2, maxTokens: 3, priority: 7 } },
      { name: names[1], message: { id, promptTokens: 5 } },
      {
        name: names[2],
        message: {
          id,
          promptTokens: 5,
          completionTokens: 6,
          longestCompletion: 3,
          finishReason: "length",
          cachedTokens: 0,
        },
      },
    ]);
  });
});

describe("counters", () => {
  it("report sequences that wait for their client, and the end of the engine", async () => {
    const fresh = await Engine.load(model, { contextLength: 256 });
    const release: (() => void)[] = [];
    const logitsProcessor = (logits: Float32Array) => new Promise<Float32Array>((go) => release.push(() => go(logits)));
    const run = fresh.generate([1, 2], { ...greedy, maxTokens: 1, logitsProcessor });
    await expect.poll(() => fresh.stats().blocked).toBe(1);
    await expect.poll(() => release.length).toBe(1);
    release[0]!();
    await run.result;
    expect(fresh.stats()).toMatchObject({ running: 0, blocked: 0, ended: false });
    await fresh.close();
    expect(fresh.stats().ended).toBe(true);
  });

  it("are histograms of the past", async () => {
    await using fresh = await Engine.load(model, { contextLength: 256 });
    await Promise.all([1, 2, 3].map((id) => fresh.generate([id, 4], { ...greedy, maxTokens: 10 }).result));
    const stats = fresh.stats();
    expect(stats).toMatchObject({ running: 0, waiting: 0, promptTokens: 6, completionTokens: 30, preemptions: 0 });
    expect(stats.stepMilliseconds.count).toBe(stats.steps);
    expect(stats.tokensPerStep.sum).toBe(6 + 27);
    for (const { buckets, count } of [stats.stepMilliseconds, stats.tokensPerStep, stats.interTokenMilliseconds]) {
      expect(buckets!.reduce((sum, bucket) => sum + bucket.count, 0)).toBe(count);
      expect(buckets!.map(({ from }) => from)).toEqual(buckets!.map(({ from }) => from).sort((a, b) => a - b));
    }
    expect(stats.queueMilliseconds.count).toBe(3);
    expect(stats.firstTokenMilliseconds.count).toBe(3);
    expect(stats.interTokenMilliseconds.count).toBe(27);
    for (const h of [stats.stepMilliseconds, stats.firstTokenMilliseconds, stats.interTokenMilliseconds]) {
      expect(h.p50).toBeLessThanOrEqual(h.p90);
      expect(h.p90).toBeLessThanOrEqual(h.p99);
      expect(h.sum).toBeLessThanOrEqual(h.max * h.count);
    }
  });
});

describe("denseWeights", () => {
  const options = { contextLength: 256, backend: "cpu" } as const;

  it("q8 is reported, and its copies are counted: 34 bytes for 32 weights of attention, embedding and head", async () => {
    await using bf16 = await Engine.load(model, options);
    await using q8 = await Engine.load(model, { ...options, denseWeights: "q8" });
    expect(bf16.info.denseWeights).toBe("bf16");
    expect(q8.info.denseWeights).toBe("q8");
    const { layers, hidden, heads, kvHeads, headDim, vocab } = q8.info.model;
    const attention = layers * hidden * headDim * (2 * heads + 2 * kvHeads);
    expect(q8.info.memory.packedBytes - bf16.info.memory.packedBytes).toBe(
      ((attention + 2 * vocab * hidden) / 32) * 34,
    );
    expect(q8.info.memory.weightsBytes).toBe(bf16.info.memory.weightsBytes);
    // a step reads one row of the embedding
    const read = attention + vocab * hidden + hidden;
    expect(bf16.bytesPerToken(7) - q8.bytesPerToken(7)).toBeCloseTo(read * (2 - 34 / 32), 3);
  });

  it("q8 gives the same logits beside others and in other chunks", async () => {
    const tokens = Array.from({ length: 50 }, (_, i) => (i * 97) % 500);
    await using q8 = await Engine.load(model, { ...options, denseWeights: "q8" });
    await using narrow = await Engine.load(model, { ...options, denseWeights: "q8", maxBatchTokens: 7, threads: 1 });
    const alone = await q8.logits(tokens, { last: 20 });
    expect(await narrow.logits(tokens, { last: 20 })).toEqual(alone);
    const [beside] = await Promise.all([
      q8.logits(tokens, { last: 20 }),
      q8.generate([3, 4, 5], greedy).result,
      q8.generate([6, 7], greedy).result,
    ]);
    expect(beside).toEqual(alone);
  });
});
