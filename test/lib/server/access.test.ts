import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createServer, type ServerOptions } from "../../../lib/server/index.js";
import { clientAddress } from "../../../lib/server/tenants/client-address.js";
import { WrongKeys } from "../../../lib/server/tenants/wrong-keys.js";
import { held } from "../../support/server-endpoints.js";
import {
  bearer,
  failure,
  listening,
  post,
  rawConnection,
  testClock,
  testServers,
} from "../../support/server-operations.js";

const { engine, server } = testServers();
beforeEach(() => void held.splice(0));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-server-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

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
    for (const text of ["", "# none\n"]) {
      writeFileSync(file, text);
      expect((await failure(() => app.reloadApiKeys())).code).toBe("INVALID_ARGUMENT");
      expect((await failure(() => createServer({ engine: engine(), apiKeys: { file } }))).code).toBe(
        "INVALID_ARGUMENT",
      );
    }
    expect(await status("gamma")).toBe(200);
  });

  it.each([
    ["two words", "a blank"],
    ["schlüssel", "a letter that is not ASCII"],
    ["a\u0000b", "a control character"],
    ["a\tb", "a tab"],
    ["\u200bkey", "an invisible character"],
    ["a\ufffdb", "what was not UTF-8"],
    ["k".repeat(4097), "more than a header should hold"],
  ])("are refused at the start when none could send them, by line or index and without the key: %j", async (key) => {
    const file = path.join(folder, "unsendable");
    writeFileSync(file, `# keys\n\nalpha\n${key}\nbeta\n`);
    const ofFile = await failure(() => createServer({ engine: engine(), apiKeys: { file } }));
    const ofList = await failure(() => createServer({ engine: engine(), apiKeys: ["alpha", "beta", key] }));
    expect([ofFile.code, ofList.code]).toEqual(["INVALID_ARGUMENT", "INVALID_ARGUMENT"]);
    expect(ofFile.message).toMatch(/^Line 4 of the file of API keys .*unsendable could not be sent in a header/);
    expect(ofList.message).toMatch(/^apiKeys\[2\] could not be sent in a header/);
    for (const { message } of [ofFile, ofList]) expect(message).not.toContain(key);
  });

  it("may have a byte-order mark, blanks and Windows' line ends around them", async () => {
    const file = path.join(folder, "windows");
    writeFileSync(file, `\ufeffalpha\r\n\t${"k".repeat(4096)} \r\n`);
    const app = await server({ apiKeys: { file } });
    for (const key of ["alpha", "k".repeat(4096)]) {
      expect((await app.inject({ url: "/v1/models", headers: bearer(key) })).statusCode).toBe(200);
    }
  });
});

