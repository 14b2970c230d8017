import { mkdtempSync, rmSync } from "node:fs";
import { connect, type NetConnectOpts } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { FastifyInstance } from "fastify";
import { afterAll, describe, expect, it } from "vitest";
import { reply, ScriptedEngine } from "../../../lib/testing/index.js";
import { type CapturedLog, capturedLog } from "../../support/captured-log.js";
import { listening, rawConnection, testServers } from "../../support/server-operations.js";

const { server, engine } = testServers();
const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-stalled-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let sockets = 0;

/** Listens on a socket of files, which buffers a tenth of what TCP does: that much less is written until it is full. */
async function smallSocket(app: FastifyInstance): Promise<NetConnectOpts> {
  const address = { path: path.join(folder, String(sockets++)) };
  await app.listen(address);
  return address;
}

function request(url: string, body: object): string {
  const text = JSON.stringify({ model: "gpt-oss", ...body });
  return `POST ${url} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
}

/** More of an answer than the sockets can buffer: each token comes with the twenty likeliest ones. */
const large = { prompt: [1, 2, 3], n: 8, max_tokens: 250, logprobs: 20, ignore_eos: true, temperature: 1 };

/** Many of these requests on one connection: all are answered in order, and none of the answers is read. */
const unread = (stream: boolean) => request("/v1/completions", { ...large, stream }).repeat(8);

/** A client that sends requests and reads nothing. */
async function deafClient(address: NetConnectOpts, text: string) {
  const socket = connect(address);
  socket.on("error", () => {});
  socket.pause();
  await new Promise<void>((resolve) => socket.write(text, () => resolve()));
  return socket;
}

/** The log lines of requests that were cut. */
function cuts({ all }: CapturedLog): string[] {
  return all.map((line) => String(line.at(-1))).filter((text) => text.startsWith("cut: "));
}

describe("a client that does not read", () => {
  it.each([true, false])(
    "is cut, and what it asked for ends (stream: %s)",
    async (stream) => {
      const log = capturedLog();
      const app = await server({ readerMilliseconds: 300, logger: log.logger });
      const address = stream ? { port: await listening(app), host: "127.0.0.1" } : await smallSocket(app);
      const socket = await deafClient(address, unread(stream));
      const stalled = async () => (await app.inject("/metrics")).body.match(/http_stalled_readers_total (\d+)/)?.[1];
      await expect.poll(stalled, { timeout: 120_000, interval: 200 }).toBe("1");
      expect(cuts(log)).toHaveLength(1);
      await expect.poll(() => engine().stats()).toMatchObject({ running: 0, waiting: 0, blocked: 0 });
      socket.destroy();
    },
    180_000,
  );

  it.each([
    ["/v1/chat/completions", { messages: [{ role: "user", content: "x" }], logprobs: true, top_logprobs: 20 }],
    ["/v1/responses", { input: "x", top_logprobs: 20 }],
  ])(
    "is cut in a stream of %s",
    async (url, body) => {
      const log = capturedLog();
      await using scripted = new ScriptedEngine([reply("word ".repeat(8000))], { contextLength: 16_384 });
      const app = await server({ engine: scripted, readerMilliseconds: 300, logger: log.logger });
      const address = await smallSocket(app);
      const socket = await deafClient(address, request(url, { ...body, stream: true }).repeat(4));
      const stalled = async () => (await app.inject("/metrics")).body.match(/http_stalled_readers_total (\d+)/)?.[1];
      await expect.poll(stalled, { timeout: 120_000, interval: 200 }).toBe("1");
      expect(cuts(log)).toHaveLength(1);
      await expect.poll(() => scripted.stats()).toMatchObject({ running: 0, waiting: 0, blocked: 0 });
      expect(scripted.stats().completionTokens).toBeLessThan(4 * 8000); // the generation stopped early
      socket.destroy();
      await app.close();
    },
    180_000,
  );

  it("is not cut while there is nothing to read, nor when it reads slowly", async () => {
    const app = await server({ readerMilliseconds: 200 });
    const port = await listening(app);
    const client = await rawConnection(port);
    client.say(request("/v1/completions", { ...large, n: 1, stream: true }));
    await expect.poll(() => client.heard, { timeout: 60_000 }).toContain("data: [DONE]");
    await new Promise((resolve) => setTimeout(resolve, 600));
    client.say("GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    expect(await client.all()).toContain('"object":"list"');
    expect((await app.inject("/metrics")).body).toContain("http_stalled_readers_total 0");
  }, 90_000);
});
