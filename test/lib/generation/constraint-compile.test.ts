import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../../lib/engine.js";
import type { GptOssError } from "../../../lib/errors.js";
import type { Constraint } from "../../../lib/generation/constraint.js";
import { createServer } from "../../../lib/server/index.js";
import { failure } from "../../support/failure.js";

/**
 * Constraints are compiled on a separate thread. The tests measure no time: work that must not wait for a large schema
 * has to end before it.
 */

const prompt = [1, 2, 3];

let different = 0;

/** Branches that must be compared pairwise. Each schema differs, because a repeated one would be cached. */
function large(): Constraint {
  const first = 1000 * ++different;
  const branch = (_: unknown, k: number) => ({
    allOf: [{ type: "object", required: ["k"], properties: { k: { const: first + k } } }],
  });
  return textOf({ oneOf: Array.from({ length: 500 }, branch) });
}

/** A small constraint. It waits for large ones, because one thread compiles all of them. */
const small = (): Constraint => textOf({ const: ++different });

const textOf = (schema: unknown) =>
  ({ kind: "text", format: { type: "json_schema", schema } }) as unknown as Constraint;

/** Records whether the promise is settled. */
function watched(promise: Promise<unknown>): { settled: boolean } {
  const state = { settled: false };
  const settle = () => {
    state.settled = true;
  };
  promise.then(settle, settle);
  return state;
}

describe("while large schemas are compiled", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.load("synthetic:tiny", { contextLength: 512, maxQueue: 8 });
    await engine.generate(prompt, { maxTokens: 1, constraint: textOf({ type: "null" }) }).result;
  });
  afterAll(() => engine.close());

  const many = (count: number) =>
    Array.from({ length: count }, () => engine.generate(prompt, { maxTokens: 40, constraint: large() }));

  async function none(): Promise<void> {
    while (engine.stats().waiting + engine.stats().running > 0) await new Promise((resolve) => setImmediate(resolve));
  }

  it("the event loop runs and other requests end", async () => {
    const runs = many(6);
    const last = watched(runs[5]!.accepted);
    const known = engine.generate(prompt, { maxTokens: 40, constraint: textOf({ type: "null" }) });
    expect((await engine.generate(prompt, { maxTokens: 5, ignoreEos: true }).result).tokens).toHaveLength(5);
    expect((await known.result).text).toBe("null");
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(last.settled).toBe(false);
    for (const run of runs) {
      expect(await run.accepted).toEqual({ relaxed: [] });
      expect(JSON.parse((await run.result).text).k).toBeTypeOf("number");
    }
  });

  it("an abort rejects everything with its reason, and the compilation ends", async () => {
    const runs = many(4);
    const abort = new AbortController();
    const aborted = engine.generate(prompt, { constraint: large(), signal: abort.signal });
    const reason = new Error("enough");
    abort.abort(reason);
    expect(await failure(aborted.accepted)).toBe(reason);
    expect(await failure(aborted.result)).toBe(reason);
    expect(await failure(aborted[Symbol.asyncIterator]().next())).toBe(reason);
    const last = watched(runs[3]!.accepted);
    expect(last.settled).toBe(false);
    for (const run of runs) run.cancel();
    await Promise.all(runs.map(({ result }) => result)); // the first may have ended before
    expect((await runs[3]!.result).finishReason).toBe("cancelled");
    expect(await runs[3]!.accepted).toEqual({ relaxed: [] });
    await none();
  });

  it("a single choice can be cancelled", async () => {
    const [blocking] = many(1);
    const run = engine.generate(prompt, { n: 3, maxTokens: 40, constraint: large() });
    run.cancel(1);
    const reasons = (await run.result).choices!.map(({ finishReason }) => finishReason);
    expect(reasons).toEqual(["stop", "cancelled", "stop"]);
    await blocking!.result;
  });

  it("they have their place in the queue, and other errors are thrown at once", async () => {
    const behind = () => engine.generate(prompt, { maxTokens: 40, constraint: small() });
    const runs = [...many(1), ...Array.from({ length: 7 }, behind)];
    expect(() => engine.generate(prompt, { maxTokens: 1 })).toThrow(expect.objectContaining({ code: "QUEUE_FULL" }));
    for (const run of runs) run.cancel();
    await none();
    const options = { constraint: large() };
    expect(() => engine.generate([], options)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => engine.generate(new Uint32Array(600), options)).toThrow(
      expect.objectContaining({ code: "CONTEXT_OVERFLOW" }),
    );
  });

  it("only a refused request ends, and earlier compiled schemas are reused", async () => {
    const constraint = large();
    await engine.generate(prompt, { maxTokens: 1, constraint }).result;
    const runs = many(4);
    const last = watched(runs[3]!.accepted);
    await engine.generate(prompt, { maxTokens: 1, constraint }).accepted;
    expect(last.settled).toBe(false);
    const error = (await failure(
      engine.generate(prompt, { constraint: textOf({ type: "string", contains: true, not: {} }) }).accepted,
    )) as GptOssError;
    expect(error.code).toBe("INVALID_ARGUMENT");
    for (const run of runs) JSON.parse((await run.result).text);
  });

  it("closing ends them with CLOSED", async () => {
    const other = await Engine.load("synthetic:tiny", { contextLength: 512 });
    const runs = Array.from({ length: 5 }, () => other.generate(prompt, { constraint: large() }));
    const errors = runs.map(async (run) => [await failure(run.accepted), await failure(run.result)]);
    await other.close();
    for (const both of await Promise.all(errors)) {
      expect(both).toEqual([expect.objectContaining({ code: "CLOSED" }), both[0]]);
    }
  });
});

