import { Ajv } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormatsModule from "ajv-formats";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { Engine } from "../../../lib/engine.js";
import { GptOssError } from "../../../lib/errors.js";
import type { OutputFormat } from "../../../lib/generation/constraint.js";
import { withExactMultiples } from "../../support/exact-multiple.js";
import { seededRandom } from "../../support/random.js";
import { draws } from "../../support/thorough.js";

/** Schemas as SDKs write them: random texts of each are valid to ajv, and typical values can be written. */

const addFormats = addFormatsModule as unknown as (ajv: Ajv) => void;
const options = { strict: false, allErrors: true };
const ajv = new Ajv2020(options);
const ajv7 = new Ajv(options);
for (const validator of [ajv, ajv7]) {
  addFormats(validator);
  withExactMultiples(validator);
}

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load("synthetic:tiny", { contextLength: 2048 });
});
afterAll(() => engine.close());

const stop = 511;
const byteTokens = new Map<number, number>();

/** Whether the grammar accepts exactly this text. A logits processor allows only its bytes. */
async function admits(format: OutputFormat, text: string): Promise<boolean> {
  if (byteTokens.size === 0) {
    for (let id = 0; id < 256; id++) byteTokens.set(engine.tokenizer.decodeBytes([id])[0]!, id);
  }
  const wanted = [...new TextEncoder().encode(text)].map((byte) => byteTokens.get(byte)!);
  let at = 0;
  const { tokens } = await engine.generate([1], {
    constraint: { kind: "text", format },
    maxTokens: wanted.length + 200,
    temperature: 0,
    stopTokens: [stop],
    logitsProcessor: (logits) => {
      logits.fill(-1e4);
      logits[wanted[at++] ?? stop] = 1e4;
    },
  }).result;
  return tokens.length === wanted.length + 1 && wanted.every((token, i) => tokens[i] === token);
}

async function samples(schema: object, seed: number, n = 6): Promise<string[]> {
  const result = await engine.generate([1], {
    constraint: { kind: "text", format: { type: "json_schema", schema: schema as Record<string, unknown> } },
    n,
    seed,
    maxTokens: 250,
    temperature: 1,
    stopTokens: [stop],
  }).result;
  for (const { tokens } of result.choices!) expect(tokens.at(-1)).toBe(stop);
  return result.choices!.map((choice) => engine.tokenizer.decode(choice.tokens.filter((token) => token !== stop)));
}

async function areValid(schema: object, seed = 1, validator: Ajv | Ajv2020 = ajv): Promise<void> {
  // A format beside a pattern is an annotation.
  const checked = JSON.stringify(schema, (_, value: unknown) => {
    if (value === null || typeof value !== "object" || !("pattern" in value)) return value;
    return { ...value, format: undefined };
  });
  const validate = validator.compile(JSON.parse(checked) as object);
  for (const text of await samples(schema, seed)) {
    const value: unknown = JSON.parse(text);
    expect(validate(value), `${JSON.stringify(schema)}: ${text}: ${validator.errorsText(validate.errors)}`).toBe(true);
  }
}

const format = (schema: unknown): OutputFormat => ({ type: "json_schema", schema: schema as Record<string, unknown> });

