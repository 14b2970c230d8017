import { describe, expect, it } from "vitest";
import { exactJson } from "../../../lib/common/exact-json.js";
import type { HarmonyConstraint } from "../../../lib/generation/constraint.js";
import { asking, chat, ids, type Json, post, scriptedServer, stream } from "../../support/server.js";

/** `functions` and `function_call`: the form of tools before `tools` and `tool_choice`. */

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const functions = [{ name: "get_weather", description: "Weather", parameters }, { name: "now" }];
const called = ids(
  '<|channel|>analysis<|message|>Ask.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city":"Bern"}<|call|>',
);
const hello = ids("<|channel|>final<|message|>Hello!<|return|>");
const wrote = { name: "get_weather", arguments: '{"city":"Bern"}' };

describe("a call of an old function", () => {
  it("has the old form", async () => {
    await using server = await scriptedServer([{ tokens: called }]);
    const { status, body } = await chat(server.app, { functions });
    expect(status).toBe(200);
    expect(body.choices[0]).toEqual({
      index: 0,
      message: {
        role: "assistant",
        content: null,
        refusal: null,
        reasoning: "Ask.",
        reasoning_content: "Ask.",
        function_call: wrote,
      },
      logprobs: null,
      finish_reason: "function_call",
      stop_reason: null,
    });
  });

  it("has the old form in a stream: the name once, then the arguments", async () => {
    await using server = await scriptedServer([{ tokens: called }]);
    const frames = (await stream(server.app, { functions, include_reasoning: false })).slice(0, -1);
    const deltas = frames.map(({ choices }: Json) => choices[0].delta);
    expect(deltas.slice(0, 2)).toEqual([
      { role: "assistant", content: "" },
      { function_call: { name: "get_weather", arguments: "" } },
    ]);
    const pieces = deltas.slice(2, -1).map((delta: Json) => delta.function_call);
    expect(pieces.map((piece: Json) => Object.keys(piece).join())).toEqual(pieces.map(() => "arguments"));
    expect(pieces.map((piece: Json) => piece.arguments).join("")).toBe(wrote.arguments);
    expect(frames.at(-1)!.choices[0]).toMatchObject({ delta: {}, finish_reason: "function_call" });
    expect(JSON.stringify(frames)).not.toContain("tool_calls");
  });

  it("is cut at a limit as any answer", async () => {
    await using server = await scriptedServer([{ tokens: called }]);
    const { body } = await chat(server.app, { functions, max_tokens: called.length - 2 });
    expect(body.choices[0].finish_reason).toBe("length");
    expect(body.choices[0].message.function_call.name).toBe("get_weather");
  });

  it("comes back in the history with its result", async () => {
    await using server = await scriptedServer([{ tokens: called }, { tokens: hello }]);
    const user = { role: "user", content: "Hi" };
    const { message } = (await chat(server.app, { functions })).body.choices[0];
    const result = { role: "function", name: "get_weather", content: "Sunny" };
    const { status, body } = await chat(server.app, { functions, messages: [user, message, result] });
    expect([status, body.choices[0].finish_reason, body.choices[0].message.content]).toEqual([200, "stop", "Hello!"]);
    expect(body.choices[0].message).not.toHaveProperty("function_call");
    const { text } = server.engine.requests[1]!;
    expect(text).toContain("<|start|>assistant<|channel|>commentary to=functions.get_weather");
    expect(text).toContain("<|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>Sunny<|end|>");
  });
});

