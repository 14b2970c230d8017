import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import { fastify } from "fastify";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { EngineStats } from "../../lib/binding.js";
import { Engine } from "../../lib/engine.js";
import { GptOssError } from "../../lib/errors.js";
import type { ServerContext } from "../../lib/server/context.js";
import { disconnectSignal } from "../../lib/server/disconnect.js";
import { ApiError, createServer, gptOssPlugin, type ServerOptions } from "../../lib/server/index.js";
import { selfSigned } from "../support/certificate.js";
import { listening, rawConnection } from "../support/server.js";

const model = path.resolve(import.meta.dirname, "../golden/models/a");

/** What /v1/hold does: it waits for the test, or until nobody waits for it. */
const held: { signal: AbortSignal; release: (answer: unknown) => void; fail: (reason: unknown) => void }[] = [];

vi.mock("../../lib/server/endpoints.js", async () => {
  const { models } = await vi.importActual<typeof import("../../lib/server/models.js")>("../../lib/server/models.js");
  const hold = (app: FastifyInstance) => {
    app.post("/v1/hold", (request, reply) => {
      const signal = disconnectSignal(request, reply);
      return new Promise((release, fail) => {
        signal.addEventListener("abort", () => fail(signal.reason));
        held.push({ signal, release, fail });
      });
    });
  };
  const work = (app: FastifyInstance, context: ServerContext) => {
    const schema = {
      type: "object",
      properties: {
        prompt: { type: "array", items: { type: "integer" } },
        n: { type: "integer", maximum: 8 },
        kind: { enum: ["a", "b"] },
        messages: { type: "array", items: { type: "object", required: ["role"] } },
      },
      required: ["prompt"],
    };
    app.post<{ Body: { prompt: number[]; n?: number } }>("/v1/work", { schema: { body: schema } }, async (request) => {
      const { prompt, n = 1 } = request.body;
      const run = context.engine.generate(prompt, { n, maxTokens: 8, temperature: 0, ignoreEos: true });
      return (await run.result).usage;
    });
  };
  return { endpoints: [models, hold, work] };
});

let engine: Engine;
let folder: string;
const apps: FastifyInstance[] = [];

