import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ChatAnswer, type ChatMessage, type ChatOptions, renderChat, startChat } from "../../../lib/chat/chat.js";
import type { FunctionTool, Message } from "../../../lib/harmony/index.js";
import { Engine } from "../../../lib/index.js";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";
import { recorded } from "../../support/recorded.js";
import { toldEngine, write } from "../../support/told-engine.js";

/** The use of the history in a chat: the tokens of the next prompt. */

const special = (text: string) => [...tokenizer.encode(text, { allowedSpecial: "all" })];
const pinned = { currentDate: "2025-06-28" } as const;
const user = (content: string): ChatMessage => ({ role: "user", content });

/** A chat whose model writes these tokens. */
async function answer(
  messages: ChatMessage[],
  tokens: number[],
  options: ChatOptions = {},
): Promise<ChatAnswer & { prompt: number[] }> {
  const engine = toldEngine();
  const chat = startChat(engine, messages, { ...pinned, ...options });
  write(engine.generation, tokens);
  return { ...(await chat.result), prompt: [...chat.promptTokens] };
}

function prompt(messages: ChatMessage[], options: ChatOptions = {}): number[] {
  return [...renderChat(messages, { ...pinned, ...options }).tokens];
}

const weather: FunctionTool = { type: "function", function: { name: "get_weather", parameters: { type: "object" } } };
const tools = [weather];
// "Hello" letter by letter, which no encoder produces.
const hello = [39, 68, 75, 75, 78];
const thought = special("<|channel|>analysis<|message|>I call.<|end|><|start|>assistant");
const called = special('<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"a":1}<|call|>');
const result = "<|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>12<|end|><|start|>assistant";

/** A tool call as a client of OpenAI's API sends it back. */
function asOpenAI({ toolCalls, reasoning }: ChatAnswer, withReasoning: boolean): ChatMessage {
  const tool_calls = toolCalls.map(({ id, name, arguments: text }) => ({
    id,
    type: "function" as const,
    function: { name, arguments: text },
  }));
  return { role: "assistant", content: null, tool_calls, ...(withReasoning && { reasoning }) };
}

describe("a loop of tool calls", () => {
  it("continues from the model's own tokens, up to the last one", async () => {
    const asked = [user("Weather 1?")];
    const first = await answer(asked, [...thought, ...called], { tools });
    const answered: ChatMessage[] = [
      ...asked,
      ...first.messages,
      { role: "tool", tool_call_id: first.toolCalls[0]!.id, content: "12" },
    ];
    expect(prompt(answered, { tools })).toEqual([...first.prompt, ...thought, ...called, ...special(result)]);
  });

  it("does so for OpenAI's messages too", async () => {
    const asked = [user("Weather 2?")];
    const first = await answer(asked, [...thought, ...called], { tools });
    const answered = (withReasoning: boolean): ChatMessage[] => [
      ...asked,
      asOpenAI(first, withReasoning),
      { role: "tool", tool_call_id: first.toolCalls[0]!.id, content: "12" },
    ];
    expect(prompt(answered(true), { tools })).toEqual([...first.prompt, ...thought, ...called, ...special(result)]);
    expect(prompt(answered(false), { tools })).toEqual([...first.prompt, ...called, ...special(result)]);
  });

  it("uses the requested order where the tokens are not known", async () => {
    const asked = [user("Weather 3?")];
    const first = await answer(asked, [...thought, ...called], { tools });
    const history = [...asked, ...first.messages];
    const text = (options: ChatOptions) => tokenizer.decode(prompt(history, { tools, ...options }));
    const channelFirst = tokenizer.decode(called);
    const recipientFirst = ' to=functions.get_weather<|channel|>commentary <|constrain|>json<|message|>{"a":1}<|call|>';
    expect(text({ originalTokens: false })).toContain(`assistant${recipientFirst}`);
    expect(text({ originalTokens: false, toolCallOrder: "channel-first" })).toContain(`assistant${channelFirst}`);
    expect(text({ toolCallOrder: "recipient-first" })).toContain(`assistant${channelFirst}`);
    expect(text({ cacheSalt: "another" })).toContain(`assistant${recipientFirst}`);
  });
});

