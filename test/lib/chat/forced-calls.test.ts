import { Ajv } from "ajv";
import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../../lib/index.js";
import { createServer } from "../../../lib/server/index.js";
import { chat, type Json } from "../../support/server.js";
import { draws } from "../../support/thorough.js";

/**
 * Rows 11 and 12 of our list of failures of other servers. Forced calls and forced answers hold for a model of random
 * weights, and for a model without training on tools and schemas.
 */

const ajv = new Ajv({ strict: false });
const object = (properties: object, required = Object.keys(properties)) => ({
  type: "object",
  properties,
  required,
  additionalProperties: false,
});
const text = { type: "string", maxLength: 20 };
const schemas = {
  get_system_health: object({}),
  markdown_to_html: object({ markdown: text }),
  detect_language: object({ text }),
  generate_chart: object({
    data: { type: "array", items: { type: "array", items: { type: "integer" }, maxItems: 2 }, maxItems: 3 },
    chart_type: { type: "string", enum: ["line", "bar", "scatter"] },
    title: text,
  }),
  query_database: object({
    table: text,
    columns: { type: "array", items: text, maxItems: 3 },
    limit: { type: "integer" },
  }),
  get_weather: object({ location: text, unit: { enum: ["celsius", "fahrenheit"] } }, ["location"]),
};
const names = Object.keys(schemas) as (keyof typeof schemas)[];
const tools = names.map((name) => ({ type: "function", function: { name, parameters: schemas[name] } }));

/** Little reasoning, and enough room for the rest. */
const brief = { reasoning: { max_tokens: 8 }, max_tokens: 300 };

/** Fifty shapes of answers. */
const formats: object[] = [
  ...["string", "integer", "number", "boolean", "null"].map((type) => ({ type, maxLength: 20 })),
  ...[1, 2, 3, 4, 5].map((count) => object(Object.fromEntries(names.slice(0, count).map((name) => [name, text])))),
  ...[1, 2, 3, 4, 5].map((most) => ({ type: "array", items: { type: "integer" }, minItems: 1, maxItems: most })),
  ...[1, 2, 3, 4, 5].map((count) => ({ enum: names.slice(0, count) })),
  ...[1, 2, 3, 4, 5].map((depth) => {
    let schema: object = { type: "boolean" };
    for (let level = 0; level < depth; level++) schema = object({ [`level_${level}`]: schema });
    return schema;
  }),
  ...[1, 2, 3, 4, 5].map((value) => ({ const: { value, list: [value, String(value)] } })),
  ...[1, 2, 3, 4, 5].map((least) => ({ type: "string", minLength: least, maxLength: least + 3 })),
  ...[1, 2, 3, 4, 5].map((low) => ({ type: "integer", minimum: low, maximum: low * 10 })),
  ...[1, 2, 3, 4, 5].map((count) => ({ anyOf: [{ type: "boolean" }, object({ n: { enum: [count] } })] })),
  ...Object.values(schemas).slice(1),
];

describe.each(["synthetic:wide", "demo"])("%s", (name) => {
  let engine: Engine;
  let app: FastifyInstance;

  beforeAll(async () => {
    engine = await Engine.load(name, { backend: "cpu", contextLength: 4096 });
    app = await createServer({ engine, modelName: "gpt-oss-20b" });
  });

  afterAll(async () => {
    await app.close();
    await engine.close();
  });

  async function answers(count: number, fields: (seed: number) => object): Promise<Json[]> {
    const seeds = Array.from({ length: count }, (_, seed) => seed);
    return Promise.all(
      seeds.map(async (seed) => {
        const { status, body } = await chat(app, { ...brief, seed, ...fields(seed) });
        expect([status, body.error]).toEqual([200, undefined]);
        return body.choices[0];
      }),
    );
  }

  function expectCall({ message, finish_reason }: Json): keyof typeof schemas {
    expect(finish_reason).toBe("tool_calls");
    expect(message.tool_calls).toHaveLength(1);
    const { name, arguments: written } = message.tool_calls[0].function as {
      name: keyof typeof schemas;
      arguments: string;
    };
    const isValid = ajv.validate(schemas[name], JSON.parse(written));
    expect(isValid, `${name} ${written}`).toBe(true);
    return name;
  }

  it("row 11: calls one of the tools when a call is required, with arguments of its schema", async () => {
    const made = await answers(draws(40, 200), () => ({ tools, tool_choice: "required" }));
    const called = new Set(made.map(expectCall));
    if (name !== "demo") expect(called.size).toBeGreaterThan(1); // the demo model has a favourite
  }, 300_000);

  it("row 11: calls the requested tool", async () => {
    const named = (seed: number) => names[seed % names.length]!;
    const made = await answers(30, (seed) => ({
      tools,
      tool_choice: { type: "function", function: { name: named(seed) } },
    }));
    expect(made.map(expectCall)).toEqual(made.map((_, seed) => named(seed)));
  }, 300_000);

  it("row 11: calls no tool when none is allowed", async () => {
    for (const { message, finish_reason } of await answers(draws(6, 30), () => ({ tools, tool_choice: "none" }))) {
      expect(message.tool_calls).toBeUndefined();
      expect(["stop", "length"]).toContain(finish_reason);
    }
  }, 300_000);

  it("row 11: an unknown name is refused", async () => {
    const { status, body } = await chat(app, {
      tools,
      tool_choice: { type: "function", function: { name: "f" } },
    });
    expect([status, body.error.param]).toEqual([400, "tool_choice.function.name"]);
  });

  it("row 12: an unsupported part of a schema is refused by name", async () => {
    const schema = { type: "array", uniqueItems: true };
    const format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
    const strict = { type: "function", function: { name: "f", strict: true, parameters: object({ list: schema }) } };
    for (const [fields, param] of [
      [{ response_format: format }, "response_format.json_schema.schema"],
      [{ tools: [strict], tool_choice: "required" }, "tools[0].function.parameters"],
    ] as const) {
      const { status, body } = await chat(app, fields);
      expect([status, body.error.param]).toEqual([400, param]);
      expect(body.error.message).toContain('"uniqueItems" is not supported');
    }
  });

  it("row 12: answers in the format, with and without reasoning", async () => {
    expect(formats).toHaveLength(50);
    const made = await answers(formats.length, (seed) => ({
      response_format: { type: "json_schema", json_schema: { name: "answer", schema: formats[seed] } },
      ...(seed % 2 === 0 && { reasoning_effort: "none", reasoning: {} }),
    }));
    for (const [i, { message, finish_reason }] of made.entries()) {
      expect(finish_reason).toBe("stop");
      if (i % 2 === 0) expect(message.reasoning).toBeUndefined();
      const isValid = ajv.validate(formats[i]!, JSON.parse(message.content));
      expect(isValid, `${JSON.stringify(formats[i])} ${message.content}`).toBe(true);
    }
  }, 300_000);
});