beforeAll(async () => {
  engine = await Engine.load(model, { contextLength: 256 });
  folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-server-"));
});
afterAll(async () => {
  await engine.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => void held.splice(0));
afterEach(async () => {
  for (const app of apps.splice(0)) {
    app.server.closeAllConnections();
    await app.close();
  }
});

async function server(options: Partial<ServerOptions> = {}): Promise<FastifyInstance> {
  const app = await createServer({ engine, ...options });
  apps.push(app);
  return app;
}

/** A clock that a test moves. */
function testClock() {
  let now = Date.UTC(2026, 0, 1);
  return {
    clock: () => new Date(now),
    pass: (milliseconds: number) => {
      now += milliseconds;
    },
  };
}

const json = { "content-type": "application/json" };
const post = (url: string, payload: unknown, headers = {}) =>
  ({ method: "POST", url, headers: { ...json, ...headers }, payload: JSON.stringify(payload) }) as const;
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

async function failure(work: () => unknown): Promise<GptOssError> {
  try {
    await work();
  } catch (error) {
    return error as GptOssError;
  }
  throw new Error("did not fail");
}

describe("createServer", () => {
  it.each([
    [{ modelNames: "x" }, "modelNames"],
    [{ maxBodyBytes: 0 }, "maxBodyBytes"],
    [{ modelName: [] }, "modelName"],
    [{ apiKeys: [] }, "apiKeys"],
    [{ apiKeys: [""] }, "apiKeys"],
    [{ cors: ["https://a.example/"] }, "cors"],
    [{ engine: null }, "engine"],
    [{ logLevel: "loud" }, "logLevel"],
    [{ tls: { cert: "no", key: "no" } }, "tls"],
    [{ drainMilliseconds: -1 }, "drainMilliseconds"],
  ])("refuses %j", async (options, name) => {
    const error = await failure(() => createServer({ engine, ...options } as unknown as ServerOptions));
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

describe("API keys", () => {
  it("let in who has one, compare nothing else, and are not asked for by probes", async () => {
    const app = await server({ apiKeys: ["alpha", "beta"] });
    const status = async (headers: Record<string, string>) =>
      (await app.inject({ url: "/v1/models", headers })).statusCode;
    expect(await status(bearer("alpha"))).toBe(200);
    expect(await status({ authorization: "bearer beta " })).toBe(200);
    for (const authorization of [
      "",
      "Bearer",
      "Bearer gamma",
      "Bearer alph",
      "Bearer alphaa",
      "Basic alpha",
      "alpha",
    ]) {
      expect([authorization, await status({ authorization })]).toEqual([authorization, 401]);
    }
    for (const url of ["/health", "/live", "/ready", "/ping", "/version", "/metrics"]) {
      expect((await app.inject(url)).statusCode).toBe(200);
    }
    const refused = await app.inject(post("/v1/unknown", {}));
    expect(refused.statusCode).toBe(401);
    expect(refused.headers["www-authenticate"]).toBe("Bearer");
    expect(refused.json()).toEqual({
      error: {
        message: expect.any(String),
        type: "authentication_error",
        param: null,
        code: "invalid_api_key",
      },
    });
  });

  it("can be asked for at /metrics", async () => {
    const app = await server({ apiKeys: ["alpha"], metricsNeedKey: true });
    expect((await app.inject("/metrics")).statusCode).toBe(401);
    expect((await app.inject({ url: "/metrics", headers: bearer("alpha") })).statusCode).toBe(200);
  });

  it("come from a file that can be read again, and stay when that fails", async () => {
    const file = path.join(folder, "keys");
    writeFileSync(file, "# who\n\n  alpha  \r\nbeta\n");
    const app = await server({ apiKeys: { file } });
    const status = async (key: string) => (await app.inject({ url: "/v1/models", headers: bearer(key) })).statusCode;
    expect([await status("alpha"), await status("beta"), await status("gamma")]).toEqual([200, 200, 401]);
    writeFileSync(file, "gamma\n");
    expect(app.reloadApiKeys()).toBe(1);
    expect([await status("alpha"), await status("gamma")]).toEqual([401, 200]);
    for (const text of ["", "# none\n", "two words\n"]) {
      writeFileSync(file, text);
      expect((await failure(() => app.reloadApiKeys())).code).toBe("INVALID_ARGUMENT");
      expect((await failure(() => createServer({ engine, apiKeys: { file } }))).code).toBe("INVALID_ARGUMENT");
    }
    expect(await status("gamma")).toBe(200);
  });
});

describe("CORS", () => {
  const origin = "https://a.example";
  const preflight = {
    origin,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization",
  };

  it("is off by default", async () => {
    const app = await server();
    const { headers } = await app.inject({ url: "/v1/models", headers: { origin } });
    expect(headers).not.toHaveProperty("access-control-allow-origin");
    const options = await app.inject({ method: "OPTIONS", url: "/v1/hold", headers: preflight });
    expect(options.statusCode).toBe(405);
  });

  it("lets pages of listed origins in, errors and preflights without a key included", async () => {
    const app = await server({ cors: [origin], apiKeys: ["alpha"] });
    const allowed = await app.inject({ method: "OPTIONS", url: "/v1/hold", headers: preflight });
    expect(allowed.statusCode).toBe(204);
    expect(allowed.headers).toMatchObject({
      "access-control-allow-origin": origin,
      "access-control-allow-headers": "authorization",
      "access-control-allow-methods": expect.stringContaining("POST"),
    });
    const refused = await app.inject({ url: "/v1/models", headers: { origin } });
    expect(refused.statusCode).toBe(401);
    expect(refused.headers["access-control-allow-origin"]).toBe(origin);
    const other = await app.inject({ url: "/v1/models", headers: { origin: "https://b.example" } });
    expect(other.headers).not.toHaveProperty("access-control-allow-origin");
  });

  it("can be for all", async () => {
    const app = await server({ cors: ["*"] });
    const { headers } = await app.inject({ url: "/v1/models", headers: { origin } });
    expect(headers["access-control-allow-origin"]).toBe("*");
  });
});

describe("bodies", () => {
  it("are JSON of a limited size", async () => {
    const app = await server({ maxBodyBytes: 1000 });
    const cases = [
      [{ ...json }, '{"prompt": [1', 400, null],
      [{ ...json }, '{"__proto__": {"x": 1}}', 400, null],
      [{ ...json }, JSON.stringify({ prompt: Array(1000).fill(1) }), 413, "request_too_large"],
      [{ "content-type": "text/plain" }, "hello", 415, null],
      [{ "content-type": "application/x-www-form-urlencoded" }, "a=b", 415, null],
      [{ "content-type": "nonsense" }, "a=b", 415, null],
    ] as const;
    for (const [headers, payload, status, code] of cases) {
      const answer = await app.inject({ method: "POST", url: "/v1/work", headers, payload });
      expect([payload.slice(0, 20), answer.statusCode]).toEqual([payload.slice(0, 20), status]);
      expect(answer.json()).toEqual({
        error: { message: expect.any(String), type: "invalid_request_error", param: null, code },
      });
    }
    expect((await app.inject(post("/v1/work", { prompt: [1, 2] }))).statusCode).toBe(200);
  });

  it("that do not fit the schema are told which field is to blame", async () => {
    const app = await server();
    const param = async (body: unknown) => {
      const answer = await app.inject(post("/v1/work", body));
      expect(answer.statusCode).toBe(400);
      return answer.json<{ error: { param: string } }>().error.param;
    };
    expect(await param({})).toBe("prompt");
    expect(await param({ prompt: [1], n: 9 })).toBe("n");
    expect(await param({ prompt: [1, "x"] })).toBe("prompt[1]");
    expect(await param({ prompt: [1], messages: [{ role: "user" }, {}] })).toBe("messages[1].role");
    expect(await param([])).toBe(null);
    const kind = await app.inject(post("/v1/work", { prompt: [1], kind: "c" }));
    expect(kind.json()).toMatchObject({ error: { param: "kind", message: expect.stringContaining('"a", "b"') } });
    const none = await app.inject({ method: "POST", url: "/v1/work", headers: json, payload: "" });
    expect(none.statusCode).toBe(400);
  });

  it("may be chunked, and are cut at the limit all the same", async () => {
    const port = await listening(await server({ maxBodyBytes: 1000 }));
    const head =
      "POST /v1/work HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
    const small = await rawConnection(port);
    small.say(head + chunk('{"prompt":') + chunk("[1,2]}") + chunk(""));
    await expect.poll(() => small.heard).toMatch(/^HTTP\/1.1 200 /);
    small.socket.destroy();
    const large = await rawConnection(port);
    large.say(head);
    for (let i = 0; i < 20; i++) large.say(chunk(" ".repeat(100)));
    await expect.poll(() => large.heard).toMatch(/^HTTP\/1.1 413 /);
    large.socket.destroy();
    const broken = await rawConnection(port);
    broken.say(`${head}zz\r\n`);
    expect(await broken.all()).toMatch(/^HTTP\/1.1 400 /);
  });
});

describe("connections", () => {
  it("with too many or too large headers get 431", async () => {
    const port = await listening(await server({ maxHeaderBytes: 4096, maxHeaders: 50 }));
    const many = await rawConnection(port);
    many.say(`GET /version HTTP/1.1\r\nhost: x\r\n${"a: b\r\n".repeat(60)}\r\n`);
    await expect.poll(() => many.heard).toMatch(/^HTTP\/1.1 431 [\s\S]*"code":"too_many_headers"/);
    many.socket.destroy();
    const large = await rawConnection(port);
    large.say(`GET /version HTTP/1.1\r\nhost: x\r\na: ${"b".repeat(8192)}\r\n\r\n`);
    const answer = await large.all();
    expect(answer).toMatch(/^HTTP\/1.1 431 /);
    expect(JSON.parse(answer.split("\r\n\r\n")[1]!)).toMatchObject({ error: { type: "invalid_request_error" } });
  });

  it("that speak something else, or too slowly, are cut", async () => {
    const port = await listening(await server({ headersMilliseconds: 100, requestMilliseconds: 200 }));
    const other = await rawConnection(port);
    other.say("\u0016\u0003\u0001 hello\r\n\r\n");
    expect(await other.all()).toMatch(/^HTTP\/1.1 400 /);
    const slowHead = await rawConnection(port);
    slowHead.say("GET /version HTTP/1.1\r\nhost: x\r\n");
    expect(await slowHead.all()).toMatch(/^HTTP\/1.1 408 /);
    const slowBody = await rawConnection(port);
    slowBody.say("POST /v1/work HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{");
    expect(await slowBody.all()).toMatch(/^HTTP\/1.1 408 /);
  });

  it("are not cut while a long answer is on its way", async () => {
    const app = await server({ headersMilliseconds: 50, requestMilliseconds: 50, keepAliveMilliseconds: 50 });
    const port = await listening(app);
    const client = await rawConnection(port);
    client.say("POST /v1/hold HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    await expect.poll(() => held.length).toBe(1);
    // Those that have asked nothing yet are looked through, and cut; this one has its request in.
    const idle = await rawConnection(port);
    idle.say("GET ");
    expect(await idle.all()).toMatch(/^HTTP\/1.1 408 /);
    held[0]!.release({ late: true });
    expect(await client.all()).toMatch(/^HTTP\/1.1 200 [\s\S]*\{"late":true\}$/);
    expect(held[0]!.signal.aborted).toBe(false);
  });
});

describe("disconnectSignal", () => {
  const ask = "POST /v1/hold HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";

  it("aborts when the connection is reset, and when only the client's side of it is closed", async () => {
    const app = await server();
    const port = await listening(app);
    const reset = await rawConnection(port);
    reset.say(ask);
    await expect.poll(() => held.length).toBe(1);
    reset.socket.resetAndDestroy();
    await expect.poll(() => held[0]!.signal.aborted).toBe(true);
    expect(held[0]!.signal.reason).toMatchObject({ status: 499 });

    const half = await rawConnection(port);
    half.say(ask);
    await expect.poll(() => held.length).toBe(2);
    half.socket.end();
    await expect.poll(() => held[1]!.signal.aborted).toBe(true);
    half.socket.destroy();

    const metrics = async () => (await app.inject("/metrics")).body;
    await expect.poll(metrics).toContain('http_requests_total{handler="/v1/hold",method="POST",status="499"} 2');
  });

  it("does not abort at a normal end, nor when the client leaves after it", async () => {
    const port = await listening(await server());
    const client = await rawConnection(port);
    client.say(ask);
    await expect.poll(() => held.length).toBe(1);
    held[0]!.release({});
    await expect.poll(() => client.heard).toContain("{}");
    client.socket.destroy();
    const next = await rawConnection(port);
    next.say(ask);
    await expect.poll(() => held.length).toBe(2);
    expect(held[0]!.signal.aborted).toBe(false);
    next.socket.destroy();
    await expect.poll(() => held[1]!.signal.aborted).toBe(true);
    expect(held[0]!.signal.aborted).toBe(false);
  });
});

describe("limits of one client", () => {
  it("are so many requests per minute, which come back with time", async () => {
    const { clock, pass } = testClock();
    const app = await server({ requestsPerMinute: 2, apiKeys: ["alpha", "beta"], clock });
    const ask = (key: string) => app.inject({ url: "/v1/models", headers: bearer(key) });
    expect((await ask("alpha")).statusCode).toBe(200);
    expect((await ask("alpha")).statusCode).toBe(200);
    const refused = await ask("alpha");
    expect(refused.statusCode).toBe(429);
    expect(refused.headers["retry-after"]).toBe("30");
    expect(refused.json()).toMatchObject({ error: { type: "rate_limit_error", code: "rate_limit_exceeded" } });
    expect((await ask("beta")).statusCode).toBe(200);
    pass(29_000);
    expect((await ask("alpha")).headers["retry-after"]).toBe("1");
    pass(1000);
    expect((await ask("alpha")).statusCode).toBe(200);
    expect((await ask("alpha")).statusCode).toBe(429);
    pass(-3_600_000);
    expect((await ask("alpha")).statusCode).toBe(429);
    expect((await app.inject("/health")).statusCode).toBe(200);
  });

  it("are so many at once", async () => {
    const app = await server({ concurrentRequests: 1, apiKeys: ["alpha", "beta"] });
    const first = app.inject(post("/v1/hold", {}, bearer("alpha")));
    await expect.poll(() => held.length).toBe(1);
    const second = await app.inject({ url: "/v1/models", headers: bearer("alpha") });
    expect(second.statusCode).toBe(429);
    expect(second.headers["retry-after"]).toBe("1");
    expect(second.json()).toMatchObject({ error: { code: "concurrency_limit_exceeded" } });
    expect((await app.inject({ url: "/v1/models", headers: bearer("beta") })).statusCode).toBe(200);
    held[0]!.release({});
    expect((await first).statusCode).toBe(200);
    expect((await app.inject({ url: "/v1/models", headers: bearer("alpha") })).statusCode).toBe(200);
  });

  it("count a client that left as gone", async () => {
    const app = await server({ concurrentRequests: 1 });
    const port = await listening(app);
    const client = await rawConnection(port);
    client.say("POST /v1/hold HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    await expect.poll(() => held.length).toBe(1);
    const status = async () => (await fetch(`http://127.0.0.1:${port}/v1/models`)).status;
    expect(await status()).toBe(429);
    client.socket.destroy();
    await expect.poll(status).toBe(200);
  });
});

describe("failures", () => {
  it.each([
    [new GptOssError("QUEUE_FULL", "full"), 429, "rate_limit_error", "queue_full", "1"],
    [new GptOssError("CONTEXT_OVERFLOW", "long"), 400, "invalid_request_error", "context_length_exceeded", undefined],
    [new GptOssError("INVALID_ARGUMENT", "wrong"), 400, "invalid_request_error", "invalid_value", undefined],
    [new GptOssError("UNSUPPORTED", "not here"), 400, "invalid_request_error", "unsupported_parameter", undefined],
    [new GptOssError("CLOSED", "gone"), 503, "service_unavailable", "not_ready", "10"],
    [new GptOssError("DEVICE", "secret place"), 500, "server_error", null, undefined],
    [new Error("secret place"), 500, "server_error", null, undefined],
    ["secret place", 500, "server_error", null, undefined],
    [
      new ApiError(404, "none", { code: "response_not_found" }),
      404,
      "not_found_error",
      "response_not_found",
      undefined,
    ],
  ])("%s is %d", async (reason, status, type, code, retryAfter) => {
    const app = await server();
    const answer = app.inject(post("/v1/hold", {}));
    await expect.poll(() => held.length).toBe(1);
    held[0]!.fail(reason);
    const { statusCode, headers, body } = await answer;
    expect(statusCode).toBe(status);
    expect(headers["retry-after"]).toBe(retryAfter);
    expect(JSON.parse(body)).toMatchObject({ error: { type, code, param: null } });
    expect(body).not.toContain("secret place");
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
    loaded(engine);
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
  /** An engine of which only the counters matter. */
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
    Object.assign(stats, { running: 0, blocked: 0 });
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
    const mortal = await Engine.load(model, { contextLength: 64 });
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

describe("metrics", () => {
  /** Names of samples and types, values by name and labels. */
  function parse(text: string) {
    const types = new Map<string, string>();
    const values = new Map<string, number>();
    for (const line of text.split("\n")) {
      const type = /^# TYPE (\S+) (\S+)$/.exec(line);
      if (type) types.set(type[1]!, type[2]!);
      if (line === "" || line.startsWith("#")) continue;
      const sample = /^([a-zA-Z_:][\w:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)$/.exec(line);
      expect(sample, line).not.toBeNull();
      values.set(sample![1]! + (sample![2] ?? ""), Number(sample![3]!.replace("+Inf", "Infinity")));
    }
    return { types, values };
  }

  const gauges = [
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "vllm:cache_config_info",
  ];
  const counters = [
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_preemptions_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:request_success_total",
    "http_requests_total",
  ];
  const histograms = [
    "vllm:iteration_tokens_total",
    "vllm:request_prompt_tokens",
    "vllm:request_generation_tokens",
    "vllm:request_max_num_generation_tokens",
    "vllm:request_params_max_tokens",
    "vllm:request_params_n",
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:time_per_output_token_seconds",
    "vllm:request_time_per_output_token_seconds",
    "vllm:e2e_request_latency_seconds",
    "vllm:request_queue_time_seconds",
    "vllm:request_inference_time_seconds",
    "vllm:request_prefill_time_seconds",
    "vllm:request_decode_time_seconds",
    "http_request_duration_seconds",
  ];

  it("have vLLM's names and types, and those of Node's process", async () => {
    const app = await server();
    await app.inject("/version");
    const { headers, body } = await app.inject("/metrics");
    expect(headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
    const { types } = parse(body);
    const ours = [...types].filter(([name]) => !/^(process|nodejs)_/.test(name)).sort();
    const expected = [
      ...gauges.map((name) => [name, "gauge"]),
      ...counters.map((name) => [name, "counter"]),
      ...histograms.map((name) => [name, "histogram"]),
    ];
    expect(ours).toEqual(expected.sort());
    expect([...types.keys()]).toEqual(
      expect.arrayContaining([
        "process_resident_memory_bytes",
        "nodejs_eventloop_lag_p99_seconds",
        "nodejs_heap_size_used_bytes",
      ]),
    );
  });

  it("count what the engine does, whoever asks it, and one engine only", async () => {
    await using own = await Engine.load(model, { contextLength: 256 });
    const app = await server({ engine: own, modelName: 'a "model"' });
    const labels = 'model_name="a \\"model\\"",engine="0"';
    await app.inject(post("/v1/work", { prompt: [1, 2, 3], n: 2 }));
    await own.generate([5, 6], { maxTokens: 4, temperature: 0, ignoreEos: true }).result;
    await engine.generate([5, 6], { maxTokens: 4 }).result;
    const { values } = parse((await app.inject("/metrics")).body);
    const value = (name: string, more = "") => values.get(`${name}{${labels}${more}}`);
    const bucket = (name: string, le: string) => values.get(`${name}_bucket{le="${le}",${labels}}`);
    expect(value("vllm:generation_tokens_total")).toBe(20);
    expect(value("vllm:prompt_tokens_total")).toBe(own.stats().promptTokens);
    expect(value("vllm:request_success_total", ',finished_reason="length"')).toBe(2);
    expect(value("vllm:request_success_total", ',finished_reason="abort"')).toBe(0);
    expect(value("vllm:request_success_total", ',finished_reason="error"')).toBe(0);
    expect(value("vllm:request_prompt_tokens_count")).toBe(2);
    expect(value("vllm:request_prompt_tokens_sum")).toBe(5);
    expect(bucket("vllm:request_prompt_tokens", "2")).toBe(1);
    expect(value("vllm:request_max_num_generation_tokens_sum")).toBe(12);
    expect(value("vllm:request_params_n_sum")).toBe(3);
    expect(value("vllm:time_to_first_token_seconds_count")).toBe(2);
    expect(value("vllm:inter_token_latency_seconds_count")).toBe(2 * 7 + 3);
    expect(bucket("vllm:inter_token_latency_seconds", "80")).toBe(17);
    expect(bucket("vllm:inter_token_latency_seconds", "+Inf")).toBe(17);
    expect(value("vllm:iteration_tokens_total_count")).toBe(own.stats().steps);
    expect(value("vllm:iteration_tokens_total_sum")).toBe(own.stats().tokensPerStep.sum);
    expect(value("vllm:kv_cache_usage_perc")).toBe(0);
    const { total } = own.stats().pages.full;
    const info = `,block_size="64",num_gpu_blocks="${total}",cache_dtype="f32",enable_prefix_caching="true"`;
    expect(value("vllm:cache_config_info", info)).toBe(1);
    expect(values.get('http_requests_total{handler="/v1/work",method="POST",status="200"}')).toBe(1);
  });

  it("tell apart who left, who aborted, and what failed", async () => {
    const own = await Engine.load(model, { contextLength: 256 });
    const app = await server({ engine: own });
    const ask = (signal?: AbortSignal) =>
      own.generate([7], { maxTokens: 200, ignoreEos: true, ...(signal && { signal }) });
    const outcomes = async () => {
      const { values } = parse((await app.inject("/metrics")).body);
      const of = (reason: string) =>
        values.get(`vllm:request_success_total{model_name="gpt-oss",engine="0",finished_reason="${reason}"}`);
      return { stop: of("stop"), length: of("length"), abort: of("abort"), error: of("error") };
    };
    for await (const _ of ask()) break;
    await expect.poll(outcomes).toEqual({ stop: 1, length: 0, abort: 0, error: 0 });
    const controller = new AbortController();
    const aborted = ask(controller.signal);
    controller.abort();
    await failure(() => aborted.result);
    expect(await outcomes()).toEqual({ stop: 1, length: 0, abort: 1, error: 0 });
    const failing = ask();
    await Promise.all([failure(() => failing.result), own.close()]);
    expect(await outcomes()).toEqual({ stop: 1, length: 0, abort: 1, error: 1 });
  });

  it("are cumulative, and name made-up paths once", async () => {
    const app = await server();
    for (const url of ["/a", "/b", "/v1/c"]) await app.inject(url);
    const { types, values } = parse((await app.inject("/metrics")).body);
    expect(values.get('http_requests_total{handler="none",method="GET",status="404"}')).toBe(3);
    for (const [name, type] of types) {
      if (type !== "histogram" || !name.startsWith("vllm:")) continue;
      const buckets = [...values].filter(([key]) => key.startsWith(`${name}_bucket`)).map(([, count]) => count);
      expect(buckets.length).toBeGreaterThan(5);
      expect(buckets).toEqual([...buckets].sort((a, b) => a - b));
    }
  });
});

describe("the log", () => {
  it("has a line for each request, and nothing of keys, queries and bodies", async () => {
    const lines: string[] = [];
    const write = (...parts: unknown[]) => void lines.push(JSON.stringify(parts));
    const logger = Object.fromEntries(
      ["fatal", "error", "warn", "info", "debug", "trace", "silent"].map((level) => [level, write]),
    ) as unknown as FastifyBaseLogger;
    Object.assign(logger, { level: "trace", child: () => logger });
    const app = await server({ logger, apiKeys: ["sesame"] });
    await app.inject(post("/v1/work?token=hushhush", { prompt: [1], text: "private" }, bearer("sesame")));
    await app.inject(post("/v1/work", { prompt: "private" }, bearer("sesame")));
    await app.inject(post("/v1/work", { prompt: [1] }, bearer("wrongkey")));
    const told = lines.filter((line) => line.includes("/v1/work"));
    expect(told).toHaveLength(3);
    expect(told[0]).toContain('"status":200');
    expect(told[1]).toContain('"status":400');
    expect(told[2]).toContain('"status":401');
    for (const word of ["sesame", "hushhush", "private", "wrongkey"]) expect(lines.join("\n")).not.toContain(word);
  });
});

describe("gptOssPlugin", () => {
  it("serves within an app that has its own routes, errors and unknown paths", async () => {
    const app = fastify();
    apps.push(app);
    app.get("/mine", async () => "mine");
    app.get("/broken", async () => {
      throw new Error("mine");
    });
    app.setNotFoundHandler((_, reply) => reply.code(404).send("my 404"));
    await app.register(gptOssPlugin, { engine, prefix: "/ai", apiKeys: ["alpha"], maxBodyBytes: 100 });
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
    apps.push(app);
    const error = await failure(() => app.register(gptOssPlugin, { engine, logger: true } as never));
    expect(error.code).toBe("INVALID_ARGUMENT");
  });
});
