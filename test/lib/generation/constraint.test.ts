import { Ajv2020 } from "ajv/dist/2020.js";
import addFormatsModule from "ajv-formats";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../../lib/engine.js";
import type { GptOssError } from "../../../lib/errors.js";
import type { Constraint, HarmonyConstraint, OutputFormat } from "../../../lib/generation/constraint.js";
import type { GenerateOptions } from "../../../lib/generation/generate-options.js";
import type { Completion } from "../../../lib/generation/results.js";
import { messageText } from "../../../lib/harmony/message.js";
import { RecoveringParser } from "../../../lib/harmony/recovering-parser.js";
import { formatTokens } from "../../../lib/harmony/tokens.js";
import { failure } from "../../support/failure.js";
import { draws } from "../../support/thorough.js";

/**
 * Constraints without help from the model: at temperature 1, on random weights (the first 512 tokens of the vocabulary)
 * and on the demo model (full vocabulary, not trained on these tools and schemas).
 */

const addFormats = addFormatsModule as unknown as (ajv: Ajv2020) => void;
const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats(ajv);

let tiny: Engine;
let demo: Engine;
beforeAll(async () => {
  tiny = await Engine.load("synthetic:tiny", { contextLength: 2048 });
  demo = await Engine.load("demo", { contextLength: 2048 });
});
afterAll(() => Promise.all([tiny.close(), demo.close()]));

const prompt = [1, 2, 3];
const startOfTurn = "<|start|>assistant";

async function completions(
  engine: Engine,
  options: GenerateOptions,
  of: number[] | string = prompt,
): Promise<Completion[]> {
  const result = await engine.generate(of, { temperature: 1, ...options }).result;
  return result.choices ?? [result];
}

/** Whole texts: each ends with a stop token, whether or not the limit made it end. */
async function texts(format: OutputFormat, options: GenerateOptions = {}): Promise<string[]> {
  const all = await completions(tiny, { maxTokens: 300, constraint: { kind: "text", format }, ...options });
  for (const { tokens } of all) expect(tiny.info.model.eosTokens).toContain(tokens.at(-1));
  return all.map((one) => one.text);
}

interface Said {
  channel: string | null;
  recipient: string | null;
  text: string;
}

function messages(tokens: number[]): Said[] {
  const parser = new RecoveringParser();
  const events = [...tokens.flatMap((token) => [...parser.push(token)]), ...parser.end()];
  return events.flatMap((event) => {
    if (event.type !== "message") return [];
    const { channel = null, recipient = null } = event.message;
    return [{ channel, recipient, text: messageText(event.message) }];
  });
}

const refusal = (constraint: unknown, options: GenerateOptions = {}) =>
  failure(() => demo.generate("x", { constraint: constraint as Constraint, ...options }).result);

const object = (properties: Record<string, unknown>, required = Object.keys(properties)) => ({
  type: "object",
  properties,
  required,
  additionalProperties: false,
});

const tools: { name: string; parameters: Record<string, unknown> | null }[] = [
  { name: "get_system_health", parameters: { type: "object", properties: {} } },
  { name: "detect_language", parameters: object({ text: { type: "string" } }) },
  {
    name: "generate_chart",
    parameters: object({
      data: { type: "array", items: { type: "array", items: { type: "number" }, minItems: 2, maxItems: 2 } },
      type: { enum: ["line", "bar", "scatter"] },
      x: { type: ["string", "null"] },
    }),
  },
  {
    name: "query",
    parameters: object({ table: { type: "string" }, limit: { type: "integer", minimum: 1, maximum: 100 } }, ["table"]),
  },
  { name: "any-thing", parameters: null },
  {
    name: "plan.day",
    parameters: {
      $defs: {
        step: object({
          at: { type: "string", format: "time" },
          next: { anyOf: [{ $ref: "#/$defs/step" }, { type: "null" }] },
        }),
      },
      ...object({ first: { $ref: "#/$defs/step" } }),
    },
  },
];

