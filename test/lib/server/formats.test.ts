import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Engine } from "../../../lib/engine.js";
import { createServer } from "../../../lib/server/index.js";
import { capturedLog } from "../../support/captured-log.js";
import type { Json } from "../../support/server.js";

/** Schemas of formats and tools over HTTP, with the real grammar and a model of random weights. */

let engine: Engine;
let app: FastifyInstance;
const { logger, of } = capturedLog();
const warnings: Json[] = of.warn;
beforeAll(async () => {
  engine = await Engine.load("synthetic:wide", { backend: "cpu", threads: 1, contextLength: 4096 });
  app = await createServer({ engine, modelName: "gpt-oss-20b", logger, cors: ["https://a.example"] });
});
afterAll(async () => {
  await app.close();
  await engine.close();
});
beforeEach(() => void warnings.splice(0));

const user = { role: "user", content: "Hi" };
const header = "x-gpt-oss-warnings";

async function post(url: string, fields: object) {
  const payload = { model: "gpt-oss-20b", ...fields };
  const answer = await app.inject({ method: "POST", url, payload, headers: { origin: "https://a.example" } });
  const told = answer.headers[header];
  return {
    status: answer.statusCode,
    headers: answer.headers,
    text: answer.payload,
    body: (): Json => answer.json(),
    warnings: (told === undefined ? [] : JSON.parse(String(told))) as { param: string; message: string }[],
  };
}
const chat = (fields: object) =>
  post("/v1/chat/completions", { messages: [user], reasoning_effort: "none", max_tokens: 60, ...fields });

const schema = {
  type: "object",
  properties: { n: { type: "integer", minimum: 1, maximum: 9 } },
  required: ["n"],
  additionalProperties: false,
};
/** The grammar does not support look-behind. */
const odd = { type: "object", properties: { mail: { type: "string", pattern: "^(?<=a).*$" } }, required: ["mail"] };

describe("a schema in a chat's format", () => {
  it.each([
    ["where OpenAI has it", { type: "json_schema", json_schema: { name: "a", schema } }],
    ["beside json_object", { type: "json_object", schema }],
    ["beside json_schema", { type: "json_schema", schema, strict: true, name: "a" }],
  ])("%s is kept to", async (_, response_format) => {
    for (let seed = 1; seed <= 4; seed++) {
      const { status, body, warnings } = await chat({ response_format, seed });
      expect([status, warnings]).toEqual([200, []]);
      const { content } = body().choices[0].message;
      expect(JSON.parse(content)).toEqual({ n: expect.any(Number) });
    }
  });

  it("is kept to in completions, too", async () => {
    const format = { response_format: { type: "json_object", schema } };
    const { status, body } = await post("/v1/completions", { prompt: "Hi", max_tokens: 60, seed: 1, ...format });
    expect(status).toBe(200);
    expect(JSON.parse(body().choices[0].text)).toEqual({ n: expect.any(Number) });
  });

  it("is kept to in a response, beside json_object as well", async () => {
    for (const format of [
      { type: "json_object", schema },
      { type: "json_schema", name: "a", schema, strict: true },
    ]) {
      const asked = { input: "Hi", reasoning: { effort: "none" }, max_output_tokens: 60, seed: 1, text: { format } };
      const { status, body } = await post("/v1/responses", asked);
      expect([status, body().text.format]).toEqual([200, format]);
      expect(JSON.parse(body().output.at(-1).content[0].text)).toEqual({ n: expect.any(Number) });
    }
  });

  it("may have a property named __proto__", async () => {
    const named = JSON.parse(
      '{"type":"object","properties":{"__proto__":{"const":1}},"required":["__proto__"],"additionalProperties":false}',
    );
    const format = { type: "json_schema", json_schema: { name: "a", strict: true, schema: named } };
    const { status, body } = await chat({ response_format: format, seed: 1 });
    expect(status).toBe(200);
    expect(body().choices[0].message.content.replace(/\s/g, "")).toBe('{"__proto__":1}');
  });
});

/** The schema that a request asks for, in each place that has one. */
function places(property: object, strict: boolean): [url: string, fields: object][] {
  const whole = { type: "object", properties: { f: property }, required: ["f"], additionalProperties: false };
  const named = { name: "a", strict, schema: whole };
  const declared = { name: "t", strict, parameters: whole };
  return [
    [
      "/v1/chat/completions",
      { messages: [user], max_tokens: 1, response_format: { type: "json_schema", json_schema: named } },
    ],
    ["/v1/chat/completions", { messages: [user], max_tokens: 1, tools: [{ type: "function", function: declared }] }],
    ["/v1/responses", { input: "x", max_output_tokens: 1, text: { format: { type: "json_schema", ...named } } }],
    ["/v1/responses", { input: "x", max_output_tokens: 1, tools: [{ type: "function", ...declared }] }],
  ];
}

