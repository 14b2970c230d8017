import { describe, expect, it } from "vitest";
import { Engine, type GptOssError } from "../../../lib/index.js";
import { call, preamble, reply, ScriptedEngine, think } from "../../../lib/testing/index.js";
import { failure } from "../../support/failure.js";
import { chat as ask, ids, scriptedServer } from "../../support/server.js";

const text = "One two three four five six seven";
const tokens = [...ids(text), 200002];

describe("ScriptedEngine", () => {
  it("is an Engine that is ready at once", async () => {
    const engine: Engine = new ScriptedEngine([{ tokens }]);
    expect(engine).toBeInstanceOf(Engine);
    expect(engine.info.model.vocab).toBe(engine.tokenizer.vocabSize);
    expect(engine.info.limits.contextLength).toBe(32768);
    await engine.close();
    expect(() => engine.generate([1])).toThrow(expect.objectContaining({ code: "CLOSED" }));
  });

  it("replays its scripts in turn, then from the start, and records the requests", async () => {
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

  it("writes tokens that sampling would never give, with any options", async () => {
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
    // Steps may be merged on their way here, but none is split.
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

  it("uses no script for a refused request", async () => {
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
    [[{ tokens: [1], text: "x" }]],
    [[{ text: 5 }]],
    [[{ messages: [] }]],
    [[[]]],
    [[null]],
    [[undefined]],
    [[{ role: "user", content: "x" }]],
    [[{ role: "assistant" }]],
    [[[reply("a"), reply("b")]]],
    [[[call("f"), think("x")]]],
    [{}],
    ["x"],
  ])("refuses %j", (scripts) => {
    const made = () => new ScriptedEngine(scripts as never);
    expect(made).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" } satisfies Partial<GptOssError>));
  });
});

const user = { role: "user" as const, content: "Is it sunny in Oslo?" };
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = (parameters: object = city, strict = false) => ({
  type: "function" as const,
  function: { name: "get_weather", parameters, strict },
});
const calling = [think("I must ask."), preamble("One moment."), call("get_weather", { city: "Oslo" })];

describe("a script in words", () => {
  it("is the assistant's output in a turn", async () => {
    await using engine = new ScriptedEngine([
      calling,
      reply("It is sunny."),
      [think("Hm."), reply({ a: [1] })],
      call("f"),
    ]);
    const tools = [weather()];
    const first = await engine.chat([user], { tools }).result;
    expect(first).toMatchObject({ reasoning: "I must ask.", content: "One moment.", finishReason: "stop" });
    expect(first.toolCalls).toMatchObject([{ name: "get_weather", arguments: '{"city":"Oslo"}' }]);
    const result = { role: "tool" as const, tool_call_id: first.toolCalls[0]!.id, content: "sunny" };
    const second = await engine.chat([user, ...first.messages, result], { tools }).result;
    expect(second).toMatchObject({ reasoning: "", content: "It is sunny.", toolCalls: [], finishReason: "stop" });
    expect(await engine.chat([user]).result).toMatchObject({ reasoning: "Hm.", content: '{"a":[1]}' });
    const f = { type: "function" as const, function: { name: "f" } };
    expect(await engine.chat([user], { tools: [f] }).result).toMatchObject({
      toolCalls: [{ name: "f", arguments: "{}" }],
    });
  });

  it("may be the messages of an earlier answer, several choices, or a plain text", async () => {
    await using engine = new ScriptedEngine([{ messages: calling, tokensPerStep: 4 }]);
    const { messages } = await engine.chat([user], { tools: [weather()] }).result;
    await using again = new ScriptedEngine([
      messages,
      { choices: [reply("a"), [think("b"), reply("c")]] },
      { text: "of an <|end|>" },
    ]);
    expect((await again.chat([user], { tools: [weather()] }).result).messages).toMatchObject(
      messages.map(({ id: _, ...message }) => message),
    );
    const { choices } = await again.generate([1], { n: 2 }).result;
    expect(choices!.map(({ text }) => text)).toEqual([
      "<|channel|>final<|message|>a",
      "<|channel|>analysis<|message|>b<|end|><|start|>assistant<|channel|>final<|message|>c",
    ]);
    const { text, finishReason } = await again.generate("The end").result;
    expect([text, finishReason]).toEqual(["of an <|end|>", "stop"]);
  });

  it("answers through the server", async () => {
    await using server = await scriptedServer([calling, reply("It is sunny.")]);
    const tools = [weather()];
    const first = await ask(server.app, { messages: [user], tools });
    expect(first.body.choices[0]).toMatchObject({
      finish_reason: "tool_calls",
      message: {
        reasoning: "I must ask.",
        tool_calls: [{ function: { name: "get_weather", arguments: '{"city":"Oslo"}' } }],
      },
    });
    const second = await ask(server.app, { messages: [user], tools });
    expect(second.body.choices[0]).toMatchObject({ finish_reason: "stop", message: { content: "It is sunny." } });
  });

  it("must satisfy the constraint of its request, and the error gives the place where it does not", async () => {
    await using engine = new ScriptedEngine([call("get_weather", { town: "Oslo" })]);
    const error = await failure(engine.chat([user], { tools: [weather()] }).result);
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(error.message).toMatch(
      /breaks the constraint of its request at token \d+: after ".*get_weather.*\{.*" it writes "town/,
    );
    expect((await failure(engine.chat([user]).result)).message).toMatch(/commentary" it writes " to"/);
    const free = new ScriptedEngine([
      { tokens: ids('<|channel|>commentary to=functions.get_weather<|message|>{"town":1}<|call|>') },
    ]);
    const { toolCalls } = await free.chat([user], { tools: [weather()] }).result;
    expect(toolCalls).toMatchObject([{ name: "get_weather", arguments: '{"town":1}' }]);
    await free.close();
  });

  it("may be cut off by limits, as the real engine is", async () => {
    await using engine = new ScriptedEngine([reply("One two three four five six")]);
    expect(await engine.chat([user], { maxTokens: 6 }).result).toMatchObject({
      finishReason: "length",
      content: "One two three",
    });
    expect(await engine.chat([user], { stop: " three" }).result).toMatchObject({
      finishReason: "stop",
      content: "One two",
    });
  });

  it("does not replace a schema that the real engine refuses", async () => {
    await using engine = new ScriptedEngine([call("get_weather", { city: "Oslo" })]);
    const impossible = { type: "object", properties: { city: { not: { type: "integer" } } } };
    const error = await failure(engine.chat([user], { tools: [weather(impossible, true)] }).result);
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(/get_weather.*"not"/) });
    const { relaxed, toolCalls } = await engine.chat([user], { tools: [weather(impossible)] }).result;
    expect(relaxed).toEqual([{ tool: "get_weather", reason: expect.stringContaining('"not"') }]);
    expect(toolCalls).toHaveLength(1);
    expect(engine.requests).toHaveLength(2);
  });

  it("writes arguments with all their digits", async () => {
    await using engine = new ScriptedEngine([call("get_weather", { city: 2n ** 60n })]);
    const tools = [weather({ type: "object", properties: { city: { type: "integer" } } })];
    const { toolCalls } = await engine.chat([user], { tools }).result;
    expect(toolCalls[0]!.arguments).toBe('{"city":1152921504606846976}');
  });

  it("is refused with the name of its invalid part", () => {
    expect(() => think("")).toThrow(/not empty for think/);
    expect(() => preamble(5 as never)).toThrow(/preamble/);
    expect(() => call("two words")).toThrow(/the name of a call/);
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    expect(() => call("f", cycle)).toThrow(/the arguments/);
    expect(() => reply({ toJSON: () => undefined })).toThrow(/the reply/);
    const made = () => new ScriptedEngine([reply("x"), [reply("a"), think("b")]]);
    expect(made).toThrow(/scripts\[1\].messages\[0\] ends the turn/);
  });
});

describe("a function of the request", () => {
  it("writes the script", async () => {
    await using engine = new ScriptedEngine(({ text, messages, index, options, promptTokens }) => {
      expect(promptTokens.length).toBeGreaterThan(10);
      const said = messages!.at(-1)!;
      if (said.role === "tool") return reply(`${options.seed}: ${JSON.stringify(said.content)}`);
      return text.includes("namespace functions") ? call("get_weather", { city: `${index}` }) : reply("no tools");
    });
    const options = { tools: [weather()], seed: 7 };
    expect((await engine.chat([user]).result).content).toBe("no tools");
    const { messages, toolCalls } = await engine.chat([user], options).result;
    expect(toolCalls[0]!.arguments).toBe('{"city":"1"}');
    const told = { role: "tool" as const, tool_call_id: toolCalls[0]!.id, content: "sunny" };
    expect((await engine.chat([user, ...messages, told], options).result).content).toBe(
      '7: [{"type":"text","text":"sunny"}]',
    );
    expect(engine.requests.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(engine.requests[0]!.messages!.map(({ role }) => role)).toEqual(["system", "user"]);
  });

  it("is called for a plain prompt too, and may refuse", async () => {
    await using engine = new ScriptedEngine(({ messages, text }) => {
      if (text === "no") throw new Error("not this one");
      return messages === null ? { text: `${text}!` } : reply("x");
    });
    expect((await engine.generate("Hi").result).text).toBe("Hi!");
    expect(() => engine.generate("no")).toThrow("not this one");
    expect(() => new ScriptedEngine((() => undefined) as never).generate("x")).toThrow(/the script of request 0/);
    expect(engine.requests).toHaveLength(1);
  });
});
