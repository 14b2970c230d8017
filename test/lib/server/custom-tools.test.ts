import { describe, expect, it } from "vitest";
import { Engine } from "../../../lib/engine.js";
import { larkPattern } from "../../../lib/server/grammars/lark.js";
import { createServer } from "../../../lib/server/index.js";
import { call as called, reply } from "../../../lib/testing/index.js";
import { patchGrammar } from "../../support/patch-grammar.js";
import { replayed, streamEvents } from "../../support/response-stream.js";
import { call, final, reasoning, turn } from "../../support/scripted-turns.js";
import { asking, framesOf, ids, type Json, post, scriptedServer } from "../../support/server.js";
import { type TurnServer, turnServer } from "../../support/turn-server.js";

/** Custom tools, which take a text instead of JSON, in both APIs. */

const patch = { type: "custom", name: "apply_patch", description: "Edits files." };
const nestedPatch = { type: "custom", custom: { name: "apply_patch", description: "Edits files." } };
const ask = { model: "gpt-oss-20b", input: "Edit.", tools: [patch] };
const chatAsk = asking({ tools: [nestedPatch] });
const input = '*** Begin Patch\n+ "é🎉"\\n\n';
const patching = turn([reasoning("p"), call("apply_patch", JSON.stringify({ input }), "call_7")]);
const hello = turn([final("Hello!")]);

function schemaOf(more: object = {}): object {
  return {
    type: "object",
    properties: { input: { type: "string", description: expect.any(String), ...more } },
    required: ["input"],
    additionalProperties: false,
  };
}

async function chatPost(server: TurnServer, payload: object): Promise<{ status: number; body: Json }> {
  return post(server.app, "/v1/chat/completions", payload);
}

async function chatStream(server: TurnServer, payload: object): Promise<Json[]> {
  const answer = await server.app.inject({
    method: "POST",
    url: "/v1/chat/completions",
    payload: { ...payload, stream: true },
  });
  expect(answer.statusCode, answer.payload).toBe(200);
  return framesOf(answer.payload);
}

describe("a custom tool", () => {
  it("is a function of one string for the model", async () => {
    await using server = await turnServer([hello]);
    expect((await server.post(ask)).status).toBe(200);
    const declared = {
      name: "apply_patch",
      description: "Edits files.",
      parameters: schemaOf(),
      strict: true,
      at: "tools[0]",
      client: { type: "custom", name: "apply_patch", namespace: null },
    };
    expect(server.player.last.tools).toEqual([declared]);
    expect((await chatPost(server, chatAsk)).status).toBe(200);
    expect(server.player.last.tools).toEqual([{ ...declared, at: "tools[0].custom" }]);
  });

  it("is repeated in the response as it was declared", async () => {
    await using server = await turnServer([hello]);
    const tools = [{ ...patch, format: { type: "text" } }];
    const { json, headers } = await server.post({ ...ask, tools });
    expect(json.tools).toEqual(tools);
    expect(headers["x-gpt-oss-warnings"]).toBeUndefined();
  });

  it("may have members about its loading and its callers", async () => {
    await using server = await turnServer([hello]);
    await server.post({ ...ask, tools: [{ ...patch, defer_loading: true, allowed_callers: ["direct"] }] });
    expect(server.warnings).toEqual([]);
  });
});

