import { setTimeout as pause } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { JsonNumber } from "../../../lib/common/raw-json.js";
import { maxAnswered } from "../../../lib/server/bodies/json-structure.js";
import { LargeBodies, largeBytes } from "../../../lib/server/bodies/large-bodies.js";
import { createServer } from "../../../lib/server/index.js";
import { ScriptedEngine } from "../../../lib/testing/index.js";
import { ids } from "../../support/server.js";

/** Bodies that another thread reads get the same answers as smaller ones. */

const padding = `"user":"${"u".repeat(largeBytes)}"`;

describe("a large body", () => {
  let engine: ScriptedEngine;
  let app: FastifyInstance;
  beforeAll(async () => {
    engine = new ScriptedEngine([{ tokens: ids("<|channel|>final<|message|>{}<|return|>") }], {
      contextLength: 32_768,
    });
    app = await createServer({ engine, modelName: "m", strictRequests: true, maxBodyBytes: 8 * 2 ** 20 });
  });
  afterAll(async () => {
    await app.close();
    await engine.close();
  });

  async function post(url: string, payload: string) {
    const answer = await app.inject({ method: "POST", url, headers: { "content-type": "application/json" }, payload });
    return { status: answer.statusCode, body: answer.json() };
  }

  const chat = "/v1/chat/completions";
  const said = '"messages":[{"role":"user","content":"x"}]';
  const schema = '{"enum":[1152921504606846977,9007199254740993,1.5,"a"],"__proto__":{"maximum":18446744073709551617}}';
  const format = `"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":${schema}}}`;
  const deep = `"metadata":${'{"a":'.repeat(300)}1${"}".repeat(300)}`;

  it.each<[string, string, string, number]>([
    ["a chat", chat, said, 200],
    ["texts in many scripts", chat, '"messages":[{"role":"user","content":"é漢😀\\ud83d\\ude00\\ud83d"}]', 200],
    ["a name that is no Unicode", chat, '"messages":[{"role":"user","name":"\\ud83d","content":"x"}]', 400],
    ["a missing field", chat, '"n":1', 400],
    ["a wrong field", chat, `${said},"n":"1"`, 400],
    ["a field that is null", chat, `${said},"n":null`, 200],
    ["an unknown field", chat, `${said},"frobnicate":1`, 400],
    ["an unknown member", chat, '"messages":[{"role":"user","content":"x","frobnicate":1}]', 400],
    ["no JSON", chat, `${said},`, 400],
    ["what nests deep", chat, `${said},${deep}`, 400],
    ["another model", chat, `${said},"model":"other"`, 404],
    ["a prompt of ids", "/v1/completions", '"prompt":[1,2,3]', 200],
    ["an empty prompt", "/v1/completions", '"prompt":[]', 400],
    ["an input", "/v1/responses", '"input":[{"role":"user","content":"x"}]', 200],
    ["an input that is none", "/v1/responses", '"input":[null]', 400],
  ])("is answered as a small one: %s", async (_, url, fields, status) => {
    const [small, large] = await Promise.all([
      post(url, `{"model":"m","user":"u",${fields}}`),
      post(url, `{"model":"m",${padding},${fields}}`),
    ]);
    expect(large.status, JSON.stringify(large.body).slice(0, 500)).toBe(status);
    expect(large.body.error).toEqual(small.body.error);
    const [first, second] = engine.requests.slice(-2).map(({ promptTokens }) => [...promptTokens]);
    if (status === 200) expect(first).toEqual(second);
  });

  it("has schemas with all their names and digits", async () => {
    expect(await post(chat, `{"model":"m",${padding},${said},${format}}`)).toMatchObject({ status: 200 });
    const { constraint } = engine.requests.at(-1)!.options;
    if (constraint?.kind !== "harmony" || constraint.final?.type !== "json_schema") return expect.fail("no schema");
    const read = constraint.final.schema as object;
    expect(Object.keys(read)).toEqual(["enum", "__proto__"]);
    expect(Object.getOwnPropertyDescriptor(read, "__proto__")!.value).toEqual({
      maximum: new JsonNumber("18446744073709551617"),
    });
    const exact = [new JsonNumber("1152921504606846977"), new JsonNumber("9007199254740993"), 1.5, "a"];
    expect((read as { enum: unknown }).enum).toEqual(exact);
  });

  it("has all of its bytes, however they came", async () => {
    await app.listen({ host: "127.0.0.1", port: 0 });
    const { port } = app.server.address() as { port: number };
    const text = Array.from({ length: 40_000 }, (_, i) => `é${i}`).join(" ");
    const body = new TextEncoder().encode(`{"prompt":${JSON.stringify(text)}}`);
    expect(body.length).toBeGreaterThan(largeBytes);
    async function* pieces() {
      for (let at = 0; at < body.length; at += 49_999) {
        yield body.subarray(at, at + 49_999);
        await pause(1);
      }
    }
    const answer = await fetch(`http://127.0.0.1:${port}/tokenize`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: ReadableStream.from(pieces()),
      duplex: "half",
    } as RequestInit);
    const { tokens } = (await answer.json()) as { tokens: number[] };
    expect(engine.tokenizer.decode(tokens)).toBe(text);
  });

  it("of too many bytes is a 413, announced or not", async () => {
    const { port } = app.server.address() as { port: number };
    const body = Buffer.alloc(9 * 2 ** 20, " ");
    for (const given of [body, ReadableStream.from([body])]) {
      const answer = await fetch(`http://127.0.0.1:${port}/tokenize`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: given,
        ...(given !== body && { duplex: "half" }),
      } as RequestInit);
      expect(answer.status).toBe(413);
      expect(await answer.json()).toMatchObject({ error: { code: "request_too_large" } });
    }
  });

  it("is no text to /tokenize that is longer than one to answer", async () => {
    const big = await createServer({ engine, modelName: "m" });
    const payload = JSON.stringify({ prompt: " ".repeat(2 ** 24 + 1) });
    const answer = await big.inject({
      method: "POST",
      url: "/tokenize",
      headers: { "content-type": "application/json" },
      payload,
    });
    await big.close();
    expect([answer.statusCode, answer.json().error.param]).toEqual([400, "prompt"]);
  });

  it("has no more objects than can be answered", async () => {
    const parts = Array(maxAnswered).fill('{"type":"text","text":""}').join(",");
    const { status, body } = await post(chat, `{"model":"m","messages":[{"role":"user","content":[${parts}]}]}`);
    expect({ status, code: body.error.code }).toEqual({ status: 413, code: "request_too_large" });
  });

  it("has no longer lists than can be answered", async () => {
    const list = JSON.stringify(Array.from({ length: 70_000 }, (_, i) => `c${i}`));
    expect(await post("/v1/completions", `{"model":"m","prompt":"x","guided_choice":${list}}`)).toMatchObject({
      status: 400,
      body: { error: { param: "guided_choice" } },
    });
  });
});

