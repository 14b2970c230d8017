import { once } from "node:events";
import { type ClientRequest, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import type { FastifyInstance } from "fastify";
import { afterEach, describe, expect, it, vi } from "vitest";
import { createServer } from "../../../lib/server/index.js";
import { ScriptedEngine } from "../../../lib/testing/index.js";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";
import { encodedOnThread, held, megabytes, turnsDuring, words } from "../../support/long-texts.js";
import { ids, type Json } from "../../support/server.js";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const close of closers.splice(0)) await close();
});

async function serving(contextLength = 4096): Promise<{ app: FastifyInstance; engine: ScriptedEngine }> {
  const tokens = ids("<|channel|>final<|message|>ok<|return|>");
  const engine = new ScriptedEngine([{ tokens }], { contextLength });
  const app = await createServer({ engine, modelName: "m", drainMilliseconds: 60_000 });
  closers.push(async () => {
    app.server.closeAllConnections();
    await app.close();
    await engine.close();
  });
  return { app, engine };
}

async function post(app: FastifyInstance, url: string, body: object | string): Promise<{ status: number; body: Json }> {
  const payload = typeof body === "string" ? body : JSON.stringify({ model: "m", ...body });
  const answer = await app.inject({ method: "POST", url, headers: { "content-type": "application/json" }, payload });
  return { status: answer.statusCode, body: answer.json() };
}

const asked = (content: string, more: object = {}) => ({ messages: [{ role: "user", content }], ...more });
const overflow = { status: 400, body: { error: { code: "context_length_exceeded" } } };

describe("a request that the context cannot hold", () => {
  const spaces = " ".repeat(megabytes);
  it.each<[string, string, object]>([
    ["a message", "/v1/chat/completions", asked(spaces)],
    ["a stream", "/v1/chat/completions", asked(spaces, { stream: true })],
    ["parts", "/v1/chat/completions", { messages: [{ role: "user", content: [{ type: "text", text: spaces }] }] }],
    [
      "instructions",
      "/v1/chat/completions",
      { messages: [{ role: "system", content: spaces }, ...asked("x").messages] },
    ],
    [
      "reasoning",
      "/v1/chat/completions",
      { messages: [...asked("x").messages, { role: "assistant", reasoning: spaces }] },
    ],
    [
      "a tool",
      "/v1/chat/completions",
      asked("x", { tools: [{ type: "function", function: { name: "f", description: spaces } }] }),
    ],
    [
      "lines of a tool",
      "/v1/chat/completions",
      asked("x", { tools: [{ type: "function", function: { name: "f", description: "\n".repeat(5000) } }] }),
    ],
    [
      "lines of a format",
      "/v1/chat/completions",
      asked("x", {
        response_format: { type: "json_schema", json_schema: { schema: {}, description: "\n".repeat(5000) } },
      }),
    ],
    ["many messages", "/v1/chat/completions", { messages: Array(100_000).fill({ role: "user", content: "word" }) }],
    ["many answers", "/v1/chat/completions", { messages: Array(100_000).fill({ role: "assistant", content: "" }) }],
    ["an input", "/v1/responses", { input: spaces }],
    ["a stream of a response", "/v1/responses", { input: spaces, stream: true }],
    ["many items", "/v1/responses", { input: Array(20_000).fill({ role: "user", content: "word" }) }],
    ["a prompt", "/v1/completions", { prompt: spaces }],
    ["one of several prompts", "/v1/completions", { prompt: ["a", spaces] }],
    ["ids", "/v1/completions", { prompt: Array(100_000).fill(1) }],
    ["ids of several prompts", "/v1/completions", { prompt: [[1], Array(100_000).fill(1)] }],
  ])("is refused without encoding it: %s", async (_, url, body) => {
    const { app, engine } = await serving();
    const onThread = encodedOnThread();
    expect(await post(app, url, body)).toMatchObject(overflow);
    expect(onThread.longest).toBeLessThan(5000);
    expect(onThread.texts).toBeLessThan(100);
    expect(engine.requests).toEqual([]);
  });

  it("is cut by a response that may be, at its oldest turns", async () => {
    const { app, engine } = await serving();
    const input = [...Array(20_000).fill({ role: "user", content: "old" }), { role: "user", content: "new" }];
    expect(await post(app, "/v1/responses", { input, truncation: "auto" })).toMatchObject({ status: 200 });
    expect(tokenizer.decode(engine.requests[0]!.promptTokens)).toContain("<|message|>new<|end|><|start|>assistant");
  });
});

