import { describe, expect, it } from "vitest";
import { replayed, streamEvents } from "../../support/response-stream.js";
import { call, final, turn } from "../../support/scripted-turns.js";
import { asking, post } from "../../support/server.js";
import { turnServer } from "../../support/turn-server.js";

/** Namespaces of tools in the Responses API: coding agents send each MCP server as one. */

const add = {
  type: "function",
  name: "add",
  description: "Adds.",
  strict: false,
  parameters: { type: "object", properties: { a: { type: "number" } }, required: ["a"] },
};
const run = { type: "custom", name: "run", description: "Runs code." };
const space = { type: "namespace", name: "mcp__math", description: "Numbers.", tools: [add, run] };
const ask = { model: "gpt-oss-20b", input: "Add.", tools: [space] };
const hello = turn([final("Hello!")]);
const adding = turn([call("mcp__math__add", '{"a":1}', "call_1"), call("mcp__math__run", '{"input":"x"}', "call_2")]);

describe("a namespace", () => {
  it("is a part of the names that the model sees", async () => {
    await using server = await turnServer([hello]);
    const { status, json, headers } = await server.post(ask);
    expect([status, headers["x-gpt-oss-warnings"]]).toEqual([200, undefined]);
    expect(json.tools).toEqual([space]);
    expect(server.player.last.tools).toMatchObject([
      {
        name: "mcp__math__add",
        description: "mcp__math__*: Numbers.\n\nAdds.",
        parameters: add.parameters,
        strict: false,
        at: "tools[0].tools[0].parameters",
        client: { type: "function", name: "add", namespace: "mcp__math" },
      },
      {
        name: "mcp__math__run",
        description: "Runs code.",
        at: "tools[0].tools[1]",
        client: { type: "custom", name: "run", namespace: "mcp__math" },
      },
    ]);
  });

  it.each([
    ["crm", "crm__add"],
    ["mcp__math", "mcp__math__add"],
    ["mcp__math__", "mcp__math__add"],
    ["a.b-c", "a.b-c__add"],
  ])("of the name %s makes the name %s", async (name, expected) => {
    const script = turn([call(expected, "{}")]);
    await using server = await turnServer([script]);
    const { json } = await server.post({ ...ask, tools: [{ ...space, name, tools: [add] }] });
    expect(server.player.last.tools.map((tool) => tool.name)).toEqual([expected]);
    expect(json.output).toMatchObject([{ namespace: name, name: "add" }]);
  });

  it("may have no description, and no tools", async () => {
    await using server = await turnServer([hello]);
    const tools = [
      { type: "namespace", name: "a", description: null, tools: [{ type: "function", name: "f" }] },
      { type: "namespace", name: "b", description: "B.", tools: [{ type: "function", name: "f" }] },
      { type: "namespace", name: "c", description: "C.", tools: [] },
    ];
    expect((await server.post({ ...ask, tools })).status).toBe(200);
    expect(server.player.last.tools.map(({ name, description }) => [name, description])).toEqual([
      ["a__f", null],
      ["b__f", "b__*: B."],
    ]);
  });

  it("leaves out tools that have no backend here, with a warning", async () => {
    await using server = await turnServer([hello]);
    const tools = [{ ...space, tools: [{ type: "web_search" }, add] }];
    const { status, headers } = await server.post({ ...ask, tools });
    expect(status).toBe(200);
    expect(server.player.last.tools.map(({ name }) => name)).toEqual(["mcp__math__add"]);
    const warned = JSON.parse(headers["x-gpt-oss-warnings"] as string).map(({ param }: { param: string }) => param);
    expect(warned).toEqual(["tools[0].tools[0]"]);
  });

  it("holds no other namespace", async () => {
    await using server = await turnServer([hello]);
    const tools = [{ ...space, tools: [add, { ...space, name: "inner" }] }];
    const { status, json } = await server.post({ ...ask, tools });
    expect([status, json.error.param, json.error.code]).toEqual([400, "tools[0].tools[1].type", "invalid_value"]);
    expect(json.error.message).toBe(
      `Expected function or custom, because a namespace holds no other namespace, for 'tools[0].tools[1].type' but received "namespace".`,
    );
  });

  it("may have members about the loading of its tools", async () => {
    await using server = await turnServer([hello]);
    const deferred = { ...add, defer_loading: true, output_schema: { type: "object" }, allowed_callers: null };
    await server.post({ ...ask, tools: [{ ...space, tools: [deferred, { ...run, defer_loading: true }] }] });
    expect(server.warnings).toEqual([]);
  });

  it("does not exist in chats", async () => {
    await using server = await turnServer([hello]);
    const { status, body } = await post(server.app, "/v1/chat/completions", asking({ tools: [space] }));
    expect([status, body.error.param]).toEqual([400, "tools[0].type"]);
  });
});