describe("an answer", () => {
  const final = special("<|channel|>final<|message|>");

  it("is rendered in its own tokens, with <|end|> instead of <|return|>", async () => {
    const asked = [user("Greet 1")];
    const { prompt: before, messages } = await answer(asked, [...final, ...hello, 200002]);
    const expected = [
      ...before,
      ...final,
      ...hello,
      ...special("<|end|><|start|>user<|message|>More<|end|><|start|>assistant"),
    ];
    expect(prompt([...asked, ...messages, user("More")])).toEqual(expected);
    expect(prompt([...asked, { role: "assistant", content: "Hello" }, user("More")])).toEqual(expected);
  });

  it("is known only at its place, and only unchanged", async () => {
    const asked = [user("Greet 2")];
    await answer(asked, [...final, ...hello, 200002]);
    const isOriginal = (messages: ChatMessage[], options: ChatOptions = {}) =>
      prompt(messages, options).join().includes(hello.join());
    const hi: ChatMessage = { role: "assistant", content: "Hello" };
    expect(isOriginal([...asked, hi])).toBe(true);
    expect(isOriginal([...asked, hi], { reasoningEffort: "high", developerInstructions: "Be kind." })).toBe(true);
    expect(isOriginal([...asked, hi], { originalTokens: false })).toBe(false);
    expect(isOriginal([...asked, hi], { cacheSalt: "s" })).toBe(false);
    expect(isOriginal([user("Greet 3"), hi])).toBe(false);
    expect(isOriginal([...asked, user("And?"), hi])).toBe(false);
    expect(isOriginal([...asked, { ...hi, content: "Hello." }])).toBe(false);
    expect(isOriginal([...asked, { ...hi, channel: "commentary" } as Message])).toBe(false);
    expect(isOriginal([...asked, { role: "user", content: "Hello" }])).toBe(false);
  });

  it("to a turn that the model wrote itself is not history of this conversation", async () => {
    const asked = [user("Greet 4")];
    const played = special("hm<|end|><|start|>user<|message|>And?<|end|><|start|>assistant<|channel|>final<|message|>");
    const { messages } = await answer(asked, [...final, ...played, ...hello, 200002]);
    expect(messages.map(({ role }) => role)).toEqual(["assistant"]);
    const said: ChatMessage[] = [user("And?"), { role: "assistant", content: "Hello" }];
    expect(prompt([...asked, ...messages, ...said]).join()).not.toContain(hello.join());
  });

  it("that was cut off is closed", async () => {
    const asked = [user("Greet 5")];
    const { prompt: before, messages } = await answer(asked, [...final, ...hello]);
    const expected = [...before, ...final, ...hello, ...special("<|end|><|start|>assistant")];
    expect(prompt([...asked, ...messages])).toEqual(expected);
  });

  it("that was malformed is rendered as it was parsed", async () => {
    const asked = [user("Greet 6")];
    const { messages } = await answer(asked, [...final, ...hello, 200003, ...hello, 200006, ...special("assistant")]);
    expect(messages).toHaveLength(1);
    const expected = special("<|start|>assistant<|channel|>final<|message|>HelloHello<|end|><|start|>assistant");
    expect(prompt([...asked, ...messages])).toEqual([...prompt(asked).slice(0, -2), ...expected]);
  });
});

describe("analysis in a chat", () => {
  const history: ChatMessage[] = [
    user("1"),
    { role: "assistant", reasoning: "R1", content: "A1" },
    user("2"),
    { role: "assistant", reasoning: "R2", content: "A2" },
    user("3"),
  ];
  const thoughts = (options: ChatOptions) =>
    tokenizer
      .decode(prompt(history, options))
      .match(/analysis<\|message\|>R\d/g)
      ?.map((text) => text.slice(-2)) ?? [];

  it("is left out by the training's rule, by the reference's rule, or not at all", () => {
    expect(thoughts({})).toEqual([]);
    expect(thoughts({ autoDropAnalysis: "past" })).toEqual([]);
    expect(thoughts({ autoDropAnalysis: true })).toEqual(["R2"]);
    expect(thoughts({ autoDropAnalysis: false })).toEqual(["R1", "R2"]);
  });
});

it("options of a history are checked", () => {
  const refused = (options: object) => () => prompt([user("x")], options);
  expect(refused({ toolCallOrder: "x" })).toThrow(/toolCallOrder/);
  expect(refused({ originalTokens: 1 })).toThrow(/originalTokens/);
  expect(refused({ autoDropAnalysis: "x" })).toThrow(/autoDropAnalysis/);
  expect(refused({ cacheSalt: 1 })).toThrow(/cacheSalt/);
  expect(refused({ stopTokens: [1] })).toThrow(/stopTokens/);
  expect(prompt([user("x")], { toolCallOrder: undefined, originalTokens: undefined })).toEqual(prompt([user("x")]));
});

describe("the demo model", () => {
  const row = recorded.find(({ id }) => id === "public-weather-122")!;
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.load("demo", { kvCache: { bytes: "64MiB" } });
  });
  afterAll(() => engine.close());

  it("calls a tool, and its next prompt begins with all that it read and wrote", async () => {
    const options: ChatOptions = {
      tools: row.tools,
      currentDate: row.current_date,
      reasoningEffort: row.reasoning_effort,
      temperature: 0,
      maxTokens: 200,
    };
    const first = engine.chat(row.messages, options);
    const { messages, toolCalls, usage } = await first.result;
    expect(toolCalls.map(({ name }) => name)).toEqual(["get_current_weather"]);
    const history: ChatMessage[] = [
      ...row.messages,
      ...messages,
      { role: "tool", tool_call_id: toolCalls[0]!.id, content: '{"temperature":12}' },
    ];
    const second = engine.chat(history, options);
    const known = [...first.promptTokens, ...row.completion_ids];
    expect([...second.promptTokens.subarray(0, known.length)]).toEqual(known);
    const { usage: next } = await second.result;
    expect(next.cachedTokens).toBeGreaterThan(usage.promptTokens - 64);
    const encoded = engine.chat(history, { ...options, originalTokens: false, maxTokens: 1 }).promptTokens;
    expect([...encoded.subarray(0, known.length)]).not.toEqual(known);
  });

  it("gets the tokens of the recorded conversations from the caching renderer", () => {
    for (let again = 0; again < 2; again++) {
      for (const { messages, tools, current_date, reasoning_effort, prompt_ids } of recorded.slice(0, 60)) {
        const options = { tools, currentDate: current_date, reasoningEffort: reasoning_effort };
        expect([...renderChat(messages, options).tokens]).toEqual(prompt_ids);
      }
    }
  });
});
