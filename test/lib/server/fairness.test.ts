import { describe, expect, it } from "vitest";
import { Engine } from "../../../lib/engine.js";
import { reply, ScriptedEngine } from "../../../lib/testing/index.js";
import { bearer, post, testServers } from "../../support/server-operations.js";

const { server, engine } = testServers();

const complete = (body: object, headers: Record<string, string> = {}) =>
  post("/v1/completions", { model: "gpt-oss", prompt: [1, 2, 3], max_tokens: 2, ...body }, headers);

describe("priority", () => {
  it("is what the server grants: none at first, and the client is told", async () => {
    const app = await server();
    const { statusCode, headers } = await app.inject(complete({ priority: 1000 }));
    expect(statusCode).toBe(200);
    expect(JSON.parse(headers["x-gpt-oss-warnings"] as string)).toEqual([
      { param: "priority", message: "priority is 1000, and this server grants 0 alone: it is taken as 0" },
    ]);
    const granted = await server({ priorityRange: [-10, 5] });
    for (const priority of [-10, 0, 5]) {
      expect((await granted.inject(complete({ priority }))).headers["x-gpt-oss-warnings"]).toBeUndefined();
    }
    const message = "priority is -11, and this server grants -10 to 5: it is taken as -10";
    const lowered = await granted.inject(complete({ priority: -11 }));
    expect(JSON.parse(lowered.headers["x-gpt-oss-warnings"] as string)).toEqual([{ param: "priority", message }]);
    await using scripted = new ScriptedEngine([reply("Hello")]);
    const chat = { model: "gpt-oss", messages: [{ role: "user", content: "Hi" }], priority: -11 };
    const chats = await server({ engine: scripted, priorityRange: [-10, 5] });
    const answer = await chats.inject(post("/v1/chat/completions", chat));
    expect(JSON.parse(answer.headers["x-gpt-oss-warnings"] as string)).toEqual([{ param: "priority", message }]);
    expect(scripted.requests[0]!.options).toMatchObject({ priority: -10, tenant: "127.0.0.1" });
  });

  it("can be granted key by key", async () => {
    const priorityRange = (key: string | null): [number, number] => (key === "alpha" ? [-5, 5] : [0, 0]);
    const app = await server({ priorityRange, apiKeys: ["alpha", "beta"] });
    const warned = async (key: string) => {
      const { statusCode, headers } = await app.inject(complete({ priority: 5 }, bearer(key)));
      expect(statusCode).toBe(200);
      return headers["x-gpt-oss-warnings"] !== undefined;
    };
    expect([await warned("alpha"), await warned("beta")]).toEqual([false, true]);
  });

  it("outside the range is refused by a strict server", async () => {
    const app = await server({ strictRequests: true });
    const { statusCode, body } = await app.inject(complete({ priority: 1 }));
    expect(statusCode).toBe(400);
    expect(JSON.parse(body)).toMatchObject({ error: { param: "priority", code: "invalid_value" } });
    expect((await app.inject(complete({ priority: 0 }))).statusCode).toBe(200);
  });

  it.each([[[0]], [[5, -5]], [[0, 1001]], [[0.5, 1]], ["0,1"]])("range %j is refused at start", async (range) => {
    await expect(server({ priorityRange: range as never })).rejects.toThrow("priorityRange");
  });
});

describe("one body", () => {
  it("has so many prompts times n at most, and is refused before they are read", async () => {
    const app = await server();
    const prompts = (count: number) => Array.from({ length: count }, () => [1, 2]);
    const many = await app.inject(complete({ prompt: prompts(65), n: 2 }));
    expect(many.statusCode).toBe(400);
    expect(many.json()).toMatchObject({ error: { param: "n", message: /65 prompts with n 2 are more than 128/ } });
    const steps = engine().stats().steps;
    const more = await app.inject(complete({ prompt: [...prompts(128), "not read"] }));
    expect(more.json()).toMatchObject({ error: { param: "prompt" } });
    expect(engine().stats().steps).toBe(steps);
    const most = await app.inject(complete({ prompt: prompts(16), n: 8 }));
    expect(most.json().choices).toHaveLength(128);
  });

  it("counts as what it asks for", async () => {
    const app = await server({ concurrentRequests: 4, apiKeys: ["alpha"] });
    const ask = async (body: object) => app.inject(complete(body, bearer("alpha")));
    const refused = await ask({ prompt: [[1], [2], [3]], n: 2 });
    expect(refused.statusCode).toBe(400);
    expect(refused.json()).toMatchObject({ error: { param: "prompt", message: /allow 4 at once/ } });
    expect((await ask({ n: 5 })).json()).toMatchObject({ error: { param: "n" } });
    expect((await ask({ prompt: [[1], [2]], n: 2 })).statusCode).toBe(200);
    expect((await ask({ n: 4 })).statusCode).toBe(200); // all were given back
  });
});

describe("tokens per minute", () => {
  it("are told as OpenAI's API does, settled at the end, and refused with the time to wait", async () => {
    const app = await server({ tokensPerMinute: 100, apiKeys: ["alpha", "beta"] });
    const ask = async (body: object, key = "alpha") => app.inject(complete({ ignore_eos: true, ...body }, bearer(key)));
    const first = await ask({ max_tokens: 50, stop_token_ids: Array.from({ length: 512 }, (_, id) => id) });
    expect(first.json().usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 1 });
    expect(first.headers).toMatchObject({
      "x-ratelimit-limit-tokens": "100",
      "x-ratelimit-remaining-tokens": "47",
    });
    const second = await ask({ max_tokens: 90 }); // 4 were used
    expect(second.statusCode).toBe(200);
    const third = await ask({ max_tokens: 90 });
    expect(third.statusCode).toBe(429);
    expect(third.json()).toMatchObject({ error: { type: "rate_limit_error", code: "rate_limit_exceeded" } });
    expect(Number(third.headers["retry-after"])).toBeGreaterThan(40);
    expect(third.headers["x-ratelimit-limit-tokens"]).toBe("100");
    expect((await ask({ max_tokens: 90 }, "beta")).statusCode).toBe(200);
  });
});

describe("a queue that one key has filled", () => {
  it("still takes others' requests; the newest of the one that has most gets 429", async () => {
    const small = await Engine.load("synthetic:tiny", { contextLength: 20_000, maxSequences: 1, maxQueue: 2 });
    const app = await server({ engine: small, apiKeys: ["alpha", "beta"] });
    const stop = new AbortController();
    const long = { max_tokens: 19_000, ignore_eos: true };
    const ask = (body: object, key: string) => app.inject({ ...complete(body, bearer(key)), signal: stop.signal });
    const running = ask(long, "alpha").catch(() => null);
    await expect.poll(() => small.stats().running).toBe(1);
    const kept = ask(long, "alpha").catch(() => null);
    await expect.poll(() => small.stats().waiting).toBe(1);
    const newest = ask(long, "alpha");
    await expect.poll(() => small.stats().waiting).toBe(2);
    expect((await ask(long, "alpha")).statusCode).toBe(429);
    const other = ask({}, "beta").catch(() => null);
    const gone = await newest;
    expect(gone.statusCode).toBe(429);
    expect(gone.headers["retry-after"]).toBe("1");
    expect(gone.json()).toMatchObject({ error: { code: "queue_full" } });
    await small.close(); // the other ones, too
    await Promise.all([running, kept, other]);
    stop.abort();
  });
});
