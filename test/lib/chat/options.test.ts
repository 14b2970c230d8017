import { Ajv } from "ajv";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ChatEvent, type ChatOptions, renderChat, startChat } from "../../../lib/chat/chat.js";
import { turnConstraint } from "../../../lib/chat/turn-constraint.js";
import { developerMessage, systemMessage } from "../../../lib/harmony/index.js";
import { type ChatMessage, Engine } from "../../../lib/index.js";
import { call, reply, ScriptedEngine, think } from "../../../lib/testing/index.js";
import { tokenizer } from "../../../lib/tokenizer/index.js";
import { ids } from "../../support/server.js";
import { toldEngine, write } from "../../support/told-engine.js";

/** The options of a chat: calls, format, reasoning budget, log probabilities, stop strings. */

const user: ChatMessage = { role: "user", content: "Is it sunny in Oslo?" };
const object = (properties: Record<string, object>) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});
const text = { type: "string", maxLength: 12 };
const schemas: Record<string, object> = {
  get_weather: object({ city: text, unit: { enum: ["celsius", "fahrenheit"] } }),
  add: object({ a: { type: "integer", minimum: 0, maximum: 99 }, b: { type: "boolean" } }),
};
const tools = Object.entries(schemas).map(([name, parameters]) => ({
  type: "function" as const,
  function: { name, parameters },
}));
const answer = object({ city: text, sunny: { type: "boolean" } });
const jsonSchema = (schema: object, more: object = {}) =>
  ({
    type: "json_schema",
    json_schema: { name: "weather", schema: schema as Record<string, unknown>, ...more },
  }) as const;
const ajv = new Ajv({ strict: false });
const cyclic: Record<string, unknown> = { type: "object" };
cyclic.properties = { self: cyclic };

const promptOf = (options: ChatOptions, messages = [user]) => tokenizer.decode(renderChat(messages, options).tokens);
const constraintOf = (options: ChatOptions, messages = [user], knowsHarmony = true) => {
  const { chat, tools } = renderChat(messages, options);
  return turnConstraint(chat, tools, knowsHarmony);
};

describe.each(["synthetic:wide", "demo"])("%s", (name) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.load(name, { contextLength: 4096 });
  });
  afterAll(() => engine.close());
  const seeds = Array.from({ length: 8 }, (_, seed) => seed);
  const answers = (options: ChatOptions) =>
    Promise.all(
      seeds.map((seed) => engine.chat([user], { maxTokens: 200, reasoningBudget: 8, seed, ...options }).result),
    );

  it("calls a tool when a call is required, with arguments of its schema, and calls the requested one", async () => {
    for (const toolChoice of ["required", { type: "function", function: { name: "add" } }] as const) {
      for (const { toolCalls, content, finishReason } of await answers({ tools, toolChoice })) {
        expect([toolCalls.length, content, finishReason]).toEqual([1, "", "stop"]);
        const [called] = toolCalls as [(typeof toolCalls)[number]];
        if (toolChoice !== "required") expect(called.name).toBe("add");
        expect(ajv.validate(schemas[called.name]!, JSON.parse(called.arguments)), called.arguments).toBe(true);
      }
    }
  });

  it("calls no tool when none is allowed", async () => {
    for (const { toolCalls } of await answers({ tools, toolChoice: "none" })) expect(toolCalls).toEqual([]);
  });

  it("answers in the format, and returns the value", async () => {
    for (const { parsed, content } of await answers({ responseFormat: jsonSchema(answer, { strict: true }) })) {
      expect(ajv.validate(answer, parsed), content).toBe(true);
      expect(JSON.parse(content)).toEqual(parsed);
    }
    const loose = await engine.chat([user], { responseFormat: { type: "json_object" }, maxTokens: 300, seed: 1 })
      .result;
    if (loose.finishReason === "stop") expect(loose.parsed).toBeTypeOf("object");
    const free = await engine.chat([user], { responseFormat: { type: "text" }, maxTokens: 30 }).result;
    expect("parsed" in free).toBe(false);
  });

  it("keeps to bounds of 64 bits, as a number and as a bigint", async () => {
    const least = 2n ** 60n + 1n;
    for (const minimum of [least, Number(least)]) {
      const schema = object({ id: { type: "integer", minimum } });
      for (const { content } of await answers({ responseFormat: jsonSchema(schema, { strict: true }) })) {
        expect(BigInt(/-?\d+/.exec(content)![0]), content).toBeGreaterThanOrEqual(BigInt(minimum));
      }
    }
  });

  it("reasons within its budget", async () => {
    for (const { messages } of await answers({ reasoningBudget: 0, maxTokens: 30 })) {
      expect(messages.some(({ channel }) => channel === "analysis")).toBe(false);
    }
    for (const { reasoning } of await answers({ reasoningBudget: 5, maxTokens: 60 })) {
      expect(tokenizer.count(reasoning)).toBeLessThanOrEqual(10); // as many tokens as were sampled, or fewer
    }
  });

  it("always writes harmony messages", async () => {
    for (const { messages } of await answers({ maxTokens: 60 })) {
      for (const { role, channel } of messages) {
        expect([role, ["analysis", "commentary", "final"].includes(channel!)]).toEqual(["assistant", true]);
      }
    }
  });
});

