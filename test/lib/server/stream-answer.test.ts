import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import Fastify from "fastify";
import { describe, expect, it } from "vitest";
import { disconnectSignal } from "../../../lib/server/http/disconnect.js";
import { interleaved } from "../../../lib/server/http/interleaved.js";
import { streamAnswer } from "../../../lib/server/http/stream-answer.js";

describe("a stream of events", () => {
  /** A server that counts the 64 KiB frames requested from it, and a client that has not read yet. */
  async function streaming(count: number) {
    const app = Fastify();
    const state = { asked: 0, ended: false, gone: false };
    async function* frames(signal: AbortSignal) {
      try {
        while (state.asked < count && !signal.aborted) {
          state.asked++;
          yield "x".repeat(65_536);
        }
      } finally {
        state.ended = true;
        state.gone = signal.aborted;
      }
    }
    app.get("/", (request, reply) => streamAnswer(reply, frames(disconnectSignal(request, reply))));
    await app.listen({ host: "127.0.0.1", port: 0 });
    const request = get({ port: (app.server.address() as AddressInfo).port, host: "127.0.0.1", agent: false });
    request.on("error", () => {});
    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.on("error", () => {});
    return { state, request, response, [Symbol.asyncDispose]: () => app.close() };
  }

  /** Waits until no more frames are requested. */
  async function standstill(state: { asked: number }): Promise<void> {
    for (let before = -1; before !== state.asked; ) {
      before = state.asked;
      await wait(100);
    }
  }

  it("asks for no more than a slow reader takes, and goes on with it", async () => {
    const count = 2000; // 128 MiB, far more than the sockets can buffer
    await using server = await streaming(count);
    await standstill(server.state);
    expect(server.state.asked).toBeLessThan(count);
    let bytes = 0;
    for await (const piece of server.response) bytes += (piece as Buffer).length;
    expect(bytes).toBe(count * ("data: \n\n".length + 65_536));
    expect(server.state).toEqual({ asked: count, ended: true, gone: false });
  });

  it("ends when its reader goes", async () => {
    await using server = await streaming(2000);
    server.request.destroy();
    while (!server.state.ended) await wait(1);
    expect(server.state.asked).toBeLessThan(2000);
  });
});

describe("interleaved", () => {
  async function* numbers(first: number, log: string[]): AsyncGenerator<number, void, undefined> {
    try {
      for (let i = first; i < first + 3; i++) {
        await wait(1);
        yield i;
      }
    } finally {
      log.push(`end of ${first}`);
    }
  }

  it("gives what every source gives, each in order", async () => {
    const log: string[] = [];
    const seen: number[] = [];
    for await (const number of interleaved([numbers(0, log), numbers(10, log), numbers(20, log)])) seen.push(number);
    for (const first of [0, 10, 20]) {
      expect(seen.filter((n) => n >= first && n < first + 10)).toEqual([first, first + 1, first + 2]);
    }
    expect(log).toHaveLength(3);
  });

  it("ends the others when it is left or one fails", async () => {
    const log: string[] = [];
    for await (const _ of interleaved([numbers(0, log), numbers(10, log)])) break;
    while (log.length < 2) await wait(1);
    async function* failing(): AsyncGenerator<number, void, undefined> {
      yield 1;
      throw new Error("over");
    }
    const all = async () => {
      for await (const _ of interleaved([numbers(0, log), failing()]));
    };
    await expect(all()).rejects.toThrow("over");
    while (log.length < 3) await wait(1);
  });
});