describe("a call in a namespace", () => {
  const items = [
    { type: "function_call", call_id: "call_1", namespace: "mcp__math", name: "add", arguments: '{"a":1}' },
    { type: "custom_tool_call", call_id: "call_2", namespace: "mcp__math", name: "run", input: "x" },
  ];

  it("has namespace and name apart, whole and in every event", async () => {
    await using server = await turnServer([adding]);
    expect((await server.post(ask)).json.output).toMatchObject(items);
    const events = streamEvents((await server.post({ ...ask, stream: true })).text);
    expect(replayed(events).output).toMatchObject(items);
    const told = events.filter(({ type }) => type.startsWith("response.output_item."));
    expect(told).toHaveLength(4);
    for (const { item } of told) expect(item).toMatchObject({ namespace: "mcp__math" });
    const done = events.find(({ type }) => type === "response.function_call_arguments.done");
    expect(done).toMatchObject({ name: "add" });
  });

  it("is read back from items and from a stored response", async () => {
    await using server = await turnServer([adding]);
    const { id, output } = (await server.post(ask)).json;
    const results = [
      { type: "function_call_output", call_id: "call_1", output: "2" },
      { type: "custom_tool_call_output", call_id: "call_2", output: "y" },
    ];
    const called = (callId: string, name: string, written: string) => ({
      role: "assistant",
      content: null,
      tool_calls: [{ id: callId, type: "function", function: { name, arguments: written } }],
    });
    const expected = [
      { role: "user", content: "Add." },
      called("call_1", "mcp__math__add", '{"a":1}'),
      called("call_2", "mcp__math__run", '{"input":"x"}'),
      { role: "tool", tool_call_id: "call_1", content: "2" },
      { role: "tool", tool_call_id: "call_2", content: "y" },
    ];
    await server.post({ ...ask, input: [{ role: "user", content: "Add." }, ...output, ...results] });
    expect(server.player.last.messages).toEqual(expected);
    await server.post({ ...ask, input: results, previous_response_id: id });
    expect(server.player.last.messages).toEqual(expected);
    // A client may leave the tools out when it only wants an answer.
    const untold = { ...ask, tools: [], input: [{ role: "user", content: "Add." }, ...output, ...results] };
    expect((await server.post(untold)).status).toBe(200);
    expect(server.player.last.messages).toEqual(expected);
  });

  it.each([7, "", "a b", "<|call|>", "x".repeat(256), {}])("is refused with the namespace %j", async (namespace) => {
    await using server = await turnServer([hello]);
    const item = { type: "function_call", call_id: "c", namespace, name: "f", arguments: "{}" };
    const { status, json } = await server.post({ ...ask, input: [{ role: "user", content: "Hi" }, item] });
    expect([status, json.error.param]).toEqual([400, "input[1].namespace"]);
  });
});

describe("tool_choice", () => {
  it.each([
    [{ type: "function", namespace: "mcp__math", name: "add" }, "mcp__math__add"],
    [{ type: "function", name: "mcp__math.add" }, "mcp__math__add"],
    [{ type: "custom", namespace: "mcp__math", name: "run" }, "mcp__math__run"],
  ])("can be %j", async (tool_choice, name) => {
    await using server = await turnServer([hello]);
    expect((await server.post({ ...ask, tool_choice })).status).toBe(200);
    expect(server.player.last.toolChoice).toEqual({ type: "required", names: [name] });
    const allowed = { type: "allowed_tools", mode: "auto", tools: [tool_choice] };
    expect((await server.post({ ...ask, tool_choice: allowed })).status).toBe(200);
    expect(server.player.last.toolChoice).toEqual({ type: "auto", names: [name] });
  });

  it.each([
    [{ type: "function", name: "add" }, "tool_choice.name"],
    [{ type: "function", namespace: "other", name: "add" }, "tool_choice.name"],
    [{ type: "function", namespace: 7, name: "add" }, "tool_choice.namespace"],
    [{ type: "namespace", name: "mcp__math" }, "tool_choice.type"],
  ])("is refused when it is %j", async (tool_choice, param) => {
    await using server = await turnServer([hello]);
    const { status, json } = await server.post({ ...ask, tool_choice });
    expect([status, json.error.param]).toEqual([400, param]);
  });
});

describe("the declaration of a namespace", () => {
  const flat = { type: "function", name: "mcp__math__add" };
  it.each([
    [[{ ...space, name: undefined }], "tools[0].name"],
    [[{ ...space, name: "a b" }], "tools[0].name"],
    [[{ ...space, name: "" }], "tools[0].name"],
    [[{ ...space, name: "x".repeat(65) }], "tools[0].name"],
    [[{ ...space, description: 7 }], "tools[0].description"],
    [[{ ...space, tools: undefined }], "tools[0].tools"],
    [[{ ...space, tools: {} }], "tools[0].tools"],
    [[{ ...space, tools: [7] }], "tools[0].tools[0]"],
    [[{ ...space, tools: [{}] }], "tools[0].tools[0].type"],
    [[{ ...space, tools: [{ type: "function" }] }], "tools[0].tools[0].name"],
    [[{ ...space, tools: [{ ...add, parameters: 7 }] }], "tools[0].tools[0].parameters"],
    [[{ ...space, tools: [{ ...run, format: {} }] }], "tools[0].tools[0].format.type"],
    [[{ ...space, tools: [add, add] }], "tools[0].tools[1].name"],
    [[space, space], "tools[1].tools[0].name"],
    [[flat, space], "tools[1].tools[0].name"],
    [[space, flat], "tools[1].name"],
    [[space, { ...space, name: "mcp__math__" }], "tools[1].tools[0].name"],
    [
      [0, 1].map((n) => ({
        ...space,
        name: `s${n}`,
        tools: Array.from({ length: 600 }, (_, index) => ({ type: "function", name: `f${index}` })),
      })),
      "tools[1].tools[424].name",
    ],
  ])("is refused where it is wrong: %#", async (tools, param) => {
    await using server = await turnServer([hello]);
    const { status, json } = await server.post({ ...ask, tools });
    expect([status, json.error.param]).toEqual([400, param]);
    expect(server.player.requests).toEqual([]);
  });
});