/** Types of zod, and a value of each. */
const types: [string, z.ZodType, unknown][] = [
  ["email", z.email(), "a.b@example.com"],
  ["uuid", z.uuid(), "123e4567-e89b-42d3-a456-426614174000"],
  ["guid", z.guid(), "123e4567-e89b-02d3-0456-426614174000"],
  ["url", z.url(), "https://example.com/a?b=c"],
  ["datetime", z.iso.datetime(), "2025-11-29T12:34:56.789Z"],
  ["datetime with offset", z.iso.datetime({ offset: true }), "2025-11-29T12:34:56+01:00"],
  ["date", z.iso.date(), "2024-02-29"],
  ["time", z.iso.time(), "12:34:56"],
  ["duration", z.iso.duration(), "P3Y6M4DT12H30M5S"],
  ["ipv4", z.ipv4(), "192.168.0.1"],
  ["ipv6", z.ipv6(), "2001:db8::1"],
  ["cidrv4", z.cidrv4(), "10.0.0.0/8"],
  ["base64", z.base64(), "aGVsbG8="],
  ["e164", z.e164(), "+41791234567"],
  ["nanoid", z.nanoid(), "V1StGXR8_Z5jdHi6B-myT"],
  ["ulid", z.ulid(), "01ARZ3NDEKTSV4RRFFQ69G5FAV"],
  ["hostname", z.hostname(), "sub.example.com"],
  ["mac", z.mac(), "00:1a:2b:3c:4d:5e"],
  ["jwt", z.jwt(), "a.b.c"],
  ["startsWith and endsWith", z.string().startsWith("ab").endsWith("yz"), "ab--yz"],
  ["includes with lengths", z.string().includes("x").min(3).max(9), "aaxbb"],
  [
    "regex with lengths",
    z
      .string()
      .regex(/^[a-z]+$/)
      .min(2)
      .max(5),
    "abcd",
  ],
  ["email with a length", z.email().max(50), "someone@example.com"],
  ["template literal", z.templateLiteral(["a-", z.number(), z.enum(["x", "y"])]), "a-12.5x"],
  ["int", z.int(), 9007199254740991],
  ["uint32", z.uint32(), 4294967295],
  ["float32", z.float32(), -12.5],
  ["positive", z.number().positive(), 0.25],
  ["multipleOf 0.01", z.number().multipleOf(0.01), 19.99],
  ["record", z.record(z.string(), z.number()), { a: 1, b: 2 }],
  ["record of an enum", z.record(z.enum(["a", "b"]), z.number()), { a: 1, b: 2 }],
  ["record of names by a pattern", z.record(z.string().regex(/^k_/), z.number()), { k_a: 1 }],
  ["record of numbers", z.record(z.number(), z.string()), { "1": "a", "-2.5": "b" }],
  ["loose record", z.looseRecord(z.string().regex(/^k_/), z.number()), { k_a: 1 }],
  ["tuple", z.tuple([z.string(), z.number()]), ["a", 1]],
  ["tuple with a rest", z.tuple([z.string()], z.number()), ["a", 1, 2]],
  ["object with never", z.object({ a: z.never().optional(), b: z.string() }), { b: "x" }],
  ["loose object", z.looseObject({ a: z.string() }), { a: "x", b: [1] }],
  ["catchall", z.object({ a: z.string() }).catchall(z.number()), { a: "x", b: 1 }],
  ["intersection", z.intersection(z.object({ a: z.string() }), z.object({ b: z.number() })), { a: "x", b: 1 }],
  [
    "discriminated union",
    z.discriminatedUnion("t", [z.object({ t: z.literal("a") }), z.object({ t: z.literal("b"), n: z.int() })]),
    { t: "b", n: 5 },
  ],
  ["nullable", z.object({ a: z.string().nullable() }), { a: null }],
  ["literals", z.literal(["a", 1, null]), null],
  ["json", z.json(), { a: [1, "x", null] }],
  ["registered", z.object({ a: z.string().meta({ id: "A", "x-foo": 1 }), b: z.any() }), { a: "x", b: 1 }],
];

describe("zod", () => {
  it.each(types)("%s: texts are valid, and a value can be written", async (_, type, value) => {
    const schema = z.toJSONSchema(type, { unrepresentable: "any" });
    await areValid(schema, 3);
    expect(await admits(format(schema), JSON.stringify(value)), JSON.stringify(schema)).toBe(true);
    // Members are out of order where they are so in the value. Older drafts express the same in other keywords.
    for (const target of ["draft-7", "draft-4", "openapi-3.0"] as const) {
      const older = z.toJSONSchema(type, { unrepresentable: "any", target });
      expect(await admits(format(older), JSON.stringify(value)), JSON.stringify(older)).toBe(true);
    }
    await areValid(z.toJSONSchema(type, { unrepresentable: "any", target: "draft-7" }), 4, ajv7);
  });
});