describe("a call of a custom tool", () => {
  it("is an item with the decoded input", async () => {
    await using server = await turnServer([patching]);
    const { json } = await server.post(ask);
    expect(json.output[1]).toEqual({
      type: "custom_tool_call",
      id: expect.stringMatching(/^ctc_[0-9a-f]{32}$/),
      call_id: "call_7",
      name: "apply_patch",
      input,
      status: "completed",
    });
  });

  it("is told event by event", async () => {
    await using server = await turnServer([patching]);
    const events = streamEvents((await server.post({ ...ask, stream: true })).text);
    const response = replayed(events);
    expect(response.output[1]).toMatchObject({ type: "custom_tool_call", input });
    const { id } = response.output[1]!;
    const ofCall = events.filter(({ output_index }) => output_index === 1);
    const deltas = ofCall.filter(({ type }) => type === "response.custom_tool_call_input.delta");
    expect(deltas.length).toBeGreaterThan(3);
    expect(deltas.map(({ delta }) => delta).join("")).toBe(input);
    expect(ofCall.map(({ type }) => type)).toEqual([
      "response.output_item.added",
      ...deltas.map(({ type }) => type),
      "response.custom_tool_call_input.done",
      "response.output_item.done",
    ]);
    expect(ofCall[0]!.item).toMatchObject({ type: "custom_tool_call", status: "in_progress", input: "", id });
    expect(ofCall.at(-2)).toEqual({
      type: "response.custom_tool_call_input.done",
      sequence_number: expect.any(Number),
      item_id: id,
      output_index: 1,
      input,
    });
  });

  it("is a call of type custom in a chat", async () => {
    await using server = await turnServer([patching]);
    const { body } = await chatPost(server, chatAsk);
    const [choice] = body.choices;
    expect(choice.finish_reason).toBe("tool_calls");
    expect(choice.message.tool_calls).toEqual([
      { id: "call_7", type: "custom", custom: { name: "apply_patch", input } },
    ]);
  });

  it("comes in pieces in a chat", async () => {
    await using server = await turnServer([patching]);
    const frames = await chatStream(server, chatAsk);
    const pieces = frames.flatMap((frame) => frame.choices?.[0]?.delta.tool_calls ?? []);
    const [first, ...rest] = pieces;
    expect(first).toEqual({ index: 0, id: "call_7", type: "custom", custom: { name: "apply_patch", input: "" } });
    expect(rest.length).toBeGreaterThan(3);
    for (const piece of rest) expect(piece).toEqual({ index: 0, custom: { input: expect.stringMatching(/./su) } });
    expect(rest.map(({ custom }) => custom.input).join("")).toBe(input);
  });

  it("stands beside calls of functions", async () => {
    const both = turn([
      call("f", '{"a":1}', "call_1"),
      call("apply_patch", '{"input":"x"}', "call_2"),
      call("f", "{}", "call_3"),
    ]);
    await using server = await turnServer([both]);
    const tools = [{ type: "function", name: "f" }, patch];
    const response = replayed(streamEvents((await server.post({ ...ask, tools, stream: true })).text));
    const expected = [
      { type: "function_call", call_id: "call_1", name: "f", arguments: '{"a":1}' },
      { type: "custom_tool_call", call_id: "call_2", name: "apply_patch", input: "x" },
      { type: "function_call", call_id: "call_3", name: "f", arguments: "{}" },
    ];
    expect(response.output).toMatchObject(expected);
    expect((await server.post({ ...ask, tools })).json.output).toMatchObject(expected);

    const nestedTools = [{ type: "function", function: { name: "f" } }, nestedPatch];
    const calls = [
      { id: "call_1", type: "function", function: { name: "f", arguments: '{"a":1}' } },
      { id: "call_2", type: "custom", custom: { name: "apply_patch", input: "x" } },
      { id: "call_3", type: "function", function: { name: "f", arguments: "{}" } },
    ];
    expect((await chatPost(server, asking({ tools: nestedTools }))).body.choices[0].message.tool_calls).toEqual(calls);
    const indexes = (await chatStream(server, asking({ tools: nestedTools }))).flatMap(
      (frame) => frame.choices?.[0]?.delta.tool_calls?.map(({ index }: Json) => index) ?? [],
    );
    expect(new Set(indexes)).toEqual(new Set([0, 1, 2]));
  });

  it.each([
    ["plain text", "*** Begin Patch", "*** Begin Patch"],
    ["other JSON", '{"patch":"x"}', '{"patch":"x"}'],
    ["no arguments", "{}", ""],
    ["broken JSON", '{"input":"x', "x"],
    ["half of a surrogate pair", '{"input":"\\ud83d"}', "\ufffd"],
  ])("has an input even when the model writes %s", async (_, written, expected) => {
    await using server = await turnServer([turn([call("apply_patch", written)])]);
    const whole = (await server.post(ask)).json;
    expect(whole.output).toMatchObject([{ type: "custom_tool_call", input: expected, status: "completed" }]);
    const streamed = replayed(streamEvents((await server.post({ ...ask, stream: true })).text));
    expect(streamed.output).toMatchObject([{ input: expected }]);
    const { body } = await chatPost(server, chatAsk);
    expect(body.choices[0].message.tool_calls[0].custom.input).toBe(expected);
    const next = { ...ask, previous_response_id: whole.id, input: "Go on." };
    expect((await server.post(next)).status).toBe(200);
  });

  it("that is cut off is incomplete", async () => {
    for (let cutAt = 2; cutAt < 20; cutAt++) {
      const cut = turn([reasoning("p"), call("apply_patch", '{"input":"ab\\n\\u00e9cd"}')], { cutAt });
      await using server = await turnServer([cut]);
      const response = replayed(streamEvents((await server.post({ ...ask, stream: true })).text));
      const item = response.output[1] as { input: string };
      expect(item).toMatchObject({ type: "custom_tool_call", status: "incomplete" });
      expect("ab\nécd".startsWith(item.input)).toBe(true);
    }
  });

  it("of a tool that nobody declared is a function's", async () => {
    await using server = await turnServer([turn([call("other", '{"input":"x"}')])]);
    expect((await server.post(ask)).json.output).toMatchObject([
      { type: "function_call", name: "other", arguments: '{"input":"x"}' },
    ]);
  });
});