describe("forced calls", () => {
  const streams = draws(20, 200);
  it.each(tools)(
    `of $name are valid for ${streams} seeds`,
    async ({ name, parameters }) => {
      const constraint: Constraint = {
        kind: "harmony",
        tools,
        toolChoice: "required",
        names: [name],
        analysisTokens: 2,
      };
      const validate = ajv.compile(parameters ?? { type: "object" });
      // Twenty choices of a seed are twenty random streams.
      const runs = Array.from({ length: streams / 20 }, (_, seed) =>
        completions(demo, { seed, n: 20, maxTokens: 44, constraint }, startOfTurn),
      );
      let valid = 0;
      for (const { tokens } of (await Promise.all(runs)).flat()) {
        expect(tokens.at(-1)).toBe(formatTokens.call);
        const said = messages(tokens);
        const call = said.at(-1);
        expect(call).toMatchObject({ channel: "commentary", recipient: `functions.${name}` });
        expect(said.slice(0, -1).every(({ channel, recipient }) => channel === "analysis" && recipient === null)).toBe(
          true,
        );
        const value: unknown = JSON.parse(call!.text);
        expect(validate(value), `${call!.text}: ${ajv.errorsText(validate.errors)}`).toBe(true);
        valid++;
      }
      expect(valid).toBe(streams);
    },
    300_000,
  );
});

describe("turns", () => {
  const turn = (constraint: Omit<HarmonyConstraint, "kind">, options: GenerateOptions = {}) =>
    completions(
      demo,
      { n: draws(6, 20), maxTokens: 60, constraint: { kind: "harmony", ...constraint }, ...options },
      startOfTurn,
    );

  it("without a forced choice end with a call or a final message, or are cut", async () => {
    for (const { tokens, finishReason } of await turn({ tools }, { seed: 3, maxTokens: 80 })) {
      if (finishReason === "length") {
        expect(tokens.length).toBe(80);
        continue;
      }
      const last = messages(tokens).at(-1)!;
      expect(["final", "commentary"]).toContain(last.channel);
      if (last.channel === "commentary")
        expect(tools.map((tool) => `functions.${tool.name}`)).toContain(last.recipient);
    }
  });

  it('have no recipient with "none"', async () => {
    for (const { tokens, finishReason } of await turn({ tools, toolChoice: "none" }, { seed: 4 })) {
      expect(messages(tokens).every(({ recipient }) => recipient === null)).toBe(true);
      if (finishReason === "stop") expect(messages(tokens).at(-1)!.channel).toBe("final");
      else expect(tokens.length).toBe(60);
    }
  });

  it("are cut by the limit where they promise nothing, at each token", async () => {
    const chat = { temperature: 0, constraint: { kind: "harmony" } } as const;
    const asked = "<|start|>user<|message|>What is the capital of Japan?<|end|><|start|>assistant";
    const prompt = [...demo.tokenizer.encode(asked, { allowedSpecial: "all" })];
    const free = await demo.generate(prompt, { ...chat, maxTokens: 200 }).result;
    expect(free.finishReason).toBe("stop");
    const { length } = free.tokens;
    const limits = Array.from({ length }, (_, i) => i + 1);
    const held = await Promise.all(limits.map((maxTokens) => demo.generate(prompt, { ...chat, maxTokens }).result));
    expect(held.map(({ tokens }) => tokens)).toEqual(limits.map((limit) => free.tokens.slice(0, limit)));
    expect(held.map(({ finishReason }) => finishReason)).toEqual(
      limits.map((limit) => (limit < length ? "length" : "stop")),
    );
  });

  it("stay within their budget of analysis, over all messages", async () => {
    for (const analysisTokens of [0, 1, 7]) {
      for (const { tokens } of await turn({ analysisTokens }, { seed: 5, temperature: 1.5 })) {
        const thought = messages(tokens).filter(({ channel }) => channel === "analysis");
        const used = thought.reduce((sum, { text }) => sum + demo.tokenizer.count(text), 0);
        expect(used).toBeLessThanOrEqual(analysisTokens);
        if (analysisTokens === 0) expect(thought).toEqual([]);
      }
    }
  });

  it("have a final message of the required format", async () => {
    const schema = object({ answer: { type: "integer" }, sure: { type: "boolean" } });
    const validate = ajv.compile(schema);
    for (const { tokens } of await turn({ final: { type: "json_schema", schema }, analysisTokens: 5 }, { seed: 6 })) {
      const last = messages(tokens).at(-1)!;
      expect(last.channel).toBe("final");
      expect(validate(JSON.parse(last.text))).toBe(true);
    }
  });

  it("equal the unconstrained answer of the trained model where that is valid", async () => {
    const chat = { temperature: 0, maxTokens: 200 };
    const messages = [{ role: "user" as const, content: "What is the capital of Japan?" }];
    const free = await demo.chat(messages, chat).result;
    const held = await demo.chat(messages, { ...chat, constraint: { kind: "harmony" } }).result;
    expect(held.content).toBe(free.content);
    expect(held.reasoning).toBe(free.reasoning);
  });

  it("need the full vocabulary", async () => {
    const error = await failure(() => tiny.generate(prompt, { constraint: { kind: "harmony" } }).result);
    expect(error.code).toBe("UNSUPPORTED");
  });
});

