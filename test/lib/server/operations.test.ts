import { request as httpsRequest } from "node:https";
import { fastify } from "fastify";
import { beforeEach, describe, expect, it } from "vitest";
import type { EngineStats } from "../../../lib/binding.js";
import { Engine } from "../../../lib/engine.js";
import { GptOssError } from "../../../lib/errors.js";
import { createServer, gptOssPlugin, type ServerOptions } from "../../../lib/server/index.js";
import { selfSigned } from "../../support/certificate.js";
import { held } from "../../support/server-endpoints.js";
import {
  bearer,
  failure,
  listening,
  post,
  testClock,
  testServers,
  tinyModel,
} from "../../support/server-operations.js";

const { engine, keep, server } = testServers();
beforeEach(() => void held.splice(0));

describe("createServer", () => {
  it.each([
    [{ modelNames: "x" }, "modelNames"],
    [{ maxBodyBytes: 0 }, "maxBodyBytes"],
    [{ modelName: [] }, "modelName"],
    [{ apiKeys: [] }, "apiKeys"],
    [{ apiKeys: [""] }, "apiKeys"],
    [{ cors: ["https://a.example/"] }, "cors"],
    [{ strictRequests: "yes" }, "strictRequests"],
    [{ engine: null }, "engine"],
    [{ logLevel: "loud" }, "logLevel"],
    [{ tls: { cert: "no", key: "no" } }, "tls"],
    [{ drainMilliseconds: -1 }, "drainMilliseconds"],
  ])("refuses %j", async (options, name) => {
    const error = await failure(() => createServer({ engine: engine(), ...options } as unknown as ServerOptions));
    expect(error).toBeInstanceOf(GptOssError);
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(error.message).toContain(name);
  });

  it("serves HTTPS", async () => {
    const tls = selfSigned();
    const port = await listening(await server({ tls }));
    const status = await new Promise((resolve, reject) => {
      const options = { port, host: "127.0.0.1", servername: "localhost", path: "/health", ca: tls.cert };
      httpsRequest(options, (response) => resolve(response.resume().statusCode))
        .on("error", reject)
        .end();
    });
    expect(status).toBe(200);
  });
});