describe("a long request that the context holds", () => {
  it.each<[string, (text: string) => object]>([
    ["/v1/chat/completions", (text) => asked(text)],
    ["/v1/responses", (text) => ({ input: text })],
    ["/v1/completions", (text) => ({ prompt: [text, "short"] })],
    ["/tokenize", (text) => ({ prompt: text })],
    ["/tokenize", (text) => asked(text)],
  ])("is encoded on another thread: %s", async (url, body) => {
    const { app } = await serving(32_768);
    const onThread = encodedOnThread();
    expect((await post(app, url, body(`${url} ${words(50_000)}`))).status).toBe(200);
    expect(onThread.longest).toBeLessThan(8192);
  });

  it("makes nobody else wait", async () => {
    const { app, engine } = await serving(32_768);
    const job = held();
    const long = post(app, "/v1/chat/completions", asked(`first ${words(50_000)}`));
    await job.begun;
    expect((await app.inject("/live")).statusCode).toBe(200);
    await Promise.all(["a", "b", "c"].map((text) => post(app, "/v1/chat/completions", asked(`short ${text}`))));
    job.release();
    expect((await long).status).toBe(200);
    const order = engine.requests.map(({ promptTokens }) => /short \w|first/.exec(tokenizer.decode(promptTokens))![0]);
    // On a busy machine one of the short ones can rest between two steps, and another goes before it.
    expect(order.slice(0, 3).sort()).toEqual(["short a", "short b", "short c"]);
    expect(order.slice(3)).toEqual(["first"]);
  });

  it("ends with its client, and nothing is computed", async () => {
    const { app, engine } = await serving(32_768);
    await app.listen({ host: "127.0.0.1", port: 0 });
    for (const [path, body] of [
      ["/v1/chat/completions", asked(`gone ${words(50_000)}`)],
      ["/v1/completions", { prompt: `gone ${words(50_000)}` }],
      ["/v1/responses", { input: `gone too ${words(50_000)}`, stream: true }],
      ["/tokenize", { prompt: `gone ${words(50_000)}` }],
    ] as const) {
      const job = held();
      const client = sent(app, path, { model: "m", ...body });
      await job.begun;
      client.destroy();
      await expect.poll(() => job.cancelled).toBe(true);
    }
    expect(engine.requests).toEqual([]);
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0 });
  });

  it("is waited for by a server that drains", async () => {
    const { app } = await serving(32_768);
    await app.listen({ host: "127.0.0.1", port: 0 });
    const job = held();
    const client = sent(app, "/v1/chat/completions", { model: "m", ...asked(`drained ${words(50_000)}`) });
    const answered = once(client, "response");
    await job.begun;
    let drained = false;
    const draining = app.drain().then(() => {
      drained = true;
    });
    expect((await app.inject("/live")).statusCode).toBe(200);
    expect(drained).toBe(false);
    job.release();
    const [response] = (await answered) as [{ statusCode: number; resume(): void }];
    response.resume();
    expect(response.statusCode).toBe(200);
    await draining;
  });

  it("has the answer of a closed engine when that is closed meanwhile", async () => {
    const { app, engine } = await serving(32_768);
    const job = held();
    const answer = post(app, "/v1/chat/completions", asked(`closed ${words(50_000)}`));
    await job.begun;
    await engine.close();
    job.release();
    expect((await answer).status).toBe(503);
  });
});

/** A pending request; its error is ignored. */
function sent(app: FastifyInstance, path: string, body: object): ClientRequest {
  const { port } = app.server.address() as AddressInfo;
  const headers = { "content-type": "application/json" };
  const request = httpRequest({ port, host: "127.0.0.1", path, method: "POST", headers, agent: false });
  request.on("error", () => {});
  request.end(JSON.stringify(body));
  return request;
}