/** Typical schemas, one of each kind. */
const schemas: unknown[] = [
  { type: "string" },
  { type: "string", minLength: 3, maxLength: 7 },
  { type: "string", maxLength: 0 },
  { type: "string", minLength: 40 },
  { type: "string", pattern: "^[A-Z]{3}-\\d{4}$" },
  { type: "string", pattern: "(foo|bar)+" },
  { type: "string", pattern: '^["\\\\]{1,3}é$' },
  { type: "string", format: "date-time" },
  { type: "string", format: "date" },
  { type: "string", format: "time" },
  { type: "string", format: "email" },
  { type: "string", format: "uuid" },
  { type: "string", format: "ipv4" },
  { type: "string", format: "uri" },
  { type: "integer" },
  { type: "integer", minimum: -5, maximum: 5 },
  { type: "integer", exclusiveMinimum: 99, exclusiveMaximum: 1001 },
  { type: "integer", multipleOf: 7 },
  { type: "integer", minimum: 0, maximum: 1000, multipleOf: 250 },
  { type: "number" },
  { type: "number", minimum: 0, maximum: 1 },
  { type: "number", exclusiveMinimum: -0.25, exclusiveMaximum: 1e6 },
  { type: "number", maximum: -2.5 },
  { type: "boolean" },
  { type: "null" },
  { type: ["string", "null"] },
  { type: ["integer", "boolean", "array"] },
  { enum: ["red", "green", 3, null, { a: [1, "é"] }] },
  { const: 'only\n"this"' },
  { type: "string", enum: ["a", "ab", "abc"] },
  { type: "array", items: { type: "integer" } },
  { type: "array", items: { type: "string", maxLength: 4 }, minItems: 2, maxItems: 5 },
  { type: "array", prefixItems: [{ const: "x" }, { type: "number" }], items: false, minItems: 2 },
  { type: "array", items: { type: "array", items: { type: "boolean" }, maxItems: 2 }, maxItems: 3 },
  { type: "object" },
  { type: "object", additionalProperties: { type: "integer" } },
  { type: "object", properties: { a: { type: "string" } }, additionalProperties: true },
  object(
    { name: { type: "string" }, age: { type: "integer", minimum: 0 }, mail: { type: "string", format: "email" } },
    ["name"],
  ),
  object({ a: object({ b: object({ c: { type: "array", items: object({ d: { type: "null" } }) } }) }) }),
  object({ 'quote"d': { type: "integer" }, ключ: { type: "boolean" } }),
  { type: "object", required: ["x", "y"] },
  { anyOf: [{ type: "integer" }, { type: "string", maxLength: 3 }, object({ z: { type: "null" } })] },
  {
    oneOf: [
      object({ kind: { const: "circle" }, radius: { type: "number", exclusiveMinimum: 0 } }),
      object({ kind: { const: "square" }, side: { type: "number", minimum: 1 } }),
    ],
  },
  {
    allOf: [
      { type: "object", properties: { id: { type: "integer" } }, required: ["id"] },
      { properties: { id: { minimum: 10, maximum: 99 }, tag: { type: "string" } }, required: ["tag"] },
    ],
  },
  {
    $ref: "#/$defs/tree",
    $defs: { tree: object({ v: { type: "integer" }, kids: { type: "array", items: { $ref: "#/$defs/tree" } } }) },
  },
  {
    $defs: {
      list: { anyOf: [{ type: "null" }, object({ head: { type: "boolean" }, tail: { $ref: "#/$defs/list" } })] },
    },
    ...object({ list: { $ref: "#/$defs/list" } }),
  },
  { type: "array", items: { $ref: "#" } },
  object({ level: { enum: ["low", "high"] }, note: { type: ["string", "null"], maxLength: 20 } }),
  { title: "T", description: "D", default: {}, examples: [1], ...object({ when: { type: "string", format: "date" } }) },
  true,
];