describe("a custom tool's call in the history", () => {
  const asCall = {
    role: "assistant",
    content: null,
    tool_calls: [
      { id: "call_7", type: "function", function: { name: "apply_patch", arguments: JSON.stringify({ input }) } },
    ],
  };
  const output = { role: "tool", tool_call_id: "call_7", content: "Done." };

  it("is read back from items", async () => {
    await using server = await turnServer([patching]);
    const [, item] = (await server.post(ask)).json.output;
    const result = { type: "custom_tool_call_output", call_id: "call_7", output: "Done." };
    const { status } = await server.post({ ...ask, input: [{ role: "user", content: "Edit." }, item, result] });
    expect(status).toBe(200);
    expect(server.player.last.messages).toEqual([{ role: "user", content: "Edit." }, asCall, output]);
  });

  it("is read back from a stored response", async () => {
    await using server = await turnServer([patching]);
    const { id } = (await server.post(ask)).json;
    const result = {
      type: "custom_tool_call_output",
      call_id: "call_7",
      output: [{ type: "input_text", text: "Done." }],
    };
    expect((await server.post({ ...ask, previous_response_id: id, input: [result] })).status).toBe(200);
    expect(server.player.last.messages.slice(-2)).toEqual([asCall, output]);
    expect((await server.get(`${id}/input_items`)).status).toBe(200);
  });

  it("is read back from a chat", async () => {
    await using server = await turnServer([patching]);
    const [{ message }] = (await chatPost(server, chatAsk)).body.choices;
    const messages = [{ role: "user", content: "Edit." }, message, output];
    expect((await chatPost(server, { ...chatAsk, messages })).status).toBe(200);
    expect(server.player.last.messages).toMatchObject([{ role: "user" }, asCall, output]);
  });

  it("is rendered in the tokens that the model wrote, so that they are cached", async () => {
    const header = "<|channel|>commentary to=functions.apply_patch <|constrain|>json<|message|>";
    const written = ids(`${header}${JSON.stringify({ input })}<|call|>`);
    await using server = await scriptedServer([{ tokens: written }, reply("Done."), reply("Done.")]);
    const respond = async (fields: object) => (await post(server.app, "/v1/responses", { ...ask, ...fields })).body;
    const user = { role: "user", content: "Edit." };
    const { id, output } = await respond({ input: [user] });
    const result = { type: "custom_tool_call_output", call_id: output[0].call_id, output: "Done." };
    await respond({ input: [user, ...output, result] });
    await respond({ input: [result], previous_response_id: id });
    const [first, ...later] = server.engine.requests.map(({ promptTokens }) => [...promptTokens]);
    expect(later).toHaveLength(2);
    for (const tokens of later)
      expect(tokens.slice(0, first!.length + written.length)).toEqual([...first!, ...written]);
  });

  it.each([
    [{ type: "custom_tool_call", call_id: "c", name: "t" }, "input[1].input"],
    [{ type: "custom_tool_call", call_id: "c", name: "t", input: 7 }, "input[1].input"],
    [{ type: "custom_tool_call", call_id: "c", name: "a b", input: "" }, "input[1].name"],
    [{ type: "custom_tool_call", call_id: "", name: "t", input: "" }, "input[1].call_id"],
    [{ type: "custom_tool_call", call_id: "c", namespace: "a b", name: "t", input: "" }, "input[1].namespace"],
    [{ type: "custom_tool_call_output", call_id: "c", output: "" }, "input[1].call_id"],
  ])("is refused where it is wrong: %j", async (item, param) => {
    await using server = await turnServer([hello]);
    const { status, json } = await server.post({ ...ask, input: [{ role: "user", content: "Edit." }, item] });
    expect([status, json.error.param]).toEqual([400, param]);
  });

  it.each([
    [{ id: "c", type: "custom" }, "messages[1].tool_calls[0].custom.name"],
    [{ id: "c", type: "custom", custom: "t" }, "messages[1].tool_calls[0].custom.name"],
    [{ id: "c", type: "custom", custom: { name: "a b", input: "" } }, "messages[1].tool_calls[0].custom.name"],
    [{ id: "c", type: "custom", custom: { name: "t" } }, "messages[1].tool_calls[0].custom.input"],
    [{ id: "c", type: "custom", custom: { name: "t", input: {} } }, "messages[1].tool_calls[0].custom.input"],
    [{ id: "c", type: "function", custom: { name: "t", input: "" } }, "messages[1].tool_calls[0].function.name"],
  ])("is refused where it is wrong in a chat: %j", async (wrong, param) => {
    await using server = await turnServer([hello]);
    const messages = [
      { role: "user", content: "Hi" },
      { role: "assistant", tool_calls: [wrong] },
    ];
    const { status, body } = await chatPost(server, { ...chatAsk, messages });
    expect([status, body.error.param]).toEqual([400, param]);
  });
});