describe("wrong keys", () => {
  const asking =
    (app: FastifyInstance, url = "/v1/models") =>
    (key: string, remoteAddress = "192.0.2.1") =>
      app.inject({ url, headers: bearer(key), remoteAddress });

  it("are limited by address and minute, and lock no right key out", async () => {
    const { clock, pass } = testClock();
    const ask = asking(await server({ apiKeys: ["alpha"], clock }));
    for (let n = 0; n < 30; n++) expect((await ask(`wrong${n}`)).statusCode).toBe(401);
    pass(20_000);
    const refused = await ask("wrong");
    expect(refused.statusCode).toBe(429);
    expect(refused.headers["retry-after"]).toBe("40");
    expect(refused.json()).toMatchObject({ error: { type: "rate_limit_error", code: "too_many_wrong_keys" } });
    expect((await ask("alpha")).statusCode).toBe(200);
    expect((await ask("wrong", "192.0.2.2")).statusCode).toBe(401);
    pass(39_999);
    expect((await ask("wrong")).headers["retry-after"]).toBe("1");
    pass(1);
    expect((await ask("wrong")).statusCode).toBe(401);
    pass(-3_600_000);
    expect((await ask("wrong")).statusCode).toBe(401);
  });

  it("are counted at /metrics with the others, and requests without a key are not", async () => {
    const { clock } = testClock();
    const app = await server({ apiKeys: ["alpha"], metricsNeedKey: true, clock });
    const ask = asking(app, "/metrics");
    for (let n = 0; n < 100; n++) expect((await app.inject("/v1/models")).statusCode).toBe(401);
    for (let n = 0; n < 30; n++) expect((await ask("wrong")).statusCode).toBe(401);
    expect((await ask("wrong")).statusCode).toBe(429);
    expect((await asking(app)("wrong")).statusCode).toBe(429);
    expect((await ask("alpha")).statusCode).toBe(200);
  });

  it("are remembered of those only that were wrong last", () => {
    const { clock } = testClock();
    const wrong = new WrongKeys(clock);
    const status = (address: string) => wrong.refusal(address).status;
    const often = () => Array.from({ length: 31 }, () => status("often")).at(-1);
    expect(often()).toBe(429);
    for (let n = 0; n < 4000; n++) status(`a${n}`);
    expect(status("often")).toBe(429);
    for (let n = 0; n < 10_000; n++) status(`b${n}`);
    expect(wrong.size).toBe(4096);
    expect(status("often")).toBe(401);
  });

  it("count together within an IPv6 network of one client", () => {
    const networks = {
      "192.0.2.1": "192.0.2.1",
      "::ffff:192.0.2.1": "192.0.2.1",
      "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
      "2001:0DB8:1:2::1": "2001:db8:1:2::/64",
      "2001:db8::1": "2001:db8:0:0::/64",
      "2001:db8:1::": "2001:db8:1:0::/64",
      "1:2:3::4:5:6:7": "1:2:3:0::/64",
      "64:ff9b::192.0.2.1": "64:ff9b:0:0::/64",
      "::1": "0:0:0:0::/64",
      "fe80::1%eth0": "fe80:0:0:0::/64",
      "192.0.2.1:4711": "192.0.2.1",
      "[2001:db8:1:2::1]:4711": "2001:db8:1:2::/64",
      "[2001:db8:1:2::1]": "2001:db8:1:2::/64",
      unknown: "unknown",
      [`made up ${"x".repeat(9999)}`]: "unknown",
      "": "unknown",
    };
    for (const [address, network] of Object.entries(networks)) expect(clientAddress(address)).toBe(network);
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

  it.each<Partial<ServerOptions>>([{}, { cors: [origin] }, { cors: ["*"] }])(
    "leaves OPTIONS, where no browser asks, a method like any other: %j",
    async (options) => {
      const app = await server(options);
      const told = async (method: "OPTIONS" | "PUT", url: string, headers: Record<string, string> = {}) => {
        const { statusCode, headers: told, payload } = await app.inject({ method, url, headers });
        return { statusCode, allow: told.allow, type: told["content-type"], body: payload.replaceAll(method, "") };
      };
      for (const url of ["/v1/hold", "/v1/models", "/v1/none", "/none", "/health"]) {
        const usual = await told("PUT", url);
        expect(usual.statusCode).toBe(url.includes("none") ? 404 : 405);
        expect(await told("OPTIONS", url)).toEqual(usual);
        expect(await told("OPTIONS", url, { origin })).toEqual(usual);
        if (url.includes("none") || !options.cors) expect(await told("OPTIONS", url, preflight)).toEqual(usual);
      }
      const client = await rawConnection(await listening(app));
      client.say("OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
      expect(await client.all()).toMatch(/^HTTP\/1.1 404 .*\r\n\r\n\{"error":\{.*"not_found_error"/s);
    },
  );

  it("leaves OPTIONS without a key to those who have one", async () => {
    const app = await server({ cors: [origin], apiKeys: ["alpha"] });
    const told = async (headers: Record<string, string>) =>
      (await app.inject({ method: "OPTIONS", url: "/v1/hold", headers })).statusCode;
    expect([await told({}), await told({ origin }), await told(bearer("alpha"))]).toEqual([401, 401, 405]);
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

  it("are per address where there are no keys, of IPv6 per network", async () => {
    const app = await server({ requestsPerMinute: 1 });
    const ask = async (remoteAddress: string) => (await app.inject({ url: "/v1/models", remoteAddress })).statusCode;
    expect([await ask("192.0.2.1"), await ask("192.0.2.2"), await ask("192.0.2.1")]).toEqual([200, 200, 429]);
    expect([await ask("2001:db8::1"), await ask("2001:db8::ffff:2"), await ask("2001:db8:0:1::1")]).toEqual([
      200, 429, 200,
    ]);
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

describe("a client's address", () => {
  /** The address with which this request is counted for limits. */
  async function addressOf(trustProxy: ServerOptions["trustProxy"], remoteAddress: string, forwarded?: string) {
    const app = await server({ ...(trustProxy !== undefined && { trustProxy }) });
    let seen: string | undefined;
    app.addHook("onRequest", async ({ ip }) => {
      seen = ip;
    });
    const headers = forwarded === undefined ? {} : { "x-forwarded-for": forwarded };
    await app.inject({ url: "/v1/models", remoteAddress, headers });
    return seen;
  }

  const [proxy, outer, client, made] = ["10.0.0.1", "10.0.0.2", "198.51.100.7", "203.0.113.9"];
  it.each<[trustProxy: ServerOptions["trustProxy"], from: string, forwarded: string | undefined, expected: string]>([
    [undefined, client, made, client],
    [false, client, made, client],
    [0, client, made, client],
    // One proxy: the address that it added, whatever the client had written before.
    [true, proxy, `${made}, ${client}`, client],
    [1, proxy, `${made}, ${client}`, client],
    [1, proxy, `${made},${made}, ${client}`, client],
    [1, proxy, client, client],
    [1, proxy, undefined, proxy],
    // Two proxies.
    [2, proxy, `${made}, ${client}, ${outer}`, client],
    [2, proxy, `${client}, ${outer}`, client],
    [2, proxy, client, client],
    // By the proxies' addresses: headers from other addresses are ignored.
    ["10.0.0.0/8", proxy, `${made}, ${client}, ${outer}`, client],
    ["10.0.0.0/8", proxy, `${outer}, ${client}`, client],
    ["10.0.0.0/8", client, made, client],
    [["10.0.0.1"], proxy, `${client}, ${outer}`, outer],
    ["10.0.0.1, 10.0.0.2", proxy, `${client}, ${outer}`, client],
    [["10.0.0.0/8"], "::ffff:10.0.0.1", `${made}, ${client}`, client],
    [["2001:db8::/32"], "2001:db8::1", `${made}, ${client}`, client],
    [["2001:db8::/32"], "2001:db9::1", `${made}, ${client}`, "2001:db9::1"],
    [["10.0.0.0/8"], proxy, `${client}, unknown`, "unknown"],
  ])("behind %j, from %s with %j, is %s", async (trustProxy, from, forwarded, expected) => {
    expect(await addressOf(trustProxy, from, forwarded)).toBe(expected);
  });

  it.each([
    -1,
    1.5,
    17,
    Number.NaN,
    "",
    "proxy",
    "10.0.0.0/33",
    "10.0.0",
    "::/129",
    "2",
    [],
    [1],
    ["10.0.0.1", ""],
    {},
    null,
  ])("cannot come from %j", async (trustProxy) => {
    const error = await failure(() => createServer({ engine: engine(), trustProxy: trustProxy as never }));
    expect([error.code, error.message]).toEqual(["INVALID_ARGUMENT", expect.stringContaining("trustProxy")]);
  });
});