describe("the prompt", () => {
  it("ends its developer message with the format, as the model was trained", () => {
    const format = jsonSchema(answer, { description: "Of today.\nIn short." });
    const lines = `# Response Formats\n\n## weather\n\n// Of today.\n// In short.\n${JSON.stringify(answer)}<|end|>`;
    expect(promptOf({ responseFormat: format })).toContain(`<|start|>developer<|message|>${lines}`);
    expect(promptOf({ responseFormat: format, developerInstructions: "Be kind." })).toContain(`Be kind.\n\n${lines}`);
    expect(promptOf({ responseFormat: { type: "json_object" } })).toContain('## response\n\n{"type":"object"}<|end|>');
    expect(promptOf({ responseFormat: { type: "text" } })).toBe(promptOf({}));
  });

  it("leaves out tools that must not be called", () => {
    expect(promptOf({ tools, toolChoice: "none" })).toBe(promptOf({}));
    expect(promptOf({ tools, toolChoice: "required" })).toBe(promptOf({ tools }));
  });
});

describe("the constraint", () => {
  it("is the harmony format with the declared functions, strict ones refused and others relaxed alone", () => {
    const strict = { type: "function" as const, function: { name: "f", parameters: answer, strict: true } };
    expect(constraintOf({})).toEqual({ kind: "harmony", toolChoice: "none" });
    expect(constraintOf({ tools: [strict, tools[1]!], reasoningBudget: 7 })).toEqual({
      kind: "harmony",
      toolChoice: "auto",
      tools: [
        { name: "f", parameters: answer, unsupported: "refuse" },
        { name: "add", parameters: schemas.add, unsupported: "relax" },
      ],
      analysisTokens: 7,
    });
    for (const [isStrict, unsupported] of [
      [true, "refuse"],
      [false, "relax"],
      [null, "relax"],
    ] as const) {
      const { final } = constraintOf({ responseFormat: jsonSchema(answer, { strict: isStrict }) }) as { final: object };
      expect(final).toEqual({ type: "json_schema", schema: answer, unsupported });
    }
  });

  it("includes functions that a developer message declares", () => {
    const developer = developerMessage({ tools: [tools[0]!] });
    const named = { type: "function", function: { name: "get_weather" } } as const;
    expect(constraintOf({ toolChoice: named, tools: [tools[1]!] }, [developer, user])).toMatchObject({
      toolChoice: "required",
      names: ["get_weather"],
      tools: [{ name: "add" }, { name: "get_weather" }],
    });
  });

  it("is absent where built-in tools may be called, because it does not support them", () => {
    const system = systemMessage({ tools: ["python"] });
    expect(constraintOf({}, [system, user])).toBeUndefined();
    expect(constraintOf({ toolChoice: "none", reasoningBudget: 3 }, [system, user])).toMatchObject({
      analysisTokens: 3,
    });
    const refused = () => constraintOf({ responseFormat: { type: "json_object" } }, [system, user]);
    expect(refused).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining("python") }),
    );
  });

  it("is absent for a model without harmony tokens, unless it is requested", () => {
    expect(constraintOf({ tools }, [user], false)).toBeUndefined();
    expect(constraintOf({ tools, toolChoice: "required" }, [user], false)).toBeDefined();
  });

  it("supports tools of any name that a chat accepts, each once", async () => {
    const name = "wetter:für/Berlin";
    const tool = { type: "function" as const, function: { name, parameters: answer } };
    await using engine = new ScriptedEngine([call(name, { city: "Berlin", sunny: true })]);
    const both = { tools: [tool], toolChoice: "required" } as const;
    expect((await engine.chat([developerMessage({ tools: [tool] }), user], both).result).toolCalls).toMatchObject([
      { name, arguments: '{"city":"Berlin","sunny":true}' },
    ]);
  });

  it("may be the caller's own", () => {
    const own = { kind: "text", format: { type: "choice", choices: ["a"] } } as const;
    expect(constraintOf({ constraint: own, tools })).toEqual(own);
  });
});

