import { once } from "node:events";
import type http from "node:http";
import net, { type AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { NewRow } from "../../../lib/bench/rows.js";
import { benchServe, type ServeProgress } from "../../../lib/bench/serve/bench-serve.js";
import type { ServeBenchOptions } from "../../../lib/bench/serve/options.js";
import { GptOssError } from "../../../lib/errors.js";
import { reply, think } from "../../../lib/testing/index.js";
import { done, event, finish, type Handler, OtherServer, stream, usage } from "../../support/other-server.js";
import { scriptedServer } from "../../support/server.js";

/** `benchServe` against our own server and against servers that are not ours. */

const open: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

async function otherServer(handler: Handler): Promise<OtherServer> {
  const server = await OtherServer.start(handler);
  open.push(() => server.close());
  return server;
}

async function listening(server: net.Server): Promise<string> {
  await once(server.listen(0, "127.0.0.1"), "listening");
  open.push(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const given: ServeBenchOptions = {
  server: { url: "", headers: {} },
  endpoint: "chat",
  levels: [{ kind: "closed", concurrency: 2 }],
  requests: 6,
  warmup: 0,
  seed: 1,
  inputTokens: 10,
  outputTokens: 8,
  ignoreEos: false,
  body: {},
  serviceLevel: null,
  timeoutSeconds: 30,
};

interface Measured {
  rows: NewRow[];
  error: unknown;
  progress: ServeProgress[];
}

async function measure(
  url: string,
  options: Partial<ServeBenchOptions> = {},
  stop?: AbortController,
): Promise<Measured> {
  const found: Measured = { rows: [], error: null, progress: [] };
  const watch = {
    signal: (stop ?? new AbortController()).signal,
    onProgress: (one: ServeProgress) => found.progress.push(one),
  };
  try {
    for await (const row of benchServe({ ...given, server: { url, headers: {} }, ...options }, watch))
      found.rows.push(row);
  } catch (error) {
    found.error = error;
  }
  return found;
}

const counts = ({ values }: NewRow) =>
  Object.fromEntries(
    ["completed", "failed", "inputTokens", "outputTokens"].map((name) => [name, values[name]?.median]),
  );
const latencies = ["ttft", "tpot", "itl", "e2e"].flatMap((name) => [name, `${name}Mean`, `${name}P99`]);

describe("our own server", () => {
  const scripts = () => ({ messages: [think("I count."), reply("One, two, three.")] });

  it("is measured at each level, with its own counts", async () => {
    await using server = await scriptedServer(scripts);
    const url = await server.app.listen({ host: "127.0.0.1", port: 0 });
    const levels = [1, 3].map((concurrency) => ({ kind: "closed" as const, concurrency }));
    const options = { levels, warmup: 2, outputTokens: 64, serviceLevel: { e2e: 1e6, ttft: 1e6 } };
    const { rows, error, progress } = await measure(url, options);
    expect(error).toBeNull();
    const [first] = server.engine.requests;
    expect(server.engine.requests.length).toBe(2 + 6 + 6);
    const promptTokens = first!.promptTokens.length;
    const answerTokens = await answerTokensOf(url);
    for (const [i, row] of rows.entries()) {
      expect(row).toMatchObject({
        bench: "serve",
        name: "closed-loop",
        parameters: {
          ...{ model: "gpt-oss-20b", endpoint: "chat", concurrency: [1, 3][i], requests: 6 },
          ...{ inputTokens: 10, outputTokens: 64, ignoreEos: false, slo: "e2e=1000000,ttft=1000000" },
        },
        about: { url: `${url}/v1`, seed: 1, warmup: 2, tokensCountedBy: "usage", interrupted: false, firstError: null },
      });
      expect(counts(row)).toEqual({
        ...{ completed: 6, failed: 0 },
        ...{ inputTokens: 6 * promptTokens, outputTokens: 6 * answerTokens },
      });
      for (const name of latencies) expect(row.values[name]!.median).toBeGreaterThanOrEqual(0);
      expect(row.values.ttft!.samples!.length).toBe(6);
      expect(row.values.goodput!.median).toBe(row.values.requestThroughput!.median);
    }
    expect(progress.at(-1)).toEqual({
      level: "closed loop, concurrency 3",
      ...{ completed: 6, failed: 0, requests: 6, outputTokens: 6 * answerTokens },
    });
    // No prompt begins as another one does.
    const prompts = server.engine.requests.map(({ text }) => /user<\|message\|>(.*?)<\|end\|>/.exec(text)![1]!);
    expect(new Set(prompts).size).toBe(prompts.length);
  });

  /** The output tokens of one answer, as the server counts them. */
  async function answerTokensOf(url: string): Promise<number> {
    const body = JSON.stringify({ model: "gpt-oss-20b", messages: [{ role: "user", content: "a" }], max_tokens: 64 });
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body });
    return ((await response.json()) as { usage: { completion_tokens: number } }).usage.completion_tokens;
  }

  it("answers completions in an open loop", async () => {
    await using server = await scriptedServer(() => ({ text: "One, two, three." }));
    const url = await server.app.listen({ host: "127.0.0.1", port: 0 });
    const levels = [{ kind: "open" as const, rate: 500, maxConcurrency: 2 }];
    const { rows, error } = await measure(`${url}/v1/`, { levels, endpoint: "completions", body: { temperature: 0 } });
    expect(error).toBeNull();
    expect(rows[0]).toMatchObject({
      name: "open-loop",
      parameters: { endpoint: "completions", rate: 500, maxConcurrency: 2, body: '{"temperature":0}' },
      about: { url: `${url}/v1`, tokensCountedBy: "usage" },
    });
    // The prompt as it is, so with the tokens of our own tokenizer.
    expect(counts(rows[0]!)).toMatchObject({ completed: 6, failed: 0, inputTokens: 60 });
  });

  it("refuses a model that it does not have", async () => {
    await using server = await scriptedServer(scripts);
    const url = await server.app.listen({ host: "127.0.0.1", port: 0 });
    const { rows, error } = await measure(url, { model: "gpt-5", warmup: 1 });
    expect(rows).toEqual([]);
    expect(error).toMatchObject({ code: "SERVER" });
    expect((error as Error).message).toMatch(
      /^no request of the warm-up succeeded; the first error was: the server answered 404: .*gpt-5/,
    );
  });
});

describe("another server", () => {
  it("gets what was asked for, over connections that are kept", async () => {
    const { url, seen, connections } = await otherServer((_, response) => {
      stream(response, event("a"), event("b"), finish, usage, done).end();
    });
    const server = {
      url: `${url}/v1/`,
      apiKey: "sk-secret",
      headers: { "X-Team": "blue", Accept: "text/event-stream" },
    };
    const { rows, error } = await measure("", { server, ignoreEos: true, body: { temperature: 0, max_tokens: 5 } });
    expect(error).toBeNull();
    expect(counts(rows[0]!)).toEqual({ completed: 6, failed: 0, inputTokens: 300, outputTokens: 24 });
    const [{ url: path, headers, body }] = seen as [(typeof seen)[0]];
    expect(path).toBe("/v1/chat/completions");
    expect(headers).toMatchObject({ authorization: "Bearer sk-secret", "x-team": "blue" });
    expect(body).toEqual({
      model: "other",
      messages: [{ role: "user", content: expect.stringMatching(/^[a-z]+( [a-z]+){9}$/) }],
      ...{ max_tokens: 5, temperature: 0, stream: true, stream_options: { include_usage: true }, ignore_eos: true },
    });
    // One for the list of models, which the first client goes on with, and one for the other client.
    expect(connections.size).toBeLessThanOrEqual(3);
    expect(JSON.stringify(rows)).not.toContain("sk-secret");
  });

  it.each<[name: string, handler: Handler, counted: object]>([
    [
      "tells no usage",
      (_, response) => stream(response, event("a"), event("b"), event("c"), finish, done).end(),
      { inputTokens: 60, outputTokens: 18 },
    ],
    [
      "writes CRLF and comments",
      (_, response) => {
        const text = `: hello\n\n${event("a")}: ping\n\n${finish}${usage}${done}`;
        stream(response, text.replaceAll("\n", "\r\n")).end();
      },
      { inputTokens: 300, outputTokens: 24 },
    ],
    ["does not say [DONE]", (_, response) => stream(response, event("a"), finish).end(), { outputTokens: 6 }],
    [
      "does not finish the event [DONE]",
      (_, response) => stream(response, event("a"), done.trimEnd()).end(),
      { outputTokens: 6 },
    ],
    [
      "closes each connection",
      (_, response) => stream(response.setHeader("connection", "close"), event("a"), usage, done).end(),
      { outputTokens: 24 },
    ],
    [
      "cuts its events into bytes",
      async (_, response) => {
        stream(response);
        for (const byte of Buffer.from(`${event("é")}${usage}${done}`)) response.write(Buffer.of(byte));
        response.end();
      },
      { outputTokens: 24 },
    ],
  ])("is measured where it %s", async (_, handler, counted) => {
    const { url } = await otherServer(handler);
    const { rows, error } = await measure(url);
    expect(error).toBeNull();
    expect(counts(rows[0]!)).toMatchObject({ completed: 6, failed: 0, ...counted });
  });

  it("need not end a response after [DONE]", async () => {
    const { url } = await otherServer((_, response) => void stream(response, event("a"), usage, done));
    const { rows, error } = await measure(url, { requests: 2 });
    expect(error).toBeNull();
    expect(counts(rows[0]!)).toMatchObject({ completed: 2, failed: 0 });
  });

  it("says who counted", async () => {
    const some = await otherServer((_, response, i) => stream(response, event("a"), i % 2 ? usage : "", done).end());
    const none = await otherServer((_, response) => stream(response, event("a"), done).end());
    const by = async (url: string) => (await measure(url)).rows[0]!.about!.tokensCountedBy;
    expect([await by(some.url), await by(none.url)]).toEqual(["usage and pieces", "pieces"]);
  });

  it("is asked again where it closes a kept connection at the time of the next request", async () => {
    const used = new WeakSet<object>();
    const { url, seen } = await otherServer((_, response) => {
      const { socket } = response;
      if (used.has(socket!)) socket!.destroy();
      else stream(response, event("a"), usage, done).end();
      used.add(socket!);
    });
    const { rows, error } = await measure(url, { requests: 10, model: "m" });
    expect(error).toBeNull();
    expect(counts(rows[0]!)).toMatchObject({ completed: 10, failed: 0 });
    expect(seen.length).toBeGreaterThan(10); // the refused ones came again
  });

  const json = (status: number, body: string) => (_: unknown, response: http.ServerResponse) => {
    response.writeHead(status, { "content-type": "application/json" }).end(body);
  };
  it.each<[name: string, handler: Handler, message: string | RegExp]>([
    [
      "is busy",
      json(429, '{"error":{"message":"Too many requests","code":"queue_full"}}'),
      "the server answered 429: Too many requests",
    ],
    ["fails", json(500, "Internal\n  Server Error"), "the server answered 500: Internal Server Error"],
    ["fails without a word", json(503, ""), "the server answered 503: an empty body"],
    ["has another form of errors", json(422, '{"detail":"no"}'), "the server answered 422: no"],
    ["moved", json(301, "{}"), "the server answered 301: {}"],
    ["has much to say", json(400, "x".repeat(1e6)), /^the server answered 400: x{300}…$/],
    [
      "does not stream",
      json(200, '{"choices":[]}'),
      'expected text/event-stream, but the server answered content-type application/json: {"choices":[]}',
    ],
    [
      "sends rubbish",
      (_, response) => stream(response, "data: <html>\n\n").end(),
      "the server sent an event that is no JSON object: <html>",
    ],
    [
      "fails in the middle",
      (_, response) => stream(response, event("a"), 'data: {"error":{"message":"out of memory"}}\n\n').end(),
      "the server sent an error: out of memory",
    ],
    [
      "ends early",
      (_, response) => stream(response, event("a"), event("b")).end(),
      "the stream broke off after 2 pieces of text",
    ],
    [
      "breaks the connection off",
      (_, response) => stream(response, event("a")).write("", () => response.destroy()),
      "the connection broke off in the middle of the answer",
    ],
    ["says nothing", (_, response) => stream(response, usage, done).end(), "the answer had no text"],
    ["stalls", (_, response) => void stream(response, event("a")), "no whole answer within 0.2 s"],
    [
      "repeats a secret",
      (_, response) => json(401, '{"error":"no such key: sk-secret-key"}')(_, response),
      "the server answered 401: no such key: ***",
    ],
  ])("that %s: its failures are counted, and the first one is told", async (_, handler, message) => {
    const { url } = await otherServer(handler);
    const server = { url, apiKey: "sk-secret-key", headers: {} };
    const timeoutSeconds = typeof message === "string" && message.endsWith("0.2 s") ? 0.2 : 30;
    const { rows, error } = await measure("", { server, requests: 4, timeoutSeconds });
    expect(counts(rows[0]!)).toMatchObject({ completed: 0, failed: 4, outputTokens: 0 });
    const first = rows[0]!.about!.firstError;
    if (typeof message === "string") expect(first).toBe(message);
    else expect(first).toMatch(message);
    expect(error).toEqual(
      new GptOssError("SERVER", `no request of closed loop, concurrency 2 succeeded; the first error was: ${first}`),
    );
    expect(error).toMatchObject({ code: "SERVER" });
  });

  it("may fail some requests", async () => {
    const { url } = await otherServer((body, response, i) =>
      i % 3 === 0 ? json(429, '{"error":"busy"}')(body, response) : stream(response, event("a"), usage, done).end(),
    );
    const { rows, error, progress } = await measure(url, { requests: 9 });
    expect(error).toBeNull();
    expect(counts(rows[0]!)).toEqual({ completed: 6, failed: 3, inputTokens: 300, outputTokens: 24 });
    expect(rows[0]!.about!.firstError).toBe("the server answered 429: busy");
    expect(progress.at(-1)).toMatchObject({ completed: 6, failed: 3, requests: 9, outputTokens: 24 });
  });

  it("is measured at the other levels where one fails", async () => {
    const { url } = await otherServer((body, response, i) =>
      i > 3 && i <= 6 ? json(500, "")(body, response) : stream(response, event("a"), usage, done).end(),
    );
    const levels = [1, 2, 3].map((concurrency) => ({ kind: "closed" as const, concurrency }));
    const { rows, error } = await measure(url, { requests: 3, levels });
    expect(rows.map((row) => row.values.completed!.median)).toEqual([3, 0, 3]);
    expect((error as Error).message).toMatch(/^no request of closed loop, concurrency 2 succeeded; .* 500: an empty/);
  });

  it("is left alone after an abort, and what was measured until then is kept", async () => {
    const stop = new AbortController();
    const closed: Promise<unknown>[] = [];
    const { url } = await otherServer((_, response, i) => {
      if (i <= 3) stream(response, event("a"), usage, done).end();
      else {
        closed.push(once(response, "close"));
        stream(response, event("a")).write(": \n\n", () => stop.abort(new Error("Ctrl-C")));
      }
    });
    const { rows, error } = await measure(url, { requests: 50, levels: [{ kind: "closed", concurrency: 1 }] }, stop);
    expect(error).toEqual(new Error("Ctrl-C"));
    expect(counts(rows[0]!)).toMatchObject({ completed: 3, failed: 0 });
    expect(rows[0]!.about!.interrupted).toBe(true);
    await Promise.all(closed);
    expect(closed.length).toBe(1);
  });
});

describe("what is no server of this API", () => {
  const refused = (url: string, options: Partial<ServeBenchOptions> = {}) =>
    measure(url, options).then(({ rows, error }) => {
      expect(rows).toEqual([]);
      return error as GptOssError;
    });

  it("is told where nothing listens", async () => {
    const server = net.createServer();
    const url = await listening(server);
    server.close();
    const { code, message } = await refused(url);
    expect(code).toBe("SERVER");
    expect(message).toBe(
      `${url}/v1/models does not list the models of the server: the connection to ${url.slice(7)} failed (ECONNREFUSED)`,
    );
    const { message: named } = await refused(url, { model: "m", warmup: 2 });
    expect(named).toMatch(/^no request of the warm-up succeeded; the first error was: the connection to .* failed/);
  });

  it.each<[name: string, answer: string, message: RegExp]>([
    ["another protocol", "SSH-2.0-OpenSSH_9.2\r\n", /does not answer as HTTP asks \(HPE_INVALID_CONSTANT\)$/],
    ["an empty answer", "", /the connection to .* failed \(ECONNRESET\)$/],
    ["a page", reply200("text/html", "<html>"), /but the server answered content-type text\/html: <html>$/],
    ["no JSON", reply200("application/json", "{"), /the answer is no JSON$/],
    ["no list", reply200("application/json", "null"), /lists no model; name one with --model$/],
    ["an empty list", reply200("application/json", '{"data":[]}'), /lists no model/],
    ["a list of other things", reply200("application/json", '{"data":[{"id":7}]}'), /lists no model/],
    ["another status", "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", /answered 404: an empty body$/],
    [
      "a switch of protocols",
      "HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
      /was closed|failed/,
    ],
  ])("is told where it answers with %s", async (_, answer, message) => {
    const url = await listening(net.createServer((socket) => socket.on("error", () => {}).end(answer)));
    const error = await refused(url);
    expect(error).toMatchObject({ code: "SERVER" });
    expect(error.message).toMatch(message);
  });

  function reply200(type: string, body: string): string {
    return `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  }

  it.each<[name: string, options: Partial<ServeBenchOptions>, message: RegExp]>([
    ["no URL", { server: { url: "localhost", headers: {} } }, /^Expected a URL such as .* for url but received/],
    ["another scheme", { server: { url: "ftp://a", headers: {} } }, /for url but received/],
    ["a bad header", { server: { url: "http://a", headers: { "a b": "c" } } }, /^Expected a name .* for a header/],
    ["a bad value", { server: { url: "http://a", headers: { a: "secret\n" } } }, /for a header but received "a"/],
    ["a bad key", { server: { url: "http://a", apiKey: "ключ", headers: {} } }, /^The API key has a character/],
    ["no client", { levels: [{ kind: "closed", concurrency: 0 }] }, /for concurrency but received 0/],
    ["no rate", { levels: [{ kind: "open", rate: 0, maxConcurrency: null }] }, /for rate but received 0/],
    ["no bound", { levels: [{ kind: "open", rate: 1, maxConcurrency: 0 }] }, /for maxConcurrency but received 0/],
    ["no request", { requests: 0 }, /for requests but received 0/],
    ["fewer than no warm-up", { warmup: -1 }, /for warmup but received -1/],
    ["no input", { inputTokens: 0 }, /for inputTokens but received 0/],
    ["no output", { outputTokens: 0 }, /for outputTokens but received 0/],
    ["no seed", { seed: -1 }, /for seed but received -1/],
    ["no time", { timeoutSeconds: 0 }, /for timeout but received 0/],
  ])("is not asked with wrong options: %s", async (_, options, message) => {
    const error = await refused("http://127.0.0.1:1", options);
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain("secret");
  });
});