describe("tool_choice", () => {
  const tools = [{ type: "function", name: "f" }, patch];
  const nestedTools = [{ type: "function", function: { name: "f" } }, nestedPatch];
  const required = { type: "required", names: ["apply_patch"] };
  const allowed = [
    { type: "custom", name: "apply_patch" },
    { type: "function", name: "f" },
  ];

  it.each([
    [{ type: "custom", name: "apply_patch" }, required],
    [{ type: "custom", custom: { name: "apply_patch" } }, required],
    [
      { type: "allowed_tools", mode: "auto", tools: allowed },
      { type: "auto", names: ["apply_patch", "f"] },
    ],
    [
      { type: "allowed_tools", allowed_tools: { mode: "required", tools: allowed.slice(0, 1) } },
      { type: "required", names: ["apply_patch"] },
    ],
    ["required", { type: "required" }],
  ])("can be %j", async (tool_choice, expected) => {
    await using server = await turnServer([hello]);
    expect((await server.post({ ...ask, tools, tool_choice })).status).toBe(200);
    expect(server.player.last.toolChoice).toEqual(expected);
    expect((await chatPost(server, asking({ tools: nestedTools, tool_choice }))).status).toBe(200);
    expect(server.player.last.toolChoice).toEqual(expected);
  });

  it.each([
    [{ type: "custom", name: "f" }, "tool_choice.name"],
    [{ type: "function", name: "apply_patch" }, "tool_choice.name"],
    [{ type: "custom", name: "none" }, "tool_choice.name"],
    [{ type: "custom" }, "tool_choice.name"],
    [{ type: "custom", custom: {} }, "tool_choice.custom.name"],
    [{ type: "web_search" }, "tool_choice.type"],
    [{ type: "allowed_tools", mode: "auto", tools: [{ type: "custom", name: "f" }] }, "tool_choice.tools[0].name"],
  ])("is refused when it is %j", async (tool_choice, param) => {
    await using server = await turnServer([hello]);
    const { status, json } = await server.post({ ...ask, tools, tool_choice });
    expect([status, json.error.param]).toEqual([400, param]);
  });
});

