import { describe, expect, it } from "vitest";
import { replayed, streamEvents } from "../../support/response-stream.js";
import { call, final, reasoning, turn } from "../../support/scripted-turns.js";
import { turnServer } from "../../support/turn-server.js";

/** The fields of a response that repeat the request, in the forms that OpenAI and Open Responses document. */

const hello = turn([reasoning("They greet."), final("Hello!")]);
const ask = { model: "gpt-oss-20b", input: "Hi" };

async function answered(fields: object): Promise<Record<string, unknown>> {
  await using server = await turnServer([hello]);
  const { status, json, text } = await server.post({ ...ask, ...fields });
  expect(status, text).toBe(200);
  const streamed = replayed(streamEvents((await server.post({ ...ask, ...fields, stream: true })).text));
  const own = { id: json.id, output: json.output };
  expect({ ...streamed, ...own }).toEqual(json);
  return json as unknown as Record<string, unknown>;
}

describe("a response repeats", () => {
  it.each([
    [{ prompt_cache_key: "k" }, { prompt_cache_key: "k" }],
    [{ safety_identifier: "u" }, { safety_identifier: "u" }],
    [{}, { prompt_cache_key: null, safety_identifier: null }],
    [
      { prompt_cache_key: null, safety_identifier: null },
      { prompt_cache_key: null, safety_identifier: null },
    ],
    [{ user: "u" }, { user: "u" }],
    [{}, { presence_penalty: 0, frequency_penalty: 0, temperature: 1, top_p: 1, top_logprobs: 0 }],
    [
      { presence_penalty: -2, frequency_penalty: 0.5 },
      { presence_penalty: -2, frequency_penalty: 0.5 },
    ],
    [
      { top_p: 0, top_logprobs: 0, temperature: 0 },
      { top_p: 0, top_logprobs: 0, temperature: 0 },
    ],
    [{ service_tier: "flex" }, { service_tier: "default" }],
    [{ service_tier: null }, { service_tier: "default" }],
  ])("%j as %j", async (fields, expected) => {
    expect(await answered(fields)).toMatchObject(expected);
  });

  it("a function with every member that a request may leave out", async () => {
    const bare = { type: "function", name: "f" };
    const whole = { ...bare, description: "D", parameters: { type: "object" }, strict: true };
    const { tools } = await answered({ tools: [bare, { ...whole, name: "g" }, { type: "web_search" }] });
    expect(tools).toEqual([
      { ...bare, description: null, parameters: null, strict: false },
      { ...whole, name: "g" },
    ]);
  });

  const custom = { type: "custom", name: "c" };
  const grammar = { syntax: "regex", definition: "a+" };
  const space = { type: "namespace", name: "s" };
  it.each([
    [{ ...custom, format: { type: "grammar", grammar } }, [{ ...custom, format: { type: "grammar", ...grammar } }]],
    [{ ...custom, format: null, description: null }, [custom]],
    [
      { ...space, tools: [{ ...custom, format: { type: "grammar", grammar } }] },
      [{ ...space, description: "", tools: [{ ...custom, format: { type: "grammar", ...grammar } }] }],
    ],
    [{ ...space, description: "D", tools: [] }, []],
    [{ ...space, tools: [{ type: "web_search" }] }, []],
    [
      { ...space, description: "D", tools: [{ type: "function", name: "f" }, { type: "web_search" }] },
      [
        {
          ...space,
          description: "D",
          tools: [{ type: "function", name: "f", description: null, parameters: null, strict: false }],
        },
      ],
    ],
  ])("the tool %j in the form of responses", async (tool, expected) => {
    expect((await answered({ tools: [tool] })).tools).toEqual(expected);
  });

  const schema = { type: "json_schema", name: "n" };
  it.each([
    [null, { type: "text" }],
    [{ type: "json_object" }, { type: "json_object" }],
    [
      { ...schema, schema: { type: "object" } },
      { ...schema, schema: { type: "object" } },
    ],
    [
      { ...schema, schema: true },
      { ...schema, schema: {} },
    ],
    [
      { ...schema, schema: false },
      { ...schema, schema: { not: {} } },
    ],
  ])("the format %j with an object as its schema", async (format, expected) => {
    expect((await answered({ text: { format } })).text).toEqual({ format: expected });
  });

  const functionChoice = { type: "function", name: "f" };
  const nestedChoice = { type: "function", function: { name: "f" } };
  it.each([
    [null, "auto"],
    ["required", "required"],
    [functionChoice, functionChoice],
    [nestedChoice, functionChoice],
    [{ type: "custom", custom: { name: "c" } }, custom],
    [
      { type: "allowed_tools", tools: [functionChoice] },
      { type: "allowed_tools", mode: "auto", tools: [functionChoice] },
    ],
    [
      { type: "allowed_tools", allowed_tools: { mode: "required", tools: [nestedChoice] } },
      { type: "allowed_tools", mode: "required", tools: [functionChoice] },
    ],
  ])("the choice %j in the form of responses", async (choice, expected) => {
    const tools = [{ type: "function", name: "f" }, custom];
    expect((await answered({ tools, tool_choice: choice })).tool_choice).toEqual(expected);
  });
});

describe("a field that may be absent", () => {
  it("is not null in a response", async () => {
    const response = await answered({});
    for (const name of ["user", "prompt_cache_retention", "conversation", "prompt"]) {
      expect(response).not.toHaveProperty(name);
    }
    const [thought] = response.output as object[];
    expect(thought).not.toHaveProperty("encrypted_content");
  });

  it("is not null in an item of a call", async () => {
    await using server = await turnServer([turn([call("f", "{}")])]);
    const { json } = await server.post({ ...ask, tools: [{ type: "function", name: "f" }] });
    expect(Object.values(json.output[0]!)).not.toContain(null);
  });
});