describe("an invalid option", () => {
  const schema = { type: "object" };
  it.each<[object, RegExp]>([
    [{ toolChoice: "any" }, /"none", "auto", "required" or .* for toolChoice but received "any"/],
    [{ toolChoice: null }, /toolChoice but received null/],
    [{ toolChoice: { type: "tool" } }, /toolChoice/],
    [{ toolChoice: { type: "function", name: "f" } }, /Unknown option "name" for toolChoice/],
    [{ toolChoice: { type: "function", function: null } }, /toolChoice.function.name/],
    [{ toolChoice: "required" }, /no function is declared/],
    [{ toolChoice: { type: "function", function: { name: "g" } }, tools }, /declared function .* received "g"/],
    [{ responseFormat: null }, /responseFormat/],
    [{ responseFormat: "json" }, /responseFormat/],
    [{ responseFormat: { type: "json" } }, /"text", "json_object" or "json_schema" for responseFormat.type/],
    [{ responseFormat: { type: "json_object", schema } }, /Unknown option "schema" for responseFormat/],
    [{ responseFormat: { type: "text", json_schema: { schema } } }, /Unknown option "json_schema"/],
    [{ responseFormat: { type: "json_schema" } }, /responseFormat.json_schema/],
    [{ responseFormat: { type: "json_schema", json_schema: {} } }, /responseFormat.json_schema.schema/],
    [{ responseFormat: { type: "json_schema", json_schema: { schema, name: "a\nb" } } }, /json_schema.name/],
    [{ responseFormat: { type: "json_schema", json_schema: { schema, strict: 1 } } }, /json_schema.strict/],
    [{ responseFormat: { type: "json_schema", json_schema: { schema: cyclic } } }, /as JSON/],
    [{ responseFormat: { type: "json_schema", json_schema: { schema: { toJSON: () => undefined } } } }, /as JSON/],
    [{ tools: [{ type: "function", function: { name: "f", strict: "yes" } }] }, /tools\[0\].function.strict/],
    [{ reasoningBudget: -1 }, /reasoningBudget/],
    [{ reasoningBudget: null }, /reasoningBudget/],
    [{ reasoningBudget: 1, constraint: { kind: "harmony" } }, /reasoningBudget would say/],
    [{ stop: "" }, /stop/],
    [{ stop: null }, /stop/],
    [{ logprobs: 21 }, /logprobs/],
    [{ n: 1 }, /one answer/],
    [{ stopTokens: [1] }, /ends where the turn of the assistant ends/],
    [{ tool_choice: "auto" }, /called "toolChoice" here/],
    [{ response_format: { type: "text" } }, /called "responseFormat" here/],
  ])("%o is refused", async (options, message) => {
    await using engine = new ScriptedEngine([reply("x")]);
    const ask = () => engine.chat([user], options);
    expect(ask).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }));
  });

  it("a signal that is already aborted rejects at once, another one at its abort", async () => {
    await using engine = new ScriptedEngine([{ messages: reply("x ".repeat(500)), stepDelayMs: 5 }]);
    const reason = new Error("not today");
    expect(() => engine.chat([user], { signal: AbortSignal.abort(reason) })).toThrow(reason);
    const controller = new AbortController();
    const run = engine.chat([user], { signal: controller.signal });
    for await (const _ of run) {
      controller.abort(reason);
      break;
    }
    await expect(run.result).rejects.toBe(reason);
    expect(() => engine.chat([user], { signal: {} as AbortSignal })).toThrow(/AbortSignal/);
    expect(engine.requests).toHaveLength(1);
  });

  it("accepts priority, salt, bias, processor and a minimum length like generate", async () => {
    await using engine = await Engine.load("demo", { contextLength: 512 });
    const question: ChatMessage = { role: "user", content: "What is 7 + 8?" };
    const options: ChatOptions = { temperature: 0, maxTokens: 100 };
    const whole = await engine.chat([question], { ...options, priority: 5, cacheSalt: "s" }).result;
    expect(whole.content).toBe("7 + 8 = 15");
    const [fifteen] = tokenizer.encode("15");
    const banned = { ...options, logitBias: { [fifteen!]: Number.NEGATIVE_INFINITY } };
    expect((await engine.chat([question], banned).result).content).not.toContain("15");
    const seen: number[] = [];
    const logitsProcessor = (_: Float32Array, tokens: Uint32Array) => void seen.push(tokens.length);
    const processed = engine.chat([question], { ...options, logitsProcessor });
    expect((await processed.result).content).toBe("7 + 8 = 15");
    expect(seen[0]).toBe(processed.promptTokens.length);
    const { usage } = await engine.chat([question], { ...options, minTokens: 60 }).result;
    expect(usage.completionTokens).toBeGreaterThanOrEqual(60);
  }, 120_000);

  it("undefined counts as absent, for every option", () => {
    const names = [
      "toolChoice",
      "responseFormat",
      "reasoningBudget",
      "tools",
      "stop",
      "logprobs",
      "constraint",
      "seed",
    ];
    const options = Object.fromEntries(names.map((name) => [name, undefined]));
    expect(promptOf(options)).toBe(promptOf({}));
    expect(constraintOf(options)).toEqual(constraintOf({}));
  });
});

