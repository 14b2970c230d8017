import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { FastifyInstance, InjectOptions } from "fastify";
import { describe, expect, it } from "vitest";
import { createServer, type ServerOptions } from "../../../lib/server/index.js";
import { conversationItem } from "../../../lib/server/responses/conversation.js";
import type { ResponseObject } from "../../../lib/server/responses/objects.js";
import { Tenants } from "../../../lib/server/tenants/tenants.js";
import { call, reply, ScriptedEngine, type Scripts, think } from "../../../lib/testing/index.js";
import { capturedLog } from "../../support/captured-log.js";
import { ids, type Json } from "../../support/server.js";
import { bearer, post } from "../../support/server-operations.js";

const keys = ["alice", "bob"];
const model = "gpt-oss";
const ask = { model, input: "My secret is 42." };
const thought = "The secret is 42.";
const tool = { type: "function", function: { name: "look", parameters: { type: "object" } } };

interface Served extends AsyncDisposable {
  app: FastifyInstance;
  engine: ScriptedEngine;
  /** Sends a request with this key; null: without a key. */
  post(key: string | null, url: string, body: object): Promise<{ status: number; body: Json }>;
  send(key: string | null, method: "GET" | "POST" | "DELETE", url: string): Promise<{ status: number; body: Json }>;
  /** The engine's options and prompt of the newest request. */
  last(): ScriptedEngine["requests"][number];
}

async function served(
  scripts: Scripts = [reply("Hello.")],
  options: Partial<ServerOptions> & { engine?: ScriptedEngine } = {},
): Promise<Served> {
  const engine = options.engine ?? new ScriptedEngine(scripts);
  const app = await createServer({ apiKeys: keys, ...options, engine });
  const told = async (request: InjectOptions) => {
    const { statusCode, payload } = await app.inject(request);
    return { status: statusCode, body: JSON.parse(payload) };
  };
  const headers = (key: string | null) => (key === null ? {} : bearer(key));
  return {
    app,
    engine,
    post: (key, url, body) => told(post(url, body, headers(key))),
    send: (key, method, url) => told({ method, url, headers: headers(key) }),
    last: () => engine.requests.at(-1)!,
    [Symbol.asyncDispose]: async () => {
      await app.close();
      await engine.close();
    },
  };
}

describe("a stored response", () => {
  it("is there for its key only; others are told what they are told of an id that never was", async () => {
    await using server = await served();
    const { id, output } = (await server.post("alice", "/v1/responses", ask)).body;
    const item = { type: "item_reference", id: output[0].id };
    const attempts = async (key: string, id: string, item: object) => [
      await server.send(key, "GET", `/v1/responses/${id}`),
      await server.send(key, "GET", `/v1/responses/${id}/input_items`),
      await server.send(key, "POST", `/v1/responses/${id}/cancel`),
      await server.post(key, "/v1/responses", { ...ask, previous_response_id: id }),
      await server.post(key, "/v1/responses", { ...ask, input: [item, { role: "user", content: "Repeat." }] }),
      await server.send(key, "DELETE", `/v1/responses/${id}`),
    ];
    const never = { response: `resp_${"0".repeat(32)}`, item: { type: "item_reference", id: `msg_${"0".repeat(32)}` } };
    const unknown = await attempts("bob", never.response, never.item);
    expect(unknown.map(({ status }) => status)).toEqual([404, 404, 404, 404, 404, 404]);
    const text = JSON.stringify(await attempts("bob", id, item));
    expect(text.replaceAll(id, never.response).replaceAll(item.id, never.item.id)).toBe(JSON.stringify(unknown));

    const own = await attempts("alice", id, item);
    expect(own.map(({ status }) => status)).toEqual([200, 200, 400, 200, 200, 200]);
  });

  it("is not there for another server of the same process", async () => {
    await using one = await served([reply("Hello.")], { apiKeys: ["alice"] });
    await using other = await served([], { engine: one.engine, apiKeys: ["alice"] });
    const { id } = (await one.post("alice", "/v1/responses", ask)).body;
    expect((await other.send("alice", "GET", `/v1/responses/${id}`)).status).toBe(404);
    expect((await one.send("alice", "GET", `/v1/responses/${id}`)).status).toBe(200);
  });
});