describe("texts", () => {
  it("there are 50 schemas", () => expect(schemas.length).toBe(50));

  it.each(schemas.map((schema) => [JSON.stringify(schema), schema]))("of schema %s are valid", async (_, schema) => {
    const validate = ajv.compile(schema as object);
    const format = { type: "json_schema", schema: schema as Record<string, unknown> } as const;
    for (const text of [
      ...(await texts(format, { seed: 1, n: 8 })),
      ...(await texts(format, { seed: 2, n: 8, maxTokens: 120 })),
    ]) {
      const value: unknown = JSON.parse(text);
      expect(validate(value), `${text}: ${ajv.errorsText(validate.errors)}`).toBe(true);
    }
  });

  it("of any JSON object, of a pattern, and of a choice", async () => {
    for (const text of await texts({ type: "json_object" }, { n: 20 })) expect(JSON.parse(text)).toBeTypeOf("object");
    const pattern = "(ab|c[^x-z]{2,5}|\\d+\\.)*!";
    for (const text of await texts({ type: "regex", pattern }, { n: 20 }))
      expect(text).toMatch(new RegExp(`^(?:${pattern})$`, "u"));
    const choices = ["yes", "no", "perhaps", "日本", "no way"];
    const chosen = new Set(await texts({ type: "choice", choices }, { n: 64 }));
    expect([...chosen].every((text) => choices.includes(text))).toBe(true);
    expect(chosen.size).toBeGreaterThan(2);
  });

  it("of a pattern with many ways to the same text; compiled grammars are counted until the engine closes", async () => {
    const engine = await Engine.load("synthetic:tiny", { contextLength: 256, maxSequences: 4 });
    expect(engine.stats()).toMatchObject({ grammars: 0, grammarBytes: 0 });
    const pattern = "(\\w{1,20} ?){1,60}";
    const constraint: Constraint = { kind: "text", format: { type: "regex", pattern } };
    const [one] = await completions(engine, { seed: 3, maxTokens: 100, constraint });
    expect(one!.text).toMatch(new RegExp(`^(?:${pattern})$`));
    expect(engine.stats().grammars).toBe(1);
    expect(engine.stats().grammarBytes).toBeGreaterThan(10_000);
    await engine.close();
    expect(engine.stats()).toMatchObject({ grammars: 0, grammarBytes: 0 });
  });

  it("end with length where the tokens never sufficed", async () => {
    const constraint: Constraint = { kind: "text", format: { type: "choice", choices: ["z".repeat(200)] } };
    const [one] = await completions(tiny, { maxTokens: 5, constraint });
    expect(one!.finishReason).toBe("length");
    expect(one!.tokens.length).toBe(5);
    expect(one!.text).toMatch(/^z+$/);
  });
});

describe("a text that must end in time", () => {
  const letters: OutputFormat = { type: "regex", pattern: "([a-z]{1,3} ?){1,9}\\." };
  const person = object({ name: { type: "string", maxLength: 5 }, age: { type: "integer", maximum: 99 } });
  const formats: [string, OutputFormat][] = [
    ["a pattern", letters],
    ["a schema", { type: "json_schema", schema: person }],
    ["any object", { type: "json_object" }],
    ["a choice", { type: "choice", choices: ["a", "abcdefghijklmnopqrstuvwxyz"] }],
  ];

  it.each(formats)("tells length where the limit shortened it: %s", async (_, format) => {
    const request = { seed: 11, n: 16, constraint: { kind: "text", format } } as const;
    const free = await completions(tiny, { ...request, maxTokens: 500 });
    const lengths = [...new Set(free.map(({ tokens }) => tokens.length))].sort((a, b) => a - b);
    const ends = new Set<string>();
    for (const maxTokens of lengths.slice(0, 4)) {
      const held = await completions(tiny, { ...request, maxTokens });
      for (const [i, { tokens, finishReason }] of held.entries()) {
        // The room for an end is reckoned with short tokens, so a text may be closed a little early. That is told too.
        const isWhole = tokens.join() === free[i]!.tokens.join();
        expect(finishReason, tokens.join()).toBe(isWhole ? "stop" : "length");
        ends.add(finishReason);
      }
    }
    expect([...ends].sort()).toEqual(["length", "stop"]);
  });

  it("tells it in each choice for itself, and a processor changes nothing about that", async () => {
    const constraint: Constraint = { kind: "text", format: { type: "regex", pattern: "a|a{2,200}" } };
    const a = 64;
    const only = (ends: (tokens: ArrayLike<number>) => boolean) =>
      tiny.generate(prompt, {
        maxTokens: 6,
        constraint,
        logitsProcessor: (logits, tokens) => {
          logits.fill(-1e30);
          for (const id of ends(tokens) ? tiny.info.model.eosTokens : [a]) logits[id] = 0;
        },
      }).result;
    const whole = await only((tokens) => tokens.length > prompt.length + 2);
    expect([whole.text, whole.finishReason]).toEqual(["aaa", "stop"]);
    const exactly = await only((tokens) => tokens.length > prompt.length + 4);
    expect([exactly.text, exactly.finishReason]).toEqual(["aaaaa", "stop"]);
    const cut = await only(() => false);
    expect([cut.text, cut.finishReason]).toEqual(["aaaaa", "length"]);
  });
});