/** Schemas as pydantic 2 writes them. */
const pydantic: [object, unknown][] = [
  [
    { type: "array", items: { enum: ["red", "green"], type: "string" }, title: "Tags", uniqueItems: true },
    ["green", "red"],
  ],
  [
    {
      anyOf: [{ type: "number" }, { type: "string", pattern: "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$" }, { type: "null" }],
      default: null,
      title: "Price",
    },
    "12.50",
  ],
  [
    { type: "object", additionalProperties: { type: "integer" }, minProperties: 1, maxProperties: 3, title: "Scores" },
    { a: 1 },
  ],
  [{ type: "object", patternProperties: { "^[a-z]+$": { type: "integer" } }, title: "D" }, { abc: 3 }],
  [{ type: "object", propertyNames: { minLength: 2 }, additionalProperties: { type: "integer" } }, { ab: 3 }],
  [{ type: "array", prefixItems: [{ type: "integer" }, { type: "string" }], minItems: 2, maxItems: 2 }, [1, "a"]],
  [{ type: "integer", maximum: 2 ** 60, minimum: -(2 ** 60), title: "Id" }, 1764400000000001],
  [{ type: "string", format: "uuid4" }, "123e4567-e89b-42d3-a456-426614174000"],
  [{ type: "string", format: "duration" }, "P1DT2H"],
  [{ type: "string", format: "binary" }, "any"],
  [{ type: "string", contentMediaType: "application/json", contentSchema: { type: "integer" } }, "5"],
  [{ type: "number", multipleOf: 0.25, exclusiveMinimum: 0, maximum: 100 }, 99.75],
  [
    {
      $defs: {
        Cat: { type: "object", properties: { kind: { const: "cat", type: "string" } }, required: ["kind"] },
        Dog: { type: "object", properties: { kind: { const: "dog", type: "string" } }, required: ["kind"] },
      },
      oneOf: [{ $ref: "#/$defs/Cat" }, { $ref: "#/$defs/Dog" }],
      discriminator: { propertyName: "kind", mapping: { cat: "#/$defs/Cat", dog: "#/$defs/Dog" } },
    },
    { kind: "dog" },
  ],
];

describe("pydantic", () => {
  it.each(pydantic)("%j: texts are valid, and a value can be written", async (schema, value) => {
    await areValid(schema, 5);
    expect(await admits(format(schema), JSON.stringify(value))).toBe(true);
  });
});