describe("the thread that reads large bodies", () => {
  const opened: LargeBodies[] = [];
  afterEach(() => {
    for (const bodies of opened.splice(0)) bodies.close();
  });
  const reader = (...options: ConstructorParameters<typeof LargeBodies>) => {
    const bodies = new LargeBodies(...options);
    opened.push(bodies);
    return bodies;
  };
  const never = new AbortController().signal;
  const task = (text: string) => ({
    check: "detokenize",
    chunks: [new Uint8Array(new TextEncoder().encode(text))],
    limits: { contextLength: 100 },
  });
  const tokens = (count: number) => task(`{"tokens":[${Array(count).fill(1).join(",")}]}`);

  it("reads for clients by turns", async () => {
    const bodies = reader();
    const order: string[] = [];
    const read = async (client: string, name: string) => {
      await bodies.read(tokens(1000), { client, signal: never });
      order.push(name);
    };
    await Promise.all([read("a", "a1"), read("a", "a2"), read("a", "a3"), read("b", "b1"), read("c", "c1")]);
    expect(order).toEqual(["a1", "a2", "b1", "c1", "a3"]);
  });

  it("forgets what nobody waits for any more", async () => {
    const bodies = reader();
    const gone = new AbortController();
    const first = bodies.read(tokens(1000), { client: "a", signal: never });
    const running = bodies.read(tokens(1000), { client: "a", signal: gone.signal });
    const waiting = bodies.read(tokens(1000), { client: "a", signal: gone.signal });
    const last = bodies.read(tokens(1000), { client: "b", signal: never });
    gone.abort("gone");
    const rejected = { status: "rejected", reason: "gone" };
    expect(await Promise.allSettled([running, waiting])).toEqual([rejected, rejected]);
    await expect(bodies.read(tokens(1), { client: "a", signal: gone.signal })).rejects.toBe("gone");
    expect((await Promise.all([first, last])).map(({ unknown }) => unknown)).toEqual([[], []]);
  });

  it("refuses a body that takes too much memory, and reads the next", async () => {
    const bodies = reader({ maxHeapMegabytes: 16 });
    const huge = task(
      `{"tokens":[${Array(400_000).fill('"text"').join(",")}],"x":[${Array(400_000).fill("{}").join(",")}]}`,
    );
    await expect(bodies.read(huge, { client: "a", signal: never })).rejects.toMatchObject({ status: 413 });
    await expect(bodies.read(tokens(1), { client: "a", signal: never })).resolves.toMatchObject({
      fields: { tokens: [1] },
    });
  });

  it("keeps no more bytes waiting than one client, and all together, may have there", async () => {
    const bodies = reader({ waiting: { client: 5000, all: 8000 } });
    const read = (client: string) => bodies.read(tokens(1000), { client, signal: never }); // 2,013 bytes each
    const taken = [read("a"), read("a"), read("a")]; // one runs, two wait
    await expect(read("a")).rejects.toMatchObject({ status: 429, code: "queue_full", retryAfter: 1 });
    taken.push(read("b"));
    await expect(read("c")).rejects.toMatchObject({ status: 503, code: "queue_full", retryAfter: 1 });
    expect((await Promise.all(taken)).length).toBe(4);
    await expect(read("a")).resolves.toMatchObject({ unknown: [] });
  });

  it("ends with the server, and all that waits with it", async () => {
    const bodies = reader();
    const reads = [1, 2].map((count) => bodies.read(tokens(count), { client: "a", signal: never }));
    bodies.close();
    const rejected = { status: "rejected", reason: expect.objectContaining({ code: "CLOSED" }) };
    expect(await Promise.allSettled(reads)).toEqual([rejected, rejected]);
    await expect(bodies.read(tokens(1), { client: "a", signal: never })).rejects.toMatchObject({ code: "CLOSED" });
  });
});
