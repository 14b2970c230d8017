import { describe, expect, it } from "vitest";
import { type ChatOptions, renderChat, startChat } from "../../../lib/chat/chat.js";
import { beginTurn } from "../../../lib/chat/turn.js";
import type { TurnEvent } from "../../../lib/chat/turn-event.js";
import type { Constraint } from "../../../lib/generation/constraint.js";
import { ConversationRenderer } from "../../../lib/harmony/conversation-renderer.js";
import type { FunctionTool } from "../../../lib/harmony/index.js";
import { chat, ids, type Json, scriptedServer } from "../../support/server.js";
import { toldEngine, write } from "../../support/told-engine.js";

/** A turn has the same meaning for `engine.chat` and for a server. Every row runs through both. */

/** The parts of an answer in either form. */
interface Told {
  reasoning: string;
  content: string;
  /** Name and arguments of each call. */
  calls: [string, string][];
  finish: string;
  completionTokens: number;
  /** The number of content tokens with log probabilities. */
  logprobs: number;
}

const currentDate = "2025-06-28"; // of the scripted server's clock
const messages = [{ role: "user", content: "Hi" }] as const;
const tool = (name: string, parameters: object = { type: "object" }, strict = false): FunctionTool => {
  return { type: "function", function: { name, parameters, ...(strict && { strict }) } };
};
const f = [tool("f")];
const callF = (args: string, end = "<|call|>") =>
  `<|channel|>commentary to=functions.f <|constrain|>json<|message|>${args}${end}`;
const thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant";
const preamble = (text: string) => `<|channel|>commentary<|message|>${text}<|end|><|start|>assistant`;
const final = (text: string, end = "<|return|>") => `<|channel|>final<|message|>${text}${end}`;
const lengthOf = (text: string) => ids(text).length;

async function both(written: string, asked: Asked, tokensPerStep: number): Promise<{ library: Told; server: Told }> {
  await using server = await scriptedServer([{ tokens: ids(written), tokensPerStep }]);
  const { maxTokens, tools, stop } = asked;
  const answer = await server.engine.chat(messages, { currentDate, logprobs: 1, ...asked }).result;
  const { status, body } = await chat(server.app, {
    ...{ tools, stop, max_tokens: maxTokens },
    logprobs: true,
    top_logprobs: 1,
  });
  expect(status, JSON.stringify(body)).toBe(200);
  const [choice] = body.choices as [Json];
  const seen = answer.messages.map(({ channel, id }) => channel !== "analysis" && id === undefined);
  const texts: string[] = (choice.logprobs.content as Json[]).map(({ token }) => token);
  expect(texts.join("")).toBe(choice.message.content ?? "");
  return {
    library: {
      reasoning: answer.reasoning,
      content: answer.content,
      calls: answer.toolCalls.map(({ name, arguments: args }) => [name, args]),
      finish: answer.finishReason,
      completionTokens: answer.usage.completionTokens,
      logprobs: answer.logprobs!.filter((_, i) => seen[i]).flat().length,
    },
    server: {
      reasoning: choice.message.reasoning ?? "",
      content: choice.message.content ?? "",
      calls: (choice.message.tool_calls ?? []).map(({ function: made }: Json) => [made.name, made.arguments]),
      finish: choice.finish_reason === "tool_calls" ? "stop" : choice.finish_reason,
      completionTokens: body.usage.completion_tokens,
      logprobs: texts.length,
    },
  };
}

type Asked = Pick<ChatOptions, "tools" | "stop" | "maxTokens">;