describe("reasoning before a tool call", () => {
  const question = { role: "user", content: "Look." };
  const asked = { model, messages: [question], tools: [tool], include_reasoning: false };
  const goneOn = (id: string) => ({
    ...asked,
    messages: [
      question,
      { role: "assistant", tool_calls: [{ id, type: "function", function: { name: "look", arguments: "{}" } }] },
      { role: "tool", tool_call_id: id, content: "12" },
    ],
  });
  const scripts = [[think(thought), call("look", {})], reply("12.")];

  it("goes back into a conversation of its key only, and into what /tokenize tells of it", async () => {
    await using server = await served(scripts);
    const { choices } = (await server.post("alice", "/v1/chat/completions", asked)).body;
    expect(JSON.stringify(choices)).not.toContain(thought);
    const body = goneOn(choices[0].message.tool_calls[0].id);
    const seen = async (key: string) => {
      const { tokens } = (await server.post(key, "/tokenize", body)).body;
      const { prompt } = (await server.post(key, "/detokenize", { tokens })).body;
      await server.post(key, "/v1/chat/completions", body);
      expect(server.last().text).toBe(prompt);
      return prompt.includes(thought);
    };
    expect([await seen("bob"), await seen("alice"), await seen("bob")]).toEqual([false, true, false]);
  });

  it("is not known to another server of the same process", async () => {
    await using one = await served(scripts, { apiKeys: ["alice"] });
    await using other = await served([], { engine: one.engine, apiKeys: ["alice"] });
    const { choices } = (await one.post("alice", "/v1/chat/completions", asked)).body;
    const body = goneOn(choices[0].message.tool_calls[0].id);
    await other.post("alice", "/v1/chat/completions", body);
    expect(other.last().text).not.toContain(thought);
    await one.post("alice", "/v1/chat/completions", body);
    expect(one.last().text).toContain(thought);
  });
});

describe("the tokens that a model wrote", () => {
  it("come back to the key that they were written for", async () => {
    const letters = [39, 68, 75, 75, 78]; // "Hello" in tokens that no encoder would choose
    await using server = await served([{ tokens: [...ids("<|channel|>final<|message|>"), ...letters, 200002] }]);
    const asked = { model, messages: [{ role: "user", content: "Greet." }] };
    await server.post("alice", "/v1/chat/completions", asked);
    const messages = [...asked.messages, { role: "assistant", content: "Hello" }, { role: "user", content: "More." }];
    const isOriginal = async (key: string) => {
      await server.post(key, "/v1/chat/completions", { model, messages });
      return server.last().promptTokens.join().includes(letters.join());
    };
    expect([await isOriginal("bob"), await isOriginal("alice")]).toEqual([false, true]);
  });
});

describe("the prefix cache", () => {
  const text = Array.from({ length: 200 }, (_, n) => `word${n}`).join(" ");
  const requests: [url: string, body: object, cached: (body: Json) => number][] = [
    [
      "/v1/completions",
      { model, prompt: text, max_tokens: 1 },
      ({ usage }) => usage.prompt_tokens_details?.cached_tokens,
    ],
    [
      "/v1/chat/completions",
      { model, messages: [{ role: "user", content: text }] },
      ({ usage }) => usage.prompt_tokens_details?.cached_tokens,
    ],
    ["/v1/responses", { model, input: text }, ({ usage }) => usage.input_tokens_details.cached_tokens],
  ];

  it.each(requests)("tells no key of %s what another asked", async (url, body, cachedOf) => {
    await using server = await served();
    const cached = async (key: string, fields: object = {}) =>
      cachedOf((await server.post(key, url, { ...body, ...fields })).body) ?? 0;
    expect([await cached("alice"), await cached("bob")]).toEqual([0, 0]);
    expect(await cached("alice")).toBeGreaterThan(100);
    expect(await cached("bob")).toBeGreaterThan(100);
    if (url === "/v1/responses") return; // it has no salt field
    const salted = { cache_salt: "s" };
    expect([await cached("alice", salted), await cached("bob", salted)]).toEqual([0, 0]);
    expect(await cached("bob", salted)).toBeGreaterThan(100);
  });

  it.each(requests)("is shared in %s where the option says so", async (url, body, cachedOf) => {
    await using server = await served([reply("Hello.")], { sharePrefixes: true });
    const cached = async (key: string, fields: object = {}) =>
      cachedOf((await server.post(key, url, { ...body, ...fields })).body) ?? 0;
    expect(await cached("alice")).toBe(0);
    expect(await cached("bob")).toBeGreaterThan(100);
    if (url !== "/v1/responses") expect(await cached("bob", { cache_salt: "s" })).toBe(0);
  });

  it("takes a salt as it is where there are no keys, and no other thing is shared by the option", async () => {
    await using open = await served([reply("Hello.")], { apiKeys: undefined as never });
    await open.post(null, "/v1/chat/completions", { model, messages: [{ role: "user", content: "Hi" }] });
    expect(open.last().options.cacheSalt).toBe("");
    await open.post(null, "/v1/completions", { model, prompt: "Hi", cache_salt: "mine" });
    expect(open.last().options.cacheSalt).toBe("mine");

    await using shared = await served([reply("Hello.")], { sharePrefixes: true });
    const { id } = (await shared.post("alice", "/v1/responses", ask)).body;
    expect((await shared.send("bob", "GET", `/v1/responses/${id}`)).status).toBe(404);
  });
});