describe("logprobs", () => {
  it("come with the events and the answer, of the text of each message", async () => {
    await using engine = new ScriptedEngine([[think("I wonder."), reply("Yes, 晴れ 🌞!")]]);
    const run = engine.chat([user], { logprobs: 3 });
    const events: ChatEvent[] = [];
    for await (const event of run) events.push(event);
    const { messages, logprobs } = await run.result;
    expect(messages).toHaveLength(2);
    expect(logprobs!.map((positions) => tokenizer.decode(positions.map(({ token }) => token)))).toEqual([
      "I wonder.",
      "Yes, 晴れ 🌞!",
    ]);
    for (const { logprob, top } of logprobs!.flat()) {
      expect(Number.isFinite(logprob)).toBe(true);
      expect(top).toHaveLength(3);
    }
    const deltas = events.flatMap((event) => (event.type === "delta" ? [event] : []));
    expect(deltas.map((delta) => delta.text).join("")).toBe("I wonder.Yes, 晴れ 🌞!");
    expect(deltas.flatMap((delta) => delta.logprobs)).toEqual(logprobs!.flat());
    const told = events.flatMap((event) => (event.type === "message" ? [event.logprobs] : []));
    expect(told).toEqual(logprobs);
  });

  it("are absent unless requested", async () => {
    await using engine = new ScriptedEngine([reply("Yes")]);
    const run = engine.chat([user], { logprobs: 0 });
    for await (const event of run) expect("logprobs" in event).toBe(false);
    expect("logprobs" in (await run.result)).toBe(false);
  });
});

describe("a stop string", () => {
  it("is searched for in visible text", async () => {
    await using engine = new ScriptedEngine([[think("one STOP two"), reply("three STOP four")]]);
    const run = engine.chat([user], { stop: ["STOP", "never"], logprobs: 1 });
    const deltas: string[] = [];
    for await (const event of run) if (event.type === "delta" && event.channel === "final") deltas.push(event.text);
    const { reasoning, content, finishReason, messages, logprobs } = await run.result;
    expect({ reasoning, content, finishReason }).toEqual({
      reasoning: "one STOP two",
      content: "three ",
      finishReason: "stop",
    });
    expect(deltas.join("")).toBe("three ");
    expect(messages).toHaveLength(2);
    expect(tokenizer.decode(logprobs![1]!.map(({ token }) => token))).toMatch(/^three ?/);
  });

  it("is not searched for in arguments, and ends the generation soon after it", async () => {
    await using engine = new ScriptedEngine([
      call("f", { a: "STOP" }),
      { messages: reply(`STOP${" more".repeat(5000)}`), stepDelayMs: 1 },
    ]);
    const f = { type: "function" as const, function: { name: "f" } };
    const { toolCalls } = await engine.chat([user], { tools: [f], stop: "STOP" }).result;
    expect(toolCalls[0]!.arguments).toBe('{"a":"STOP"}');
    const { content, usage } = await engine.chat([user], { stop: "STOP" }).result;
    expect(content).toBe("");
    expect(usage.completionTokens).toBeLessThan(5000);
    expect(engine.stats().running).toBe(0);
  });

  it("that is incomplete is text", async () => {
    await using engine = new ScriptedEngine([reply("one ST")]);
    expect((await engine.chat([user], { stop: "STOP" }).result).content).toBe("one ST");
  });
});

it("malformed output keeps its tokens' log probabilities", async () => {
  const engine = toldEngine();
  const run = startChat(engine, [user], { logprobs: 1 });
  write(engine.generation, ids("<|channel|>analysis<|message|>Hm<|end|>It is"), "length");
  const { messages, logprobs } = await run.result;
  expect(messages).toHaveLength(2);
  expect(logprobs!.map((positions) => tokenizer.decode(positions.map(({ token }) => token)))).toEqual(["Hm", "It is"]);
  for (const { token, logprob } of logprobs!.flat()) expect(logprob).toBe(-token);
});