describe("the declaration of a custom tool", () => {
  const grammar = (syntax: unknown, definition: unknown) => ({ type: "grammar", syntax, definition });
  const rows: [object, string, string][] = [
    [{ name: undefined }, "name", "missing_required_parameter"],
    [{ name: "a b" }, "name", "invalid_value"],
    [{ name: "x".repeat(65) }, "name", "invalid_value"],
    [{ description: 7 }, "description", "invalid_value"],
    [{ format: "text" }, "format", "invalid_value"],
    [{ format: {} }, "format.type", "missing_required_parameter"],
    [{ format: { type: "json" } }, "format.type", "invalid_value"],
    [{ format: grammar("gbnf", "x") }, "format.syntax", "invalid_value"],
    [{ format: grammar(undefined, "x") }, "format.syntax", "missing_required_parameter"],
    [{ format: grammar("lark", undefined) }, "format.definition", "missing_required_parameter"],
    [{ format: grammar("regex", 7) }, "format.definition", "invalid_value"],
    [{ format: grammar("lark", "") }, "format.definition", "unsupported_parameter"],
    [{ format: grammar("lark", 'start: "(" start ")" | "x"') }, "format.definition", "unsupported_parameter"],
    [
      { format: { type: "grammar", grammar: { syntax: "lark" } } },
      "format.grammar.definition",
      "missing_required_parameter",
    ],
  ];

  it.each(rows)("is refused with %j", async (fields, param, code) => {
    await using server = await turnServer([hello]);
    const { status, json } = await server.post({ ...ask, tools: [{ ...patch, ...fields }] });
    expect([status, json.error.param, json.error.code]).toEqual([400, `tools[0].${param}`, code]);
    const tools = [{ type: "custom", custom: { ...nestedPatch.custom, ...fields } }];
    const { status: chatStatus, body } = await chatPost(server, asking({ tools }));
    expect([chatStatus, body.error.param]).toEqual([400, `tools[0].custom.${param}`]);
    expect(server.player.requests).toEqual([]);
  });

  it("is refused when the grammars of all tools are too long together", async () => {
    await using server = await turnServer([hello]);
    const tools = ["a", "b"].map((name) => ({ ...patch, name, format: grammar("regex", "x".repeat(70_000)) }));
    const { status, json } = await server.post({ ...ask, tools });
    expect([status, json.error.param]).toEqual([400, "tools[1].format.definition"]);
    expect((await server.post({ ...ask, tools: tools.slice(1) })).status).toBe(200);
  });

  it.each([
    [[patch, patch], "tools[1].name"],
    [[patch, { type: "function", name: "apply_patch" }], "tools[1].name"],
  ])("is refused with a name that is used twice", async (tools, param) => {
    await using server = await turnServer([hello]);
    const { status, json } = await server.post({ ...ask, tools });
    expect([status, json.error.param]).toEqual([400, param]);
  });

  it.each([{ type: "custom" }, { type: "custom", custom: "x" }])("is refused in a chat as %j", async (tool) => {
    await using server = await turnServer([hello]);
    const { status, body } = await chatPost(server, asking({ tools: [tool] }));
    expect([status, body.error.param]).toEqual([400, "tools[0].custom"]);
  });
});