describe("a constrained request", () => {
  const format = { type: "json_object" } as const;
  const constraint: Constraint = { kind: "text", format };

  it("gives the same tokens alone and in a batch, for each of its choices", async () => {
    const one = () => completions(tiny, { seed: 9, n: 3, maxTokens: 80, constraint });
    const alone = await one();
    const crowd = Array.from({ length: 12 }, (_, seed) =>
      completions(tiny, { seed, maxTokens: 100, ...(seed % 2 === 0 && { constraint }) }),
    );
    expect(await one()).toEqual(alone);
    await Promise.all(crowd);
    expect(alone.length).toBe(3);
    expect(new Set(alone.map(({ text }) => text)).size).toBe(3);
    for (const { text } of alone) JSON.parse(text);
  });

  it("continues after it was preempted", async () => {
    const small = await Engine.load("synthetic:tiny", {
      contextLength: 256,
      kvCache: { bytes: "1MiB" },
      maxSequences: 8,
    });
    try {
      // Eight lists of 70 digits do not fit into 512 tokens, whatever digits are drawn.
      const schema = { type: "array", items: { type: "integer", minimum: 0, maximum: 9 }, minItems: 70 };
      const list: Constraint = { kind: "text", format: { type: "json_schema", schema } };
      const runs = Array.from({ length: 8 }, (_, seed) =>
        completions(small, { seed, maxTokens: 200, constraint: list }),
      );
      for (const [one] of await Promise.all(runs)) expect(JSON.parse(one!.text).length).toBeGreaterThanOrEqual(70);
      expect(small.stats().preemptions).toBeGreaterThan(0);
    } finally {
      await small.close();
    }
  });

  it("follows its constraint against a processor and a bias; log probabilities are the model's", async () => {
    const seen: number[] = [];
    const run = await tiny.generate(prompt, {
      temperature: 1,
      maxTokens: 60,
      logprobs: 1,
      constraint,
      logitBias: { 90: Number.NEGATIVE_INFINITY, 34: 50 },
      logitsProcessor: (logits, tokens) => {
        seen.push(tokens.length);
        logits.fill(-1e30);
      },
    }).result;
    JSON.parse(run.text);
    expect(seen.length).toBe(run.tokens.length);
    const banned = await tiny.generate(prompt, {
      maxTokens: 60,
      constraint: { kind: "text", format: { type: "choice", choices: ["a"] } },
      logitBias: { 64: Number.NEGATIVE_INFINITY },
      minTokens: 20,
    }).result;
    expect(banned.text).toBe("a");
    const { logprob } = (await tiny.generate(prompt, { temperature: 0, maxTokens: 1, logprobs: 1, constraint }).result)
      .logprobs![0]!;
    const logits = await tiny.logits(prompt);
    const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
    expect(logprob).toBeCloseTo(logits[90]! - Math.log(sum), 4); // "{"
  });

  it("can be cancelled and aborted", async () => {
    const constraint: Constraint = { kind: "text", format: { type: "regex", pattern: "[a-z]{5000}" } }; // takes a while
    const run = tiny.generate(prompt, { temperature: 1, maxTokens: 1500, constraint });
    for await (const _ of run) break;
    expect((await run.result).finishReason).toBe("cancelled");
    const abort = new AbortController();
    const aborted = tiny.generate(prompt, { temperature: 1, maxTokens: 1500, constraint, signal: abort.signal });
    abort.abort(new Error("enough"));
    await expect(aborted.result).rejects.toThrow("enough");
  });

  it("is the only one to fail where its pattern leaves too many alternatives open", async () => {
    const hard: Constraint = { kind: "text", format: { type: "regex", pattern: "x(a?){5000}a{5000}" } };
    const other = completions(tiny, { seed: 1, maxTokens: 50, constraint });
    const error = await failure(() => tiny.generate(prompt, { n: 3, maxTokens: 50, constraint: hard }).result);
    expect(error).toMatchObject({ code: "UNSUPPORTED" });
    expect(error.message).toContain("ways open at once");
    JSON.parse((await other)[0]!.text);
    expect(tiny.stats().running).toBe(0);
  });
});

