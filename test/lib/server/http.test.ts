import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { beforeEach, describe, expect, it } from "vitest";
import { GptOssError } from "../../../lib/errors.js";
import { ApiError } from "../../../lib/server/index.js";
import { capturedLog } from "../../support/captured-log.js";
import { seededRandom } from "../../support/random.js";
import { held } from "../../support/server-endpoints.js";
import { bearer, json, listening, post, rawConnection, testServers } from "../../support/server-operations.js";

const { engine, server } = testServers();
beforeEach(() => void held.splice(0));

describe("bodies", () => {
  it("are JSON of a limited size", async () => {
    const app = await server({ maxBodyBytes: 1000 });
    const cases = [
      [{ ...json }, '{"prompt": [1', 400, null],
      [{ ...json }, "\u00ef{}", 400, null],
      [{ ...json }, JSON.stringify({ prompt: Array(1000).fill(1) }), 413, "request_too_large"],
      [{ "content-type": "text/plain" }, "hello", 415, null],
      [{ "content-type": "application/x-www-form-urlencoded" }, "a=b", 415, null],
      [{ "content-type": "nonsense" }, "a=b", 415, null],
      [{ "content-type": "application/json-seq" }, "{}", 415, null],
      [{ "content-type": "multipart/form-data; boundary=x" }, "--x", 415, null],
      [{}, "{}", 415, null],
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

  it("may have members of any name, which are no more than that", async () => {
    const app = await server();
    for (const name of ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty"]) {
      const payload = `\ufeff{"prompt": [1, 2], "${name}": {"prototype": {"polluted": 1}, "__proto__": {"polluted": 1}}}`;
      const answer = await app.inject({ method: "POST", url: "/v1/work", headers: json, payload });
      expect([name, answer.statusCode]).toEqual([name, 200]);
      const inherited = await app.inject({
        method: "POST",
        url: "/v1/work",
        headers: json,
        payload: `{"${name}": {"prompt": [1]}}`,
      });
      expect(inherited.json()).toMatchObject({ error: { param: "prompt" } });
    }
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it("that are compressed or in another character set are 415, and say what is expected", async () => {
    const app = await server();
    const plain = '{"prompt": [1, 2]}';
    const packed = { gzip: gzipSync(plain), br: brotliCompressSync(plain), deflate: deflateSync(plain) };
    const refused: [headers: Record<string, string>, body: string | Buffer, word: string][] = [
      ...Object.entries(packed).map(([name, body]): [Record<string, string>, Buffer, string] => {
        return [{ ...json, "content-encoding": name }, body, name];
      }),
      [{ ...json, "content-encoding": "zstd" }, plain, "zstd"],
      [{ ...json, "content-encoding": "GZIP, identity" }, plain, "gzip"],
      [{ "content-type": "application/json; charset=utf-16le" }, Buffer.from(plain, "utf16le"), "utf-16le"],
      [{ "content-type": 'application/json;Charset="ISO-8859-1"' }, plain, "iso-8859-1"],
    ];
    for (const [headers, payload, word] of refused) {
      const answer = await app.inject({ method: "POST", url: "/v1/work", headers, payload });
      expect([word, answer.statusCode, answer.headers["accept-encoding"]]).toEqual([
        word,
        415,
        "content-encoding" in headers ? "identity" : undefined,
      ]);
      expect(answer.json()).toEqual({
        error: { message: expect.stringContaining(word), type: "invalid_request_error", param: null, code: null },
      });
    }
    const taken = [
      { ...json, "content-encoding": "identity" },
      { "content-type": "application/json; charset=UTF-8" },
      { "content-type": 'application/json;charset="utf8"; x=y' },
      { "content-type": "application/json;charset=us-ascii" },
    ];
    for (const headers of taken) {
      for (const payload of [plain, `\ufeff${plain}`]) {
        expect((await app.inject({ method: "POST", url: "/v1/work", headers, payload })).statusCode).toBe(200);
      }
    }
    // Without a body, nothing can be compressed.
    const probe = await app.inject({ method: "GET", url: "/v1/models", headers: { "content-encoding": "gzip" } });
    expect(probe.statusCode).toBe(200);
    const port = await listening(app);
    const connection = await rawConnection(port);
    const head = "POST /v1/work HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n";
    connection.say(`${head}transfer-encoding: chunked\r\n\r\n`);
    await expect.poll(() => connection.heard).toMatch(/^HTTP\/1.1 415 /);
    connection.socket.destroy();
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
    const app = await server({ headersMilliseconds: 1000, requestMilliseconds: 1000, idleMilliseconds: 50 });
    const port = await listening(app);
    const client = await rawConnection(port);
    client.say("POST /v1/hold HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    await expect.poll(() => held.length).toBe(1);
    // The server closes connections without a request; this one has sent its request.
    const idle = await rawConnection(port);
    idle.say("GET ");
    expect(await idle.all()).toMatch(/^HTTP\/1.1 408 /);
    held[0]!.release({ late: true });
    expect(await client.all()).toMatch(/^HTTP\/1.1 200 [\s\S]*\{"late":true\}$/);
    expect(held[0]!.signal.aborted).toBe(false);
  });
});

describe("a hostile client", () => {
  it("does no harm: damaged, cut and doubled requests are answered or cut, and nothing stays behind", async () => {
    const app = await server({ headersMilliseconds: 300, requestMilliseconds: 300, drainMilliseconds: 2 ** 31 - 1 });
    const port = await listening(app);
    const random = seededRandom(7);
    const below = (n: number) => Math.floor(random() * n);
    const body = '{"prompt": [1, 2, 3]}';
    const whole = `POST /v1/work HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
    const damage = [
      (text: string) => text.slice(0, below(text.length)),
      (text: string) => text + text.slice(0, below(text.length)),
      (text: string) => text.replace(/\r\n/g, () => ["\r\n", "\n", "\r", "\0", "\r\n\r\n"][below(5)]!),
      (text: string) => text.replace("content-length", ["transfer-encoding", "Content-Length: 3\r\nx", "x"][below(3)]!),
      (text: string) => {
        const at = below(text.length);
        return text.slice(0, at) + String.fromCharCode(below(256)) + text.slice(at + below(3));
      },
    ];
    const one = async () => {
      const connection = await rawConnection(port);
      let text = whole;
      for (let i = below(3); i >= 0; i--) text = damage[below(damage.length)]!(text);
      connection.say(text);
      if (below(2) === 0) connection.socket.end();
      if (below(4) === 0) connection.socket.resetAndDestroy();
      // A connection that was answered may be kept open for more.
      await Promise.race([connection.closed, new Promise((resolve) => setTimeout(resolve, 50 + below(100)))]);
      connection.socket.destroy();
    };
    for (let round = 0; round < 10; round++) await Promise.all(Array.from({ length: 30 }, one));
    expect((await app.inject("/health")).statusCode).toBe(200);
    expect((await app.inject(post("/v1/work", { prompt: [1] }))).statusCode).toBe(200);
    await expect.poll(() => engine().stats().running).toBe(0);
    await app.drain();
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

  it("aborts for every request of a connection that was sent without waiting for the one before", async () => {
    const app = await server({ concurrentRequests: 20, drainMilliseconds: 2 ** 31 - 1 });
    const port = await listening(app);
    const client = await rawConnection(port);
    client.say(ask.repeat(15));
    await expect.poll(() => held.length).toBe(15);
    held[1]!.release({}); // it has its answer, which no client reads
    client.socket.destroy();
    await expect.poll(() => held.map(({ signal }) => signal.aborted)).not.toContain(false);
    const metrics = async () => (await app.inject("/metrics")).body;
    await expect.poll(metrics).toContain('http_requests_total{handler="/v1/hold",method="POST",status="499"} 15');
    await app.drain();
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

describe("the log", () => {
  it("has a line for each request, and nothing of keys, queries and bodies", async () => {
    const { logger, all } = capturedLog();
    const app = await server({ logger, apiKeys: ["sesame"] });
    await app.inject(post("/v1/work?token=hushhush", { prompt: [1], text: "private" }, bearer("sesame")));
    await app.inject(post("/v1/work", { prompt: "private" }, bearer("sesame")));
    await app.inject(post("/v1/work", { prompt: [1] }, bearer("wrongkey")));
    const lines = all.map((line) => JSON.stringify(line));
    const told = lines.filter((line) => line.includes('"status"'));
    expect(told).toHaveLength(3);
    expect(told[0]).toContain('"status":200');
    expect(told[1]).toContain('"status":400');
    expect(told[2]).toContain('"status":401');
    for (const word of ["sesame", "hushhush", "private", "wrongkey"]) expect(lines.join("\n")).not.toContain(word);
  });
});