describe("a flood of one key", () => {
  const item = conversationItem({ type: "message", id: "msg_1", content: "x".repeat(1000) }, null);
  const stored = (id: string) => {
    const response = { id, output: [] } as unknown as ResponseObject;
    return { response, context: [item], output: [], date: "2026-11-22" };
  };

  it.each([{ responses: 40 }, { bytes: 40 * 1600 }])("takes no response from others: %j", (store) => {
    const tenants = new Tenants({ store });
    const [alice, bob, carol] = ["alice", "bob", "carol"].map((name) => tenants.of(name).responses);
    for (let n = 0; n < 10; n++) for (const own of [alice, carol]) expect(own!.put(stored(`resp_${n}`))).toBe(true);
    for (let n = 0; n < 1000; n++) expect(bob!.put(stored(`resp_b${n}`))).toBe(true);
    for (let n = 0; n < 10; n++) for (const own of [alice, carol]) expect(own!.get(`resp_${n}`)).toBeDefined();
    const kept = Array.from({ length: 1000 }, (_, n) => bob!.get(`resp_b${n}`)).filter(Boolean).length;
    expect(kept).toBeGreaterThan(10);
    expect(kept).toBeLessThanOrEqual(20);
  });

  it("takes no reasoning from others", () => {
    const tenants = new Tenants();
    const [alice, bob] = [tenants.of("alice").reasoning, tenants.of("bob").reasoning];
    const calling = (id: string) =>
      ({
        role: "assistant",
        content: null,
        tool_calls: [{ id, type: "function", function: { name: "f", arguments: "{}" } }],
      }) as const;
    alice.remember("call_a", ["x".repeat(4 * 2 ** 20)]);
    for (let n = 0; n < 40; n++) bob.remember(`call_${n}`, ["y".repeat(2 ** 20)]);
    expect(alice.restore([calling("call_a")])).toHaveLength(2);
    expect([0, 39].map((n) => bob.restore([calling(`call_${n}`)]).length)).toEqual([1, 2]);
  });
});

describe("a key that is taken away", () => {
  it("takes with it what it owned, what runs included, and begins with nothing when it comes again", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-tenants-"));
    try {
      const file = path.join(folder, "keys");
      const give = (...names: string[]) => writeFileSync(file, names.join("\n"));
      give("alice", "bob");
      const slow = { messages: reply("Hello."), tokensPerStep: 1, stepDelayMs: 50 };
      await using server = await served(({ index }) => (index === 3 ? slow : reply("Hello.")), { apiKeys: { file } });
      const make = async (key: string) => (await server.post(key, "/v1/responses", ask)).body.id as string;
      const read = async (key: string, id: string) => (await server.send(key, "GET", `/v1/responses/${id}`)).status;
      const [ofAlice, ofBob] = [await make("alice"), await make("bob")];
      const salt = () => server.last().options.cacheSalt;
      await make("alice");
      const before = salt();

      const running = make("alice");
      await expect.poll(() => server.engine.requests.length).toBe(4);
      give("bob");
      expect(server.app.reloadApiKeys()).toBe(1);
      give("alice", "bob");
      expect(server.app.reloadApiKeys()).toBe(2);
      const late = await running;
      expect([await read("alice", ofAlice), await read("alice", late), await read("bob", ofBob)]).toEqual([
        404, 404, 200,
      ]);
      expect(await read("alice", await make("alice"))).toBe(200);
      expect(salt()).not.toBe(before);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("the log", () => {
  it("has the pattern of a route, and neither ids, nor keys, nor what was asked", async () => {
    const { logger, all } = capturedLog();
    await using server = await served([[think(thought), call("look", {})]], { logger, modelName: model });
    const asked = { ...ask, tools: [{ type: "function", name: "look" }] };
    const { id, output } = (await server.post("alice", "/v1/responses", asked)).body;
    for (const key of ["alice", "bob"]) {
      await server.send(key, "GET", `/v1/responses/${id}?include=hush`);
      await server.send(key, "GET", `/v1/responses/${id}/input_items?after=${output[0].id}`);
      await server.send(key, "POST", `/v1/responses/${id}/cancel`);
      await server.send(key, "GET", `/v1/responses/${id}/nothing`);
      await server.send(key, "POST", `/v1/responses/${id}`);
      await server.post(key, "/v1/responses", { ...ask, previous_response_id: id });
      const reference = { type: "item_reference", id: output[1].id };
      await server.post(key, "/v1/responses", { ...ask, input: [reference], stream: true }).catch(() => {});
      await server.send(key, "DELETE", `/v1/responses/${id}`);
    }
    await server.send("carol", "GET", `/v1/responses/${id}`);
    const lines = all.map((line) => JSON.stringify(line));
    const text = lines.join("\n");
    const callId = output[1].call_id;
    for (const word of [id, ...output.map(({ id }: Json) => id), callId, ...keys, "carol", "secret", "hush"]) {
      expect(text).not.toContain(word);
    }
    const paths = new Set(lines.flatMap((line) => /"path":"([^"]*)"/.exec(line)?.[1] ?? []));
    expect([...paths].sort()).toEqual([
      "/v1/responses",
      "/v1/responses/:id",
      "/v1/responses/:id/cancel",
      "/v1/responses/:id/input_items",
      "none",
    ]);
  });
});