/** The output of the model, the request, and the expected answer. */
const rows: [string, string, Asked, Partial<Told>][] = [
  ["an answer after a thought", thought + final("Yes."), {}, { reasoning: "Hm.", content: "Yes." }],
  [
    "a stop string, which ends the text before it and all that follows",
    final("one STOP two"),
    { stop: ["STOP", "two"] },
    { content: "one ", completionTokens: lengthOf(final("one STOP", "")) },
  ],
  ["a stop string at the end of a message", final("oneSTOP"), { stop: "STOP" }, { content: "one" }],
  ["a stop string that only begins", final("one ST"), { stop: "STOP" }, { content: "one ST" }],
  [
    "a stop string that would span two messages",
    preamble("one ST") + callF('{"a":1}'),
    { tools: f, stop: "STOP{" },
    { content: "one ST", calls: [["f", '{"a":1}']] },
  ],
  [
    "a stop string in a preamble, which ends the turn before its call",
    preamble("one STOP") + callF("{}"),
    { tools: f, stop: "STOP" },
    { content: "one ", calls: [] },
  ],
  [
    "a stop string outside visible text",
    thought.replace("Hm.", "STOP") + callF('{"a":"STOP"}'),
    { tools: f, stop: "STOP" },
    { reasoning: "STOP", calls: [["f", '{"a":"STOP"}']] },
  ],
  [
    "a stop string that begins within a token, whose first part is text",
    final("abXY", ""),
    { stop: "bX" },
    { content: "a", logprobs: 1 },
  ],
  [
    "a model that goes on to play the user",
    `${final("Yes.", "<|end|>")}<|start|>user<|message|>And?<|end|><|start|>assistant${final("No.")}`,
    {},
    { content: "Yes." },
  ],
  [
    "a model that goes on to play a tool",
    `${preamble("Look.")}${callF("{}", "<|end|>")}<|start|>functions.f to=assistant<|message|>1<|end|>`,
    { tools: f },
    { content: "Look.", calls: [["f", "{}"]] },
  ],
  ["a call without arguments", callF(""), { tools: f }, { calls: [["f", "{}"]] }],
  ["a call of blanks", callF(" "), { tools: f }, { calls: [["f", " {}"]] }],
  [
    "a call on the channel of the reasoning",
    callF('{"a":1}').replace("commentary", "analysis"),
    { tools: f },
    { calls: [["f", '{"a":1}']] },
  ],
  [
    "an answer that is addressed to a tool",
    callF("Yes.").replace("commentary", "final").replace(" <|constrain|>json", ""),
    { tools: f },
    { content: "Yes.", logprobs: 2 },
  ],
  ["a call where there is no tool", callF("1"), {}, { content: "1", logprobs: 1 }],
  [
    "a call of a tool that was not declared",
    callF("{}").replace("functions.f", "functions.g"),
    { tools: f },
    { calls: [["g", "{}"]] },
  ],
  [
    "a call that is cut off",
    callF('{"a":1}'),
    { tools: f, maxTokens: lengthOf(callF('{"a', "")) },
    { calls: [["f", '{"a']], finish: "length" },
  ],
  [
    "an empty call that is cut off",
    callF('{"a":1}'),
    { tools: f, maxTokens: lengthOf(callF("", "")) },
    { calls: [["f", ""]], finish: "length" },
  ],
  [
    "a text that is cut off where a stop string may begin",
    final("one ST and"),
    { stop: "STOP", maxTokens: lengthOf(final("one ST", "")) },
    { content: "one ST", finish: "length" },
  ],
];

describe.each([1, 64])("a turn of %i tokens at once has the same meaning for both", (tokensPerStep) => {
  it.each(rows)("%s", async (_, written, asked, expected) => {
    const { library, server } = await both(written, asked, tokensPerStep);
    expect(library).toMatchObject({ reasoning: "", content: "", calls: [], finish: "stop", ...expected });
    expect(server).toEqual(library);
  });
});

describe("both send the same request to the engine", () => {
  const schema = { type: "object", properties: { a: { type: "integer" } } };
  const tools = [tool("f", schema), tool("g", schema, true)];
  const named = { type: "function", function: { name: "g" } } as const;
  const format = { type: "json_schema", json_schema: { name: "answer", schema, strict: true } } as const;
  it.each<[string, ChatOptions, object]>([
    ["plain", {}, {}],
    ["tools", { tools }, { tools }],
    ["no call", { tools, toolChoice: "none" }, { tools, tool_choice: "none" }],
    ["a call", { tools, toolChoice: "required" }, { tools, tool_choice: "required" }],
    ["that call", { tools, toolChoice: named }, { tools, tool_choice: named }],
    ["a format", { responseFormat: format }, { response_format: format }],
    ["any object", { responseFormat: { type: "json_object" } }, { response_format: { type: "json_object" } }],
    ["a budget", { reasoningBudget: 7 }, { reasoning: { max_tokens: 7 } }],
    [
      "an effort and instructions",
      { reasoningEffort: "high", developerInstructions: "Be kind." },
      {
        reasoning_effort: "high",
        messages: [{ role: "system", content: "Be kind." }, ...messages],
      },
    ],
  ])("%s", async (_, options, fields) => {
    await using server = await scriptedServer([{ tokens: [200_002] }]);
    await server.engine.chat(messages, { currentDate, ...options }).result;
    expect((await chat(server.app, fields)).status).toBe(200);
    const [library, served] = server.engine.requests;
    expect(served!.text).toBe(library!.text);
    expect(served!.options.constraint).toEqual(library!.options.constraint);
    expect(served!.options.stopTokens).toEqual(library!.options.stopTokens);
  });
});