describe("old functions", () => {
  it("are described as tools are, also to /tokenize", async () => {
    await using server = await scriptedServer([{ tokens: hello }]);
    const tools = functions.map((declared) => ({ type: "function", function: declared }));
    const rendered = async (fields: object) => (await post(server.app, "/tokenize", asking(fields))).body.tokens;
    expect(await rendered({ functions })).toEqual(await rendered({ tools }));
    expect(await rendered({ functions, function_call: "none" })).toEqual(await rendered({}));
  });

  it("keep integers of 64 bits in their schemas", async () => {
    await using server = await scriptedServer([{ tokens: hello }]);
    const payload = JSON.stringify(asking({ functions: [{ name: "f", parameters: { type: "integer", const: 7 } }] }));
    const headers = { "content-type": "application/json" };
    const wide = payload.replace('"const":7', '"const":9007199254740993');
    await server.app.inject({ method: "POST", url: "/v1/chat/completions", payload: wide, headers });
    const { tools } = server.engine.requests[0]!.options.constraint as HarmonyConstraint;
    expect(exactJson(tools)).toContain('"const":9007199254740993');
  });

  it.each([
    [undefined, { toolChoice: "auto" }],
    ["auto", { toolChoice: "auto" }],
    ["none", { toolChoice: "none" }],
    [{ name: "now" }, { toolChoice: "required", names: ["now"] }],
    [null, { toolChoice: "auto" }],
  ])("function_call %j", async (function_call, expected) => {
    await using server = await scriptedServer([{ tokens: hello }]);
    expect((await chat(server.app, { functions, function_call })).status).toBe(200);
    const { toolChoice, names } = server.engine.requests[0]!.options.constraint as HarmonyConstraint;
    expect({ toolChoice, ...(names !== undefined && { names }) }).toEqual(expected);
  });

  it.each([
    [{ functions: [], function_call: "auto" }],
    [{ functions: [], tools: [] }],
    [{ function_call: "none" }],
    [{ function_call: "auto" }],
    [{ functions: null, function_call: null }],
  ])("%j: there is none", async (fields) => {
    await using server = await scriptedServer([{ tokens: hello }]);
    expect((await chat(server.app, fields)).status).toBe(200);
    expect(server.engine.requests[0]!.options.constraint).toEqual({ kind: "harmony", toolChoice: "none" });
  });

  const tool = { type: "function", function: { name: "f" } };
  /** The grammar does not support look-behind. */
  const odd = { type: "object", properties: { a: { type: "string", pattern: "^(?<=a).*$" } } };
  it.each([
    [{ functions: {} }, "functions"],
    [{ functions: [7] }, "functions[0]"],
    [{ functions: [{}] }, "functions[0].name"],
    [{ functions: [{ name: "a b" }] }, "functions[0].name"],
    [{ functions: [{ name: "f" }, { name: "f" }] }, "functions[1].name"],
    [{ functions: [{ name: "f", description: 7 }] }, "functions[0].description"],
    [{ functions: [{ name: "f", parameters: [] }] }, "functions[0].parameters"],
    [{ functions: [{ name: "\ud800" }] }, "functions[0].name"],
    [{ functions: [{ name: "f", parameters: { enum: ["\ud800"] } }] }, "functions[0].parameters.enum[0]"],
    [{ functions: Array(1025).fill({ name: "f" }) }, "functions"],
    [{ functions: [{ name: "f", parameters: odd, strict: true }] }, "functions[0].parameters"],
    [{ functions, function_call: "any" }, "function_call"],
    [{ functions, function_call: 7 }, "function_call"],
    [{ functions, function_call: [] }, "function_call"],
    [{ functions, function_call: {} }, "function_call.name"],
    [{ functions, function_call: { name: "g" } }, "function_call.name"],
    [{ function_call: { name: "g" } }, "function_call.name"],
    [{ functions, tools: [tool] }, "functions"],
    [{ functions, tool_choice: "auto" }, "tool_choice"],
    [{ tools: [tool], function_call: "auto" }, "function_call"],
  ])("are refused by name (row %#)", async (fields, param) => {
    await using server = await scriptedServer([{ tokens: hello }]);
    const { status, body } = await chat(server.app, fields);
    expect([status, body.error?.param]).toEqual([400, param]);
  });

  it("whose schema is not supported are described only", async () => {
    await using server = await scriptedServer([{ tokens: hello }]);
    const payload = asking({ functions: [{ name: "f", parameters: odd }] });
    const { headers } = await server.app.inject({ method: "POST", url: "/v1/chat/completions", payload });
    const [warning] = JSON.parse(String(headers["x-gpt-oss-warnings"]));
    expect(warning.param).toBe("functions[0].parameters");
  });
});