describe("a refused constraint", () => {
  const text = (format: unknown) => ({ kind: "text", format });
  const schema = (of: unknown) => text({ type: "json_schema", schema: of });
  it.each<[unknown, string]>([
    [null, "an object for constraint"],
    [{ kind: "other" }, 'Expected "harmony" or "text" for constraint.kind'],
    [{ kind: "text", format: { type: "yaml" } }, "constraint.format.type"],
    [{ kind: "text", format: { type: "regex", pattern: 3 } }, "constraint.format.pattern"],
    [text({ type: "regex", pattern: "a", flags: "i" }), 'Unknown option "flags"'],
    [text({ type: "regex", pattern: "(" }), "a group that is not closed"],
    [text({ type: "choice", choices: [] }), "constraint.format.choices"],
    [text({ type: "choice", choices: ["\ud800"] }), "well-formed text"],
    [schema({ type: "object", properties: { a: { uniqueItems: true } } }), '#/properties/a: the keyword "uniqueItems"'],
    [text({ type: "regex", pattern: "a(b(?=c))+" }), 'look-ahead inside of a repetition at byte 3 of "a(b(?=c))+"'],
    [schema({ type: "string", pattern: "ab(?<=b)" }), 'look-behind at byte 4 of "ab(?<=b)"'],
    [schema({ if: { type: "null" }, else: { const: 1 } }), 'schema #: the keyword "if" is not supported'],
    [schema({ minimum: "3" }), '"minimum": expected a number, found "3" (string)'],
    [schema({ $ref: "https://example.com" }), "is not within the schema"],
    [{ kind: "harmony", toolChoice: "required" }, "there is no tool to call"],
    [{ kind: "harmony", toolChoice: "must" }, "constraint.toolChoice"],
    [{ kind: "harmony", tools: [{ name: "a b" }] }, "constraint.tools[0].name"],
    [{ kind: "harmony", tools: [{ name: "a" }, { name: "a" }] }, "two tools named"],
    [{ kind: "harmony", tools: [{ name: "a" }], names: ["b"] }, "the name of a declared tool"],
    [
      { kind: "harmony", tools: [{ name: "a", parameters: { not: { required: ["a"] } } }] },
      'the parameters of tool "a": schema #: the keyword "not"',
    ],
    [{ kind: "harmony", tools: [{ name: "a", parameters: { type: "string" } }] }, "no text satisfies"],
    [{ kind: "harmony", analysisTokens: -1 }, "constraint.analysisTokens"],
  ])("%j: %s", async (constraint, message) => {
    const error = await refusal(constraint);
    expect(error).toMatchObject({ name: "GptOssError", code: "INVALID_ARGUMENT" });
    expect(error.message).toContain(message);
  });

  it("a schema object that contains itself", async () => {
    const cyclic: Record<string, unknown> = { type: "object" };
    cyclic.properties = { self: cyclic };
    expect((await refusal(schema(cyclic))).message).toContain("cannot be written as JSON");
  });

  it("a text without a stop token", async () => {
    const error = await refusal(text({ type: "json_object" }), { ignoreEos: true });
    expect(error.message).toContain("needs a stop token");
  });
});