describe("a turn that is cancelled", () => {
  it("returns the text so far, and marks it as incomplete", async () => {
    const engine = toldEngine();
    const run = startChat(engine, messages, { tools: f });
    write(engine.generation, ids(callF('{"a', "")), "cancelled");
    expect(await run.result).toMatchObject({ finishReason: "cancelled", toolCalls: [{ name: "f", arguments: '{"a' }] });
    const empty = startChat(engine, messages, {});
    write(engine.generation, [], "cancelled");
    expect(await empty.result).toMatchObject({ finishReason: "cancelled", messages: [], content: "" });
  });
});

describe("a turn that the limit ended", () => {
  const closed: [string, string, FunctionTool[] | undefined, boolean[]][] = [
    ["a call that was closed in time", thought + callF('{"a":1}'), f, [true, false]],
    ["an answer that was closed in time", thought + final('{"a":1}'), undefined, [true, false]],
    ["a text that was cut", thought + final("Yes", ""), undefined, [true, false]],
    ["reasoning that was cut", thought.slice(0, thought.indexOf("<|end|>")), undefined, [false]],
    ["reasoning that ended with the last token", thought.slice(0, thought.indexOf("<|start|>")), undefined, [true]],
  ];
  it.each(closed)("says length, and which message is incomplete: %s", async (_, written, tools, complete) => {
    const engine = toldEngine();
    const prompt = renderChat(messages, { ...(tools && { tools }) });
    const turn = beginTurn(engine, { renderer: new ConversationRenderer(), reasoning: null }, prompt, prompt.chat);
    write(engine.generation, ids(written), "length");
    const told: TurnEvent[] = [];
    for await (const events of turn.batches()) told.push(...events);
    expect(told.flatMap((event) => (event.type === "part-end" ? [event.complete] : []))).toEqual(complete);
    expect(told.at(-1)).toMatchObject({ type: "choice-end", finishReason: "length", stopReason: null });
  });

  it("has no parsed value, though its JSON is whole", async () => {
    const engine = toldEngine();
    const asked = { responseFormat: { type: "json_object" } } as const;
    const cut = startChat(engine, messages, asked);
    write(engine.generation, ids(final('{"a":1}')), "length");
    const answer = await cut.result;
    expect(answer).toMatchObject({ finishReason: "length", content: '{"a":1}' });
    expect(answer).not.toHaveProperty("parsed");
    const whole = startChat(engine, messages, asked);
    write(engine.generation, ids(final('{"a":1}')), "stop");
    expect(await whole.result).toMatchObject({ finishReason: "stop", parsed: { a: 1 } });
  });
});

describe("the events of a chat", () => {
  it("are pieces of the messages that follow them, even for an empty call", async () => {
    const engine = toldEngine();
    const run = startChat(engine, messages, { tools: f, logprobs: 1 });
    write(engine.generation, ids(thought + callF("")));
    const told: Json[] = [];
    for await (const event of run) told.push(event);
    const { messages: whole, toolCalls } = await run.result;
    expect(told.map(({ type }) => type)).toEqual(["delta", "delta", "message", "delta", "message", "done"]);
    expect(told.filter(({ type }) => type === "message").map(({ message }) => message)).toEqual(whole);
    const call = { type: "delta", role: "assistant", channel: "commentary", recipient: "functions.f" };
    expect(told[3]).toEqual({ ...call, contentType: "<|constrain|>json", text: "{}", logprobs: [] });
    expect(whole[1]).toMatchObject({ id: toolCalls[0]!.id, content: [{ type: "text", text: "{}" }] });
  });
});

it("the caller's own constraint replaces the turn's", async () => {
  const own: Constraint = { kind: "harmony", tools: [{ name: "f" }], toolChoice: "required" };
  await using server = await scriptedServer([{ tokens: ids(callF("{}")) }]);
  const { toolCalls } = await server.engine.chat(messages, { constraint: own }).result;
  expect(server.engine.requests[0]!.options.constraint).toEqual(own);
  expect(toolCalls).toMatchObject([{ name: "f", arguments: "{}" }]);
});
