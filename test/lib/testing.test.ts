import { describe, expect, it } from "vitest";
import { Engine, type GptOssError } from "../../lib/index.js";
import { ScriptedEngine } from "../../lib/testing/index.js";
import { ids } from "../support/server.js";

const text = "One two three four five six seven";
const tokens = [...ids(text), 200002];

describe("ScriptedEngine", () => {
  it("is an Engine, there at once", async () => {
    const engine: Engine = new ScriptedEngine([{ tokens }]);
    expect(engine).toBeInstanceOf(Engine);
    expect(engine.info.model.vocab).toBe(engine.tokenizer.vocabSize);
    expect(engine.info.limits.contextLength).toBe(32768);
    await engine.close();
    expect(() => engine.generate([1])).toThrow(expect.objectContaining({ code: "CLOSED" }));
  });

  it("replays its scripts in turn, then from the start, and keeps what was asked", async () => {
    await using engine = new ScriptedEngine([{ tokens: [11, 200002] }, { tokens: [12, 200002] }]);
    const written = [];
    for (const prompt of [[1], "Hi", [3]]) written.push((await engine.generate(prompt, { seed: 5 }).result).tokens);
    expect(written).toEqual([
      [11, 200002],
      [12, 200002],
      [11, 200002],
    ]);
    expect(engine.requests.map(({ promptTokens }) => [...promptTokens])).toEqual([[1], ids("Hi"), [3]]);
    expect(engine.requests[0]!.options).toEqual({ seed: 5 });
  });

  it("writes what no sampling would, whatever the options", async () => {
    const odd = [200_000, 5, 5, 5, 201_087, 200_002];
    await using engine = new ScriptedEngine([{ tokens: odd }]);
    const result = await engine.generate([1], {
      logitBias: { 5: -100 },
      frequencyPenalty: 2,
      repetitionPenalty: 10,
      topK: 1,
      minTokens: 6,
      constraint: { kind: "text", format: { type: "choice", choices: ["a"] } },
    }).result;
    expect(result).toMatchObject({ tokens: odd, finishReason: "stop" });
  });

  it("has a script for each choice", async () => {
    await using engine = new ScriptedEngine([{ choices: [[11, 12, 200002], [13, 200002], [14]] }]);
    const { choices } = await engine.generate([1], { n: 4 }).result;
    expect(choices!.map((choice) => choice.tokens)).toEqual([[11, 12, 200002], [13, 200002], [14], [11, 12, 200002]]);
    for (const { finishReason } of choices!) expect(finishReason).toBe("stop");
  });

  it("gives several tokens at a time", async () => {
    await using engine = new ScriptedEngine([{ tokens: tokens.slice(0, 7), tokensPerStep: 3 }]);
    const batches: number[][] = [];
    for await (const batch of engine.generate([1]).batches()) batches.push(batch.map(({ token }) => token));
    expect(batches.flat()).toEqual(tokens.slice(0, 7));
    // Steps may run into one another on their way here, but none is split.
    const ends = batches.map((_, i) => batches.slice(0, i + 1).flat().length);
    for (const end of ends) expect([3, 6, 7]).toContain(end);
  });

  it("has limits, stop strings, log probabilities and counters of the real engine", async () => {
    await using engine = new ScriptedEngine([{ tokens }], { contextLength: 64 });
    const cut = await engine.generate([1, 2], { maxTokens: 3 }).result;
    expect(cut).toMatchObject({ tokens: tokens.slice(0, 3), finishReason: "length" });
    expect(await engine.generate([1], { stop: "ee f" }).result).toMatchObject({ text: "One two thr" });
    expect((await engine.generate([1], { stopTokens: [tokens[1]!] }).result).tokens).toEqual(tokens.slice(0, 2));
    const { logprobs } = await engine.generate([1], { logprobs: 3 }).result;
    for (const { logprob, top } of logprobs!) {
      expect(Number.isFinite(logprob)).toBe(true);
      expect(top).toHaveLength(3);
      expect(top[0]!.logprob).toBeGreaterThanOrEqual(logprob);
    }
    expect(() => engine.generate(new Array(64).fill(1))).toThrow(expect.objectContaining({ code: "CONTEXT_OVERFLOW" }));
    expect(engine.stats()).toMatchObject({ running: 0, completionTokens: 3 + 4 + 2 + tokens.length });
    expect((await engine.logits([1, 2, 3], { last: 1 })).length).toBe(engine.info.model.vocab);
  });

  it("is cancelled like the real engine, one choice or all", async () => {
    const endless = new Array(10_000).fill(5);
    await using engine = new ScriptedEngine([{ choices: [endless, [6, 7, 8, 200002]], stepDelayMs: 1 }]);
    const run = engine.generate([1], { n: 2 });
    run.cancel(0);
    const { choices } = await run.result;
    expect(choices!.map(({ finishReason }) => finishReason)).toEqual(["cancelled", "stop"]);
    const other = engine.generate([1]);
    for await (const _ of other) break;
    expect(await other.result).toMatchObject({ finishReason: "cancelled" });
    const closing = engine.generate([1]).result;
    await engine.close();
    await expect(closing).rejects.toMatchObject({ code: "CLOSED" });
  });

  it("keeps no unfinished script when a request was refused", async () => {
    await using engine = new ScriptedEngine([{ tokens: [11, 200002] }, { tokens: [12, 200002] }]);
    expect(() => engine.generate([])).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect((await engine.generate([1]).result).tokens).toEqual([11, 200002]);
  });

  it.each([
    [[]],
    [[{}]],
    [[{ tokens: [] }]],
    [[{ tokens: [201_088] }]],
    [[{ tokens: [1.5] }]],
    [[{ choices: [] }]],
    [[{ choices: [[1], []] }]],
    [[{ tokens: [1], tokensPerStep: 0 }]],
    [[{ tokens: [1], stepDelayMs: -1 }]],
    [[{ tokens: [1], delay: 1 }]],
  ])("refuses %j", (scripts) => {
    const made = () => new ScriptedEngine(scripts as never);
    expect(made).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" } satisfies Partial<GptOssError>));
  });
});