describe("a constraint that cannot be compiled", () => {
  it.each<[string, unknown, string]>([
    ["leads to itself", { $ref: "#" }, "no text satisfies"],
    ["has very many branches", { oneOf: branches(3000) }, "too large to compile"],
    ["nests too deep", nested(3000), "more than 64 levels of nesting"],
    ["is no JSON", cyclic(), "cannot be written as JSON"],
    ["is no JSON any more", { toJSON: () => "{" }, "expected a schema"],
  ])("%s: a typed error", async (_, schema, message) => {
    await using engine = await Engine.load("synthetic:tiny", { contextLength: 512 });
    const error = await failure(
      (async () => engine.generate(prompt, { maxTokens: 1, constraint: textOf(schema) }).result)(),
    );
    expect(error).toMatchObject({ name: "GptOssError", code: "INVALID_ARGUMENT" });
    expect((error as Error).message).toContain(message);
  });

  it("is a 400 before any header of a stream", async () => {
    await using engine = await Engine.load("synthetic:wide", { contextLength: 8192 });
    const app = await createServer({ engine, modelName: "m" });
    try {
      const schema = compared(40);
      const json_schema = { name: "x", schema, strict: true };
      const messages = [{ role: "user", content: "x" }];
      const requests: [string, object][] = [
        ["/v1/chat/completions", { messages, response_format: { type: "json_schema", json_schema } }],
        ["/v1/responses", { input: "x", text: { format: { type: "json_schema", ...json_schema } } }],
        ["/v1/completions", { prompt: "x", structured_outputs: { json: schema } }],
      ];
      for (const [url, body] of requests) {
        for (const stream of [false, true]) {
          const answer = await app.inject({ method: "POST", url, payload: { model: "m", stream, ...body } });
          expect([url, answer.statusCode]).toEqual([url, 400]);
          expect(answer.json().error.message).toContain("too large to compile");
        }
      }
    } finally {
      await app.close();
    }
  });
});

function branches(count: number): object[] {
  return Array.from({ length: count }, (_, k) => ({
    allOf: [{ type: "object", required: ["k"], properties: { k: { const: k } } }],
  }));
}

/** A short schema that leads to very many comparisons. */
function compared(count: number): object {
  const any = (of: string) => ({ anyOf: Array.from({ length: count }, () => ({ $ref: `#/$defs/${of}` })) });
  const $defs = { A: any("B"), B: any("C"), C: { type: "object" }, D: any("E"), E: any("F"), F: { type: "string" } };
  return { $defs, oneOf: [{ $ref: "#/$defs/A" }, { $ref: "#/$defs/D" }] };
}

function nested(levels: number): object {
  let schema: object = {};
  for (let level = 0; level < levels; level++) schema = { items: schema };
  return schema;
}

function cyclic(): object {
  const schema: { items?: object } = {};
  schema.items = schema;
  return schema;
}