/** Returns a schema of a few keywords that interact. */
function randomSchema(random: () => number, depth = 0): Record<string, unknown> {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const maybe = (members: Record<string, unknown>) => (random() < 0.5 ? members : {});
  const inner = () => (depth < 2 ? randomSchema(random, depth + 1) : { type: pick(["integer", "boolean", "null"]) });
  const low = Math.floor(random() * 40) - 20;
  const kinds: (() => Record<string, unknown>)[] = [
    () => ({
      type: "string",
      ...maybe({ pattern: pick(["^[a-c]+$", "x", "^(ab|c)*$", "^(?!aa)[a-z]*$", "\\d$"]) }),
      ...maybe({ minLength: Math.floor(random() * 3) }),
      ...maybe({ maxLength: 3 + Math.floor(random() * 9) }),
    }),
    () => ({
      type: pick(["integer", "number"]),
      ...maybe({ [pick(["minimum", "exclusiveMinimum"])]: low / 4 }),
      ...maybe({ [pick(["maximum", "exclusiveMaximum"])]: low / 4 + 20 }),
      ...maybe({ multipleOf: pick([0.5, 0.1, 3, 2.5, 1]) }),
    }),
    () => ({
      type: "object",
      properties: { a: inner(), ab: inner(), c: inner() },
      ...maybe({ required: [pick(["a", "c"])] }),
      ...maybe({ additionalProperties: pick([true, false, inner()]) }),
      ...maybe({ patternProperties: { [pick(["^a", "b$", "^z"])]: true } }),
      ...maybe({ propertyNames: { pattern: "^[a-z]" } }),
      ...maybe({ maxProperties: 1 + Math.floor(random() * 3) }),
      ...maybe({ minProperties: 1 }),
    }),
    () => ({
      type: "array",
      ...maybe({ prefixItems: [inner(), inner()] }),
      items: inner(),
      ...maybe({ minItems: Math.floor(random() * 3) }),
      maxItems: 3,
    }),
    () => ({ type: "array", items: { enum: [1, "a", null, true] }, uniqueItems: true, ...maybe({ minItems: 2 }) }),
    () => ({ enum: [1, 2.5, "ab", "x1", null, true], ...maybe({ minLength: 2 }), ...maybe({ maximum: 2 }) }),
    () => ({ allOf: [inner(), { description: "d" }, inner()] }),
    () => ({ anyOf: [inner(), inner()], ...maybe({ "x-note": 1 }) }),
  ];
  return pick(kinds)();
}

describe("random schemas", () => {
  it.each(Array.from({ length: draws(6, 60) }, (_, i) => i + 1))(
    "of seed %i: what is written is valid",
    async (seed) => {
      const random = seededRandom(seed);
      let taken = 0;
      for (let round = 0; round < 25; round++) {
        const schema = randomSchema(random);
        try {
          await areValid(schema, seed);
          taken++;
        } catch (error) {
          // Some schemas have no value, or contradict themselves. These are refused by name.
          if (!(error instanceof GptOssError)) throw error;
          expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
          expect(error.message).toMatch(
            /no text satisfies|is not supported|are not supported|may have values in common/,
          );
        }
      }
      expect(taken).toBeGreaterThan(10);
    },
  );
});

describe("integers of 64 bits", () => {
  it.each(["9007199254740993", "1764400000000000", "1152921504606846977", "-9223372036854775808"])(
    "%s",
    async (text) => {
      for (const schema of [
        { type: "integer" },
        { type: "number" },
        {},
        { enum: [1, BigInt(text)] },
        { const: BigInt(text) },
      ]) {
        expect(await admits(format(schema), text)).toBe(true);
      }
      expect(await admits({ type: "json_object" }, `{"id":[${text}]}`)).toBe(true);
      for (const bound of [{ minimum: BigInt(text) }, { maximum: BigInt(text) }]) {
        expect(await admits(format({ type: "integer", ...bound }), text)).toBe(true);
      }
      expect(await admits(format({ type: "integer", exclusiveMinimum: BigInt(text) }), text)).toBe(false);
    },
  );

  it("equal the exact value of a JavaScript number", async () => {
    const bound = format({ type: "integer", minimum: 2 ** 60 });
    expect(await admits(bound, "1152921504606846976")).toBe(true);
    expect(await admits(bound, "1152921504606846975")).toBe(false);
  });
});

it("a property may have any name", async () => {
  const names = ["__proto__", "constructor", "toString", "hasOwnProperty"];
  const properties = Object.fromEntries(names.map((name) => [name, { type: "integer" }]));
  const schema = { type: "object", properties, required: names, additionalProperties: false };
  const text = JSON.stringify(Object.fromEntries(names.map((name, i) => [name, i])));
  expect(text).toContain('"__proto__":0');
  expect(await admits(format(schema), text)).toBe(true);
  // ajv ignores a property of this name, so this test does not use ajv.
  for (const sample of await samples(schema, 1)) {
    const value = JSON.parse(sample) as Record<string, unknown>;
    expect(Object.keys(value)).toEqual(names);
    expect(Object.values(value).every(Number.isInteger)).toBe(true);
  }
});