describe("what is asked of every server", () => {
  it("is answered: live, health, ping, ready, version", async () => {
    const app = await server();
    for (const url of ["/live", "/health", "/ping", "/ready"]) {
      const { statusCode, body } = await app.inject(url);
      expect([url, statusCode, body]).toEqual([url, 200, ""]);
    }
    expect((await app.inject("/version")).json()).toEqual({ version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
  });

  it("is which models there are, by all their names", async () => {
    const app = await server({ modelName: ["openai/gpt-oss-20b", "gpt-oss"], clock: () => new Date(5_000_500) });
    const one = (id: string) => ({
      id,
      object: "model",
      created: 5000,
      owned_by: "openai",
      root: "openai/gpt-oss-20b",
      parent: null,
      max_model_len: 256,
      permission: [],
    });
    expect((await app.inject("/v1/models")).json()).toEqual({
      object: "list",
      data: [one("openai/gpt-oss-20b"), one("gpt-oss")],
    });
    for (const url of ["/v1/models/openai/gpt-oss-20b", "/v1/models/openai%2Fgpt-oss-20b"]) {
      expect((await app.inject(url)).json()).toEqual(one("openai/gpt-oss-20b"));
    }
    const missing = await app.inject("/v1/models/gpt-4");
    expect(missing.statusCode).toBe(404);
    expect(missing.json()).toMatchObject({
      error: { type: "not_found_error", code: "model_not_found", param: "model" },
    });
  });

  it("may be unknown: 404, or 405 where only the method is", async () => {
    const app = await server();
    for (const url of ["/v1/embeddings", "/nothing", "/v1"]) {
      const unknown = await app.inject(post(url, {}));
      expect(unknown.statusCode).toBe(404);
      expect(unknown.json()).toEqual({
        error: { message: `There is nothing at ${url}`, type: "not_found_error", param: null, code: null },
      });
    }
    const wrong = await app.inject({ method: "DELETE", url: "/v1/models?x=1" });
    expect(wrong.statusCode).toBe(405);
    expect(wrong.headers.allow).toBe("GET, HEAD");
    expect(wrong.json()).toMatchObject({ error: { type: "invalid_request_error" } });
    const invalid = await app.inject("/v1/%zz");
    expect(invalid.statusCode).toBe(400);
    expect(invalid.json()).toMatchObject({ error: { type: "invalid_request_error" } });
  });
});

describe("request ids", () => {
  it("are the client's where they are sane, and made up otherwise", async () => {
    const app = await server();
    const echoed = async (id: string, url = "/version") =>
      (await app.inject({ url, headers: { "x-request-id": id } })).headers["x-request-id"];
    expect(await echoed("abc-123:/x=1@y.z+")).toBe("abc-123:/x=1@y.z+");
    expect(await echoed("abc", "/v1/none")).toBe("abc");
    expect(await echoed("abc", "/v1/%zz")).toBe("abc");
    for (const id of ["", " ", "a b", '"', "<script>", "ü", "x".repeat(129)]) {
      expect(await echoed(id)).toMatch(/^[0-9a-f-]{36}$/);
    }
  });
});

describe("a model that is being loaded", () => {
  it("is waited for with 503, which probes tell apart from death", async () => {
    let loaded!: (engine: Engine) => void;
    const app = await server({ engine: new Promise<Engine>((resolve) => (loaded = resolve)), apiKeys: ["alpha"] });
    const status = async (url: string) => (await app.inject({ url, headers: bearer("alpha") })).statusCode;
    expect(await status("/live")).toBe(200);
    expect([await status("/ready"), await status("/health"), await status("/metrics")]).toEqual([503, 503, 200]);
    const early = await app.inject({ url: "/v1/models", headers: bearer("alpha") });
    expect(early.statusCode).toBe(503);
    expect(early.headers["retry-after"]).toBe("5");
    expect(early.json()).toMatchObject({ error: { type: "service_unavailable", code: "not_ready" } });
    expect((await app.inject("/v1/models")).statusCode).toBe(401);
    loaded(engine());
    await expect.poll(() => status("/ready")).toBe(200);
    expect([await status("/health"), await status("/v1/models")]).toEqual([200, 200]);
  });

  it("may never come", async () => {
    const app = await server({ engine: Promise.reject(new GptOssError("MODEL_NOT_FOUND", "nothing there")) });
    const status = async (url: string) => (await app.inject(url)).statusCode;
    expect([await status("/live"), await status("/ready"), await status("/v1/models")]).toEqual([200, 503, 503]);
  });
});

describe("health", () => {
  /** An engine that has only counters. */
  function counting(stats: Partial<EngineStats> | (() => never)): Engine {
    return { generate() {}, stats: typeof stats === "function" ? stats : () => stats } as unknown as Engine;
  }

  async function probed(stats: Partial<EngineStats> | (() => never)) {
    const { clock, pass } = testClock();
    const app = await server({ engine: counting(stats), clock, stallMilliseconds: 5000 });
    const status = async () => {
      const { statusCode } = await app.inject("/health");
      expect((await app.inject("/ping")).statusCode).toBe(statusCode);
      expect((await app.inject("/ready")).statusCode).toBe(statusCode);
      return statusCode;
    };
    return { status, pass };
  }

  it("is lost when sequences run and no step is made", async () => {
    const stats = { running: 1, waiting: 0, steps: 7 };
    const { status, pass } = await probed(stats);
    expect(await status()).toBe(200);
    pass(4999);
    expect(await status()).toBe(200);
    pass(1);
    expect(await status()).toBe(503);
    stats.steps++;
    expect(await status()).toBe(200);
    pass(5000);
    expect(await status()).toBe(503);
  });

  it("is not lost while there is nothing to do, or all wait for their clients", async () => {
    const stats = { running: 2, waiting: 0, blocked: 2, steps: 7 };
    const { status, pass } = await probed(stats);
    for (let i = 0; i < 3; i++, pass(10_000)) expect(await status()).toBe(200);
    Object.assign(stats, { blocked: 5, aside: 3 });
    for (let i = 0; i < 3; i++, pass(10_000)) expect(await status()).toBe(200);
    Object.assign(stats, { running: 0, blocked: 0, aside: 0 });
    for (let i = 0; i < 3; i++, pass(10_000)) expect(await status()).toBe(200);
    stats.running = 1;
    expect(await status()).toBe(200);
    Object.assign(stats, { running: 0, waiting: 1 });
    pass(5000);
    expect(await status()).toBe(503);
  });

  it("is lost with the engine", async () => {
    expect(await (await probed({ running: 0, waiting: 0, steps: 7, ended: true })).status()).toBe(503);
    const throwing = await probed(() => {
      throw new Error("gone");
    });
    expect(await throwing.status()).toBe(503);
    const mortal = await Engine.load(tinyModel, { contextLength: 64 });
    const app = await server({ engine: mortal });
    expect((await app.inject("/health")).statusCode).toBe(200);
    await mortal.close();
    expect((await app.inject("/health")).statusCode).toBe(503);
    expect((await app.inject(post("/v1/work", { prompt: [1] }))).statusCode).toBe(503);
    expect((await app.inject("/metrics")).statusCode).toBe(200);
  });
});

describe("draining", () => {
  it("refuses what is new and waits for what runs", async () => {
    const app = await server();
    const running = app.inject(post("/v1/hold", {}));
    await expect.poll(() => held.length).toBe(1);
    let drained = false;
    const draining = app.drain().then(() => {
      drained = true;
    });
    expect((await app.inject("/ready")).statusCode).toBe(503);
    expect((await app.inject("/live")).statusCode).toBe(200);
    expect((await app.inject("/health")).statusCode).toBe(200);
    const refused = await app.inject(post("/v1/hold", {}));
    expect(refused.statusCode).toBe(503);
    expect(refused.headers).toMatchObject({ "retry-after": "5", connection: "close" });
    expect(refused.json()).toMatchObject({ error: { type: "service_unavailable", code: "not_ready" } });
    expect(drained).toBe(false);
    held[0]!.release({ done: true });
    expect((await running).json()).toEqual({ done: true });
    await draining;
    expect(held[0]!.signal.aborted).toBe(false);
    await app.drain();
  });

  it("ends what does not end by itself", async () => {
    const app = await server({ drainMilliseconds: 10 });
    const running = app.inject(post("/v1/hold", {}));
    await expect.poll(() => held.length).toBe(1);
    await app.drain();
    const answer = await running;
    expect(answer.statusCode).toBe(503);
    expect(answer.json()).toMatchObject({ error: { code: "not_ready" } });
    expect(held[0]!.signal.reason).toMatchObject({ status: 503 });
  });
});

describe("gptOssPlugin", () => {
  it("serves within an app that has its own routes, errors and unknown paths", async () => {
    const app = fastify();
    keep(app);
    app.get("/mine", async () => "mine");
    app.get("/broken", async () => {
      throw new Error("mine");
    });
    app.setNotFoundHandler((_, reply) => reply.code(404).send("my 404"));
    await app.register(gptOssPlugin, { engine: engine(), prefix: "/ai", apiKeys: ["alpha"], maxBodyBytes: 100 });
    expect((await app.inject("/mine")).body).toBe("mine");
    expect((await app.inject("/mine")).headers).not.toHaveProperty("x-request-id");
    expect((await app.inject("/broken")).json()).toMatchObject({ message: "mine" });
    expect((await app.inject("/nothing")).body).toBe("my 404");
    expect((await app.inject("/ai/ready")).statusCode).toBe(200);
    expect((await app.inject("/ai/v1/models")).statusCode).toBe(401);
    expect((await app.inject({ url: "/ai/v1/models", headers: bearer("alpha") })).statusCode).toBe(200);
    const unknown = await app.inject({ url: "/ai/v1/x", headers: bearer("alpha") });
    expect(unknown.json()).toMatchObject({ error: { type: "not_found_error" } });
    const large = await app.inject(post("/ai/v1/work", { prompt: Array(100).fill(1) }, bearer("alpha")));
    expect(large.statusCode).toBe(413);
    await app.drain();
    expect((await app.inject("/ai/ready")).statusCode).toBe(503);
    expect((await app.inject("/mine")).body).toBe("mine");
  });

  it("refuses unknown options", async () => {
    const app = fastify();
    keep(app);
    const error = await failure(() => app.register(gptOssPlugin, { engine: engine(), logger: true } as never));
    expect(error.code).toBe("INVALID_ARGUMENT");
  });
});