describe("a large answer", () => {
  it("is written in pieces, between which others have their turn", async () => {
    const { app } = await serving();
    const text = words(600_000);
    const answer = app.inject({
      method: "POST",
      url: "/tokenize",
      headers: { "content-type": "application/json" },
      payload: JSON.stringify({ prompt: text, return_token_strs: true }),
    });
    const turns = await turnsDuring(answer);
    const { body, headers } = await answer;
    expect(headers["content-type"]).toBe("application/json; charset=utf-8");
    const { count: tokens, tokens: told, token_strs: texts } = JSON.parse(body) as Json;
    expect(told).toEqual([...tokenizer.encode(text)]);
    expect(texts.join("")).toBe(text);
    expect(tokens).toBe(told.length);
    expect(turns).toBeGreaterThan(body.length / 2 ** 17);
    const back = await post(app, "/detokenize", { tokens: told });
    expect(back).toEqual({ status: 200, body: { prompt: text } });
  });

  it("tells of characters that lie across slices as they are", async () => {
    const { app } = await serving();
    const text = "😀漢".repeat(20_000);
    const { body } = await post(app, "/tokenize", { prompt: text });
    expect((await post(app, "/detokenize", { tokens: body.tokens })).body).toEqual({ prompt: text });
  });
});

describe("a body whose JSON is too much", () => {
  const nested = (levels: number) => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`;
  it.each<[string, string, (deep: string) => string]>([
    ["a schema", "/v1/chat/completions", (deep) => `"messages":[{"role":"user","content":"x"}],"tools":[${deep}]`],
    ["a format", "/v1/responses", (deep) => `"input":"x","text":{"format":{"type":"text","z":${deep}}}`],
    ["an item", "/v1/responses", (deep) => `"input":[{"role":"user","content":"x","z":${deep}}]`],
    ["a stream", "/v1/responses", (deep) => `"input":"x","stream":true,"text":{"format":{"type":"text","z":${deep}}}`],
    ["a list", "/v1/completions", (deep) => `"prompt":"x","z":${"[".repeat(20_000)}${"]".repeat(20_000)},"y":${deep}`],
    [
      "a schema as text",
      "/v1/chat/completions",
      (deep) => `"messages":[{"role":"user","content":"x"}],"guided_json":${JSON.stringify(deep)}`,
    ],
  ])("by its depth is refused: %s", async (_, url, body) => {
    const { app } = await serving();
    const { status, body: told } = await post(app, url, `{"model":"m",${body(nested(20_000))}}`);
    expect([status, told.error.type]).toEqual([400, "invalid_request_error"]);
    expect(told.error.message).toContain("levels");
  });

  it("by its number of values is refused before it is parsed", async () => {
    const { app } = await serving();
    const parse = vi.spyOn(JSON, "parse");
    const answers = await Promise.all(
      ["{},", "[],", '"a":0,', "1,"].map((unit) =>
        app.inject({
          method: "POST",
          url: "/v1/completions",
          headers: { "content-type": "application/json" },
          payload: `{"model":"m","prompt":[${unit.repeat(4_300_000)}1]}`,
        }),
      ),
    );
    expect(parse).not.toHaveBeenCalled();
    parse.mockRestore();
    for (const answer of answers) {
      expect(answer.statusCode).toBe(413);
      expect(answer.json()).toMatchObject({ error: { code: "request_too_large", param: null } });
    }
  });

  it("is quoted in a refusal by its beginning only", async () => {
    const { app } = await serving();
    const huge = "x".repeat(1e6);
    for (const body of [
      { messages: [{ role: "user", content: [{ type: huge }] }] },
      { messages: [{ role: "tool", tool_call_id: huge, content: "x" }] },
      asked("x", { tool_choice: huge }),
      asked("x", { logit_bias: { [huge]: "a" } }),
    ]) {
      const { status, body: told } = await post(app, "/v1/chat/completions", body);
      expect(status).toBe(400);
      expect(JSON.stringify(told).length).toBeLessThan(5000);
    }
  });
});