describe("a schema that may be relaxed", () => {
  const odd = { type: "object", properties: { a: { not: { type: "integer" } } } };
  const kept = object({ n: { enum: [1, 2] } });

  it("relaxes only that tool, and reports it", async () => {
    const constraint: Constraint = {
      kind: "harmony",
      toolChoice: "required",
      analysisTokens: 0,
      tools: [
        { name: "odd", parameters: odd, unsupported: "relax" },
        { name: "kept", parameters: kept, unsupported: "relax" },
      ],
    };
    const run = demo.generate(startOfTurn, { seed: 1, temperature: 1, n: 20, maxTokens: 60, constraint });
    const { relaxed } = await run.accepted;
    expect(relaxed).toEqual([{ tool: "odd", reason: expect.stringContaining('the keyword "not" is not supported') }]);
    const said = (await run.result).choices!.map(({ tokens }) => messages(tokens)[0]!);
    for (const { recipient, text } of said) {
      const value = JSON.parse(text);
      if (recipient === "functions.kept") expect([1, 2]).toContain(value.n);
      else expect(value).toBeTypeOf("object");
    }
  });

  it("relaxes a final format: to an object where the schema says so, else to any value", async () => {
    const schemas: [unknown, string][] = [
      [odd, "object"],
      [{ not: { type: "integer" } }, "value"],
    ];
    for (const [schema, of] of schemas) {
      const format = { type: "json_schema", schema, unsupported: "relax" } as OutputFormat;
      const run = tiny.generate(prompt, { temperature: 1, n: 30, maxTokens: 60, constraint: { kind: "text", format } });
      expect((await run.accepted).relaxed).toEqual([{ tool: null, reason: expect.stringContaining('"not"') }]);
      const values = (await run.result).choices!.map(({ text }) => JSON.parse(text) as unknown);
      const isObject = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);
      expect(values.every(isObject)).toBe(of === "object");
    }
  });

  it("refuses through accepted and result, with the same error and no unhandled rejection", async () => {
    const run = tiny.generate(prompt, { constraint: { kind: "text", format: { type: "json_schema", schema: odd } } });
    const [accepted, result] = await Promise.all([failure(() => run.accepted), failure(() => run.result)]);
    expect(accepted).toBe(result);
    expect(accepted).toMatchObject({ name: "GptOssError", code: "INVALID_ARGUMENT" });
    const unhandled: unknown[] = [];
    const hear = (reason: unknown) => unhandled.push(reason);
    process.on("unhandledRejection", hear);
    tiny.generate(prompt, { constraint: { kind: "text", format: { type: "json_schema", schema: odd } } });
    await tiny.generate(prompt, { maxTokens: 1, constraint: { kind: "text", format: { type: "json_object" } } }).result;
    await new Promise((resolve) => setImmediate(resolve));
    process.off("unhandledRejection", hear);
    expect(unhandled).toEqual([]);
  });

  it("accepts a request without a constraint at once", async () => {
    const run = tiny.generate(prompt, { maxTokens: 1 });
    expect(await run.accepted).toEqual({ relaxed: [] });
    await run.result;
  });

  it.each([
    [{ kind: "harmony", tools: [{ name: "a", unsupported: "ignore" }] }, "constraint.tools[0].unsupported"],
    [{ kind: "text", format: { type: "json_schema", schema: true, unsupported: 1 } }, "constraint.format.unsupported"],
    [{ kind: "text", format: { type: "json_object", unsupported: "relax" } }, 'Unknown option "unsupported"'],
    [{ kind: "text", format: { type: "json_schema", schema: { toJSON() {} } } }, "cannot be written as JSON"],
  ])("%j: %s", (constraint, message) => {
    expect(() => tiny.generate(prompt, { constraint: constraint as unknown as Constraint })).toThrow(message);
  });
});

describe("a toJSON() of the caller", () => {
  const refusal = async (format: OutputFormat) => {
    const run = async () => tiny.generate(prompt, { maxTokens: 2, constraint: { kind: "text", format } }).result;
    return run().catch((error: GptOssError) => error.code);
  };

  it("that returns undefined is refused", async () => {
    const schema = { type: "string", toJSON: () => undefined };
    expect(await refusal({ type: "json_schema", schema })).toBe("INVALID_ARGUMENT");
  });

  it("of all arrays is refused, too", async () => {
    Object.defineProperty(Array.prototype, "toJSON", { configurable: true, value: () => "[]" });
    try {
      expect(await refusal({ type: "choice", choices: ["a"] })).toBe("INVALID_ARGUMENT");
    } finally {
      Reflect.deleteProperty(Array.prototype, "toJSON");
    }
  });

  it("gives the schema that is used", async () => {
    const schema = { toJSON: () => ({ const: 7 }) };
    expect(await texts({ type: "json_schema", schema })).toEqual(["7"]);
  });
});
