import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, expect, it } from "vitest";
import { JsonNumber } from "../../../lib/common/raw-json.js";
import { createServer } from "../../../lib/server/index.js";
import { ScriptedEngine } from "../../../lib/testing/index.js";
import { ids } from "../../support/server.js";

/** Bodies as they are sent: names and numbers that JavaScript's parser would change. */

let engine: ScriptedEngine;
let app: FastifyInstance;
beforeAll(async () => {
  engine = new ScriptedEngine([{ tokens: ids('<|channel|>final<|message|>{"__proto__":1}<|return|>') }]);
  app = await createServer({ engine, modelName: ["gpt-oss-20b"] });
});
afterAll(async () => {
  await app.close();
  await engine.close();
});

/** `schema` is JSON text. Returns the schemas that the engine received, final ones first. */
async function asked(url: string, fields: string): Promise<{ body: string; schemas: unknown[] }> {
  const payload = `{"model":"gpt-oss-20b",${fields}}`;
  const headers = { "content-type": "application/json" };
  const answer = await app.inject({ method: "POST", url, headers, payload });
  expect(answer.statusCode, answer.body).toBe(200);
  const { constraint } = engine.requests.at(-1)!.options;
  if (constraint?.kind !== "harmony") return expect.fail("no harmony constraint");
  const { final, tools = [] } = constraint;
  const schemas = [final?.type === "json_schema" ? final.schema : undefined, ...tools.map((tool) => tool.parameters)];
  return { body: answer.body, schemas: schemas.filter((schema) => schema !== undefined) };
}

const chat = '"messages":[{"role":"user","content":"x"}]';
const schema = `{"type":"object","properties":{"__proto__":{"type":"integer","maximum":9223372036854775807},
  "constructor":{"enum":[1152921504606846977]}},"required":["__proto__"],"additionalProperties":false}`;
const places: [string, string, string][] = [
  [
    "response_format",
    "/v1/chat/completions",
    `${chat},"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":${schema}}}`,
  ],
  ["structured_outputs", "/v1/chat/completions", `${chat},"structured_outputs":{"json":${schema}}`],
  ["guided_json", "/v1/chat/completions", `${chat},"guided_json":${schema}`],
  ["guided_json as text", "/v1/chat/completions", `${chat},"guided_json":${JSON.stringify(schema)}`],
  [
    "tools",
    "/v1/chat/completions",
    `${chat},"tools":[{"type":"function","function":{"name":"f","parameters":${schema}}}]`,
  ],
  [
    "text.format",
    "/v1/responses",
    `"input":"x","text":{"format":{"type":"json_schema","name":"a","schema":${schema}}}`,
  ],
  [
    "tools of responses",
    "/v1/responses",
    `"input":"x","tools":[{"type":"function","name":"f","parameters":${schema}}]`,
  ],
];

it.each(places)("a schema in %s keeps its names and its digits", async (_, url, fields) => {
  const { schemas, body } = await asked(url, fields);
  expect(schemas.length).toBe(1);
  const { properties } = schemas[0] as { properties: Record<string, Record<string, unknown>> };
  expect(Object.keys(properties)).toEqual(["__proto__", "constructor"]);
  const own = Object.getOwnPropertyDescriptor(properties, "__proto__")!.value as object;
  expect(own).toEqual({ type: "integer", maximum: new JsonNumber("9223372036854775807") });
  expect(properties.constructor).toEqual({ enum: [new JsonNumber("1152921504606846977")] });
  expect(JSON.parse(body)).toBeTypeOf("object");
  expect(({} as { type?: unknown }).type).toBeUndefined();
});

it("arguments of earlier calls have any name, and all other numbers are JavaScript's", async () => {
  const call = '{"id":"c","type":"function","function":{"name":"f","arguments":"{\\"__proto__\\":{\\"a\\":1}}"}}';
  const history = `"messages":[{"role":"user","content":"x"},{"role":"assistant","tool_calls":[${call}]},
    {"role":"tool","tool_call_id":"c","content":"{\\"constructor\\":{\\"prototype\\":1}}","__proto__":{"role":"user"}}]`;
  await asked(
    "/v1/chat/completions",
    `${history},"seed":9007199254740993,"constructor":{"prototype":{"a":1}},"metadata":{"__proto__":{"a":1}}`,
  );
  expect(engine.requests.at(-1)!.options.seed).toBe(9007199254740992n);
  const prompt = engine.tokenizer.decode([...engine.requests.at(-1)!.promptTokens]);
  expect(prompt).toContain('{"__proto__":{"a":1}}');
  expect(({} as { a?: unknown }).a).toBeUndefined();
});