describe("a grammar", () => {
  const lark = { type: "grammar", syntax: "lark", definition: patchGrammar };
  const day = { type: "grammar", syntax: "regex", definition: "^(?P<year>\\d{4})-\\d\\d$" };
  const good = "*** Begin Patch\n*** Update File: a\n@@\n-\u00e9\n+b\n*** End Patch\n";

  it("is in the description, because the model must know it", async () => {
    await using server = await turnServer([hello]);
    const described = async (format: object) => {
      expect((await server.post({ ...ask, tools: [{ ...patch, format }] })).status).toBe(200);
      const [tool] = server.player.last.tools;
      return [tool!.description, tool!.at];
    };
    const at = "tools[0].format.definition";
    expect(await described(lark)).toEqual([`Edits files.\nThe input follows this Lark grammar:\n${patchGrammar}`, at]);
    const text = `Edits files.\nThe input follows this regular expression:\n${day.definition}`;
    expect(await described(day)).toEqual([text, at]);
    expect(await described({ type: "grammar", grammar: day })).toEqual([text, "tools[0].format.grammar.definition"]);
  });

  it.each([
    [lark, good, true],
    [lark, good.slice(0, -1), true],
    [lark, "*** Begin Patch\n*** End Patch\n", false],
    [lark, "", false],
    [day, "2026-11", true],
    [day, "2026-11-30", false],
    [day, "x2026-11", false],
  ])("holds the model, whole or streamed: %#", async (format, text, isHeld) => {
    const script = called("apply_patch", { input: text });
    const tools = [{ type: "custom", custom: { ...nestedPatch.custom, format } }];
    await using server = await scriptedServer([script]);
    const { status, body } = await post(server.app, "/v1/chat/completions", asking({ tools }));
    // A script that breaks its constraint fails: a model could not write it.
    expect(status, JSON.stringify(body)).toBe(isHeld ? 200 : 400);
    if (isHeld) expect(body.choices[0].message.tool_calls[0].custom).toEqual({ name: "apply_patch", input: text });
  });

  it("holds a model of random weights", async () => {
    await using engine = await Engine.load("synthetic:wide", { backend: "cpu", threads: 1, contextLength: 4096 });
    const app = await createServer({ engine, modelName: "gpt-oss-20b", logger: false });
    const kinds: [object, RegExp][] = [
      [lark, new RegExp(larkPattern(patchGrammar), "u")],
      [day, /^\d{4}-\d\d$/],
      [{ type: "text" }, /^/],
    ];
    for (const [index, [format, pattern]] of kinds.entries()) {
      const tool_choice = { type: "custom", name: "apply_patch" };
      const asked = { ...ask, tools: [{ ...patch, format }], tool_choice, seed: index, reasoning: { effort: "none" } };
      const { body } = await post(app, "/v1/responses", { ...asked, max_output_tokens: 200 });
      // Random weights seldom end a text by themselves: the limit closes it, and the input is valid all the same.
      const status = format === day ? "completed" : "incomplete";
      expect(body).toMatchObject({ status, output: [{ type: "custom_tool_call", status }] });
      expect(body.output[0].input).toMatch(pattern);
    }
    await app.close();
  });

  const regex = (definition: string) => ({ type: "grammar", syntax: "regex", definition });
  const larkOf = (definition: string) => ({ type: "grammar", syntax: "lark", definition });
  it.each([
    [regex("(?<=a)b"), "look-behind at character 2 is not supported"],
    [regex("^(?<=a)b$"), "look-behind at character 3 is not supported"],
    [regex("a|b\\p{L}"), 'the escape "\\p" at character 4 is not supported'],
    [regex("é🎉.(?P<n>x)\\1"), 'the escape "\\1" at character 13 is not supported'],
    [regex("..\\b"), 'the escape "\\b" at character 3 is not supported'],
    [regex("abc("), "a group that is not closed at character 4 is not supported"],
    [larkOf("start: /x\\p{L}/"), 'the escape "\\p" is not supported'],
    [larkOf('start: A\nA: "x" /a(?<=b)/'), "look-behind is not supported"],
    [regex("a$b"), "no text satisfies it"],
  ])("%j is refused in the words of its own text", async (format, reason) => {
    await using server = await scriptedServer([reply("x")]);
    const { body } = await post(server.app, "/v1/responses", { ...ask, tools: [{ ...patch, format }] });
    const at = "tools[0].format.definition";
    expect(body.error).toMatchObject({ param: at, message: `The grammar in '${at}' cannot be enforced: ${reason}.` });
    const tools = [{ type: "custom", custom: { ...nestedPatch.custom, format } }];
    const { body: ofChat } = await post(server.app, "/v1/chat/completions", asking({ tools }));
    const place = "tools[0].custom.format.definition";
    expect(ofChat.error).toMatchObject({
      param: place,
      message: `The grammar in '${place}' cannot be enforced: ${reason}.`,
    });
  });

  it("that is found to be ambiguous only while it is followed is named, too", async () => {
    await using server = await scriptedServer([called("apply_patch", { input: "aaaa" })]);
    const format = regex("(a|aa|aaa)*(a?){3000}");
    const { status, body } = await post(server.app, "/v1/responses", { ...ask, tools: [{ ...patch, format }] });
    const at = "tools[0].format.definition";
    expect([status, body.error.param, body.error.code]).toEqual([400, at, "unsupported_parameter"]);
    expect(body.error.message).toContain(`The grammar in '${at}' cannot be enforced: the constraint leaves more than`);
  });

  it.each([
    [{ type: "grammar", syntax: "regex", definition: "(?<=a)b" }, "look-behind"],
    [{ type: "grammar", syntax: "regex", definition: "(" }, "group"],
    [{ type: "grammar", syntax: "regex", definition: "a\\" }, "a backslash at the end"],
    [{ type: "grammar", syntax: "regex", definition: "a|b)|(c" }, "a ) without its ("],
    [{ type: "grammar", syntax: "lark", definition: "start: /a)|(b/" }, "a ) without its ("],
    [{ type: "grammar", syntax: "regex", definition: "\\p{L}" }, "escape"],
    [{ type: "grammar", syntax: "lark", definition: "start: /\\bx/" }, "escape"],
  ])("that the compiler does not know is refused by name: %j", async (format, what) => {
    await using server = await scriptedServer([reply("x")]);
    const tools = [{ ...patch, format }];
    const { status, body } = await post(server.app, "/v1/responses", { ...ask, tools });
    expect([status, body.error.param]).toEqual([400, "tools[0].format.definition"]);
    expect(body.error.message).toContain(what);
  });
});

it("tokens are counted with custom tools, too", async () => {
  await using server = await scriptedServer([reply("x")]);
  const count = async (fields: object) =>
    (await post(server.app, "/tokenize", { messages: [{ role: "user", content: "Hi" }], ...fields })).body.count;
  expect(await count({ tools: [nestedPatch] })).toBeGreaterThan(await count({}));
});