describe("a schema as the SDKs send it", () => {
  const formats = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];
  it.each([
    ...formats.map((format) => ({ type: "string", format })),
    { type: "string", format: "email", pattern: "^[a-z]+@[a-z]+\\.[a-z]{2,}$" },
    { type: "string", format: "date-time", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$" },
    { type: "string", format: "uuid", pattern: "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$" },
    { type: "string", format: "starts_with", pattern: "^ab.*" },
    { type: "string", format: "no-such-format" },
    { type: "number", multipleOf: 0.5 },
    { type: "integer", multipleOf: 5 },
  ])("%j is enforced where it is strict", async (property) => {
    for (const [url, fields] of places(property, true)) {
      const { status, warnings } = await post(url, fields);
      expect([url, status, warnings]).toEqual([url, 200, []]);
    }
  });

  it.each([
    { type: "object", propertyNames: { type: "string" }, additionalProperties: { type: "number" } },
    { type: "object", propertyNames: { not: { const: "a" } } },
    { type: "array", items: [{ type: "string" }], additionalItems: false },
    { type: "string", pattern: "^(?=a).*" },
    { type: "string", pattern: "^(?<=a).*" },
    { type: "string", pattern: "(" },
    { type: "array", items: { type: "string" }, uniqueItems: true },
    { oneOf: [{ type: "string" }, { type: "number" }], discriminator: { propertyName: "t" } },
    { oneOf: [{ type: "string" }, { minLength: 2 }] },
    { type: "string", "x-note": 1 },
    { type: "number", multipleOf: 1e-30 },
    { not: { type: "string" } },
    { type: "array", contains: { type: "string" } },
    { $ref: "https://example.com/schema" },
    { type: "text" },
    { minimum: "1" },
  ])("%j is never refused where it is not strict", async (property) => {
    for (const [url, fields] of places(property, false))
      expect([url, (await post(url, fields)).status]).toEqual([url, 200]);
  });
});

describe("a schema that the engine does not support", () => {
  const tool = (name: string, parameters: object, strict?: boolean) => {
    return { type: "function", function: { name, parameters, ...(strict !== undefined && { strict }) } };
  };

  it("of a tool is given up alone: the others keep theirs, streamed or whole", async () => {
    const tools = [tool("other", odd), tool("forecast", schema)];
    const calls: Json[] = [];
    for (let seed = 1; seed <= 12; seed++) {
      const { status, body, warnings, headers } = await chat({ tools, tool_choice: "required", seed });
      expect(status).toBe(200);
      expect(warnings).toEqual([
        { param: "tools[0].function.parameters", message: expect.stringContaining("pattern") },
      ]);
      expect(headers["access-control-expose-headers"]).toContain(header);
      calls.push(...(body().choices[0].finish_reason === "tool_calls" ? body().choices[0].message.tool_calls : []));
    }
    const forecasts = calls.filter(({ function: { name } }) => name === "forecast");
    expect(forecasts.length).toBeGreaterThan(0);
    for (const { function: called } of forecasts)
      expect(JSON.parse(called.arguments)).toEqual({ n: expect.any(Number) });

    const streamed = await chat({ tools, tool_choice: "required", seed: 1, stream: true });
    expect([streamed.status, streamed.headers["content-type"]]).toEqual([200, "text/event-stream"]);
    expect(streamed.warnings).toHaveLength(1);

    const flat = tools.map(({ function: declared }) => ({ type: "function", ...declared }));
    for (const stream of [false, true]) {
      const asked = { input: "Hi", max_output_tokens: 20, tools: [{ type: "web_search" }, ...flat], stream };
      const response = await post("/v1/responses", asked);
      expect(response.status).toBe(200);
      expect(response.warnings.map(({ param }) => param)).toEqual(["tools[0]", "tools[1].parameters"]);
    }
    // Once in the log of each endpoint, even when the warning repeats.
    expect(warnings.map(([line]) => line.param)).toEqual([
      "tools[0].function.parameters",
      "tools[0]",
      "tools[1].parameters",
    ]);
  });

  it("of a tool that is strict refuses the request, by name", async () => {
    const { status, body } = await chat({ tools: [tool("a", schema), tool("b", odd, true)] });
    expect([status, body().error.param]).toEqual([400, "tools[1].function.parameters"]);
    const streamed = await chat({ tools: [tool("a", schema), tool("b", odd, true)], stream: true });
    expect([streamed.status, streamed.body().error.param]).toEqual([400, "tools[1].function.parameters"]);
  });

  it.each([
    [
      "json_schema",
      { type: "json_schema", json_schema: { name: "a", strict: false, schema: odd } },
      "response_format.json_schema.schema",
    ],
    [
      "json_schema, strict absent",
      { type: "json_schema", json_schema: { name: "a", schema: odd } },
      "response_format.json_schema.schema",
    ],
    ["json_object", { type: "json_object", schema: odd }, "response_format.schema"],
  ])("of a format that is not strict is described only: %s", async (_, response_format, param) => {
    const { status, body, warnings } = await chat({ response_format, seed: 1, max_tokens: 200 });
    expect([status, warnings.map((warning) => warning.param)]).toEqual([200, [param]]);
    const { message, finish_reason } = body().choices[0];
    if (finish_reason === "stop") expect(JSON.parse(message.content)).toBeTypeOf("object");
    const { tokens } = (await post("/tokenize", { messages: [user], response_format })).body();
    expect(engine.tokenizer.decode(tokens)).toContain(JSON.stringify(odd));
  });

  it("of text.format that is not strict is described only", async () => {
    const format = { type: "json_schema", name: "a", schema: odd };
    const asked = { input: "Hi", reasoning: { effort: "none" }, max_output_tokens: 100, seed: 1, text: { format } };
    const { status, warnings } = await post("/v1/responses", asked);
    expect([status, warnings.map(({ param }) => param)]).toEqual([200, ["text.format.schema"]]);
    const strict = await post("/v1/responses", { ...asked, text: { format: { ...format, strict: true } } });
    expect([strict.status, strict.body().error.param]).toEqual([400, "text.format.schema"]);
  });

  it("is told in a header of ASCII that does not grow without end", async () => {
    const tools = Array.from({ length: 40 }, (_, i) => {
      return tool(`f${i}`, { type: "object", properties: { [`é${"y".repeat(250)}`]: { pattern: "^(?<=a)" } } });
    });
    const { headers, warnings } = await chat({ tools, max_tokens: 1 });
    expect(headers[header]).toMatch(/^[ -~]{1,8000}$/);
    expect(warnings).toHaveLength(17);
    expect(warnings.at(-1)).toEqual({ param: null, message: "and 24 more" });
  });
});
