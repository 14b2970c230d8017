import { once } from "node:events";
import { type AddressInfo, connect, type Socket } from "node:net";
import path from "node:path";
import type { FastifyInstance } from "fastify";
import { afterAll, afterEach, beforeAll } from "vitest";
import { Engine } from "../../lib/engine.js";
import { createServer, type ServerOptions } from "../../lib/server/index.js";

export const tinyModel = path.resolve(import.meta.dirname, "../golden/models/a");

/** Servers of one test file, closed after each test, and their default engine. */
export function testServers() {
  let engine: Engine;
  const apps: FastifyInstance[] = [];
  beforeAll(async () => {
    engine = await Engine.load(tinyModel, { contextLength: 256 });
  });
  afterAll(() => engine.close());
  afterEach(async () => {
    for (const app of apps.splice(0)) {
      app.server.closeAllConnections();
      await app.close();
    }
  });
  const keep = (app: FastifyInstance) => {
    apps.push(app);
    return app;
  };
  return {
    engine: () => engine,
    /** Closes an app with the others. */
    keep,
    server: async (options: Partial<ServerOptions> = {}) => keep(await createServer({ engine, ...options })),
  };
}

/** A clock that a test sets. */
export function testClock() {
  let now = Date.UTC(2026, 0, 1);
  return {
    clock: () => new Date(now),
    pass: (milliseconds: number) => {
      now += milliseconds;
    },
  };
}

export const json = { "content-type": "application/json" };

/** Request options for `app.inject`. */
export function post(url: string, payload: unknown, headers: Record<string, string> = {}) {
  return { method: "POST", url, headers: { ...json, ...headers }, payload: JSON.stringify(payload) } as const;
}

export function bearer(key: string) {
  return { authorization: `Bearer ${key}` };
}

/** Returns the error with which the work fails. */
export async function failure<T = Error & { code: string }>(work: () => unknown): Promise<T> {
  try {
    await work();
  } catch (error) {
    return error as T;
  }
  throw new Error("did not fail");
}

/** Listens on a free port of this machine, and returns the port. */
export async function listening(app: FastifyInstance): Promise<number> {
  await app.listen({ host: "127.0.0.1", port: 0 });
  return (app.server.address() as AddressInfo).port;
}

/** A connection that sends exactly the given bytes. */
export async function rawConnection(port: number): Promise<RawConnection> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  await once(socket, "connect");
  return new RawConnection(socket);
}

export class RawConnection {
  readonly socket: Socket;
  /** All text received so far. */
  heard = "";
  readonly closed: Promise<void>;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("latin1").on("data", (text: string) => {
      this.heard += text;
    });
    socket.on("error", () => {}); // a reset is a normal end here
    this.closed = new Promise((resolve) => {
      socket.once("end", resolve);
      socket.once("close", resolve);
    });
  }

  say(text: string): void {
    this.socket.write(text, "latin1");
  }

  /** Returns all text received until the other side closes the connection. */
  async all(): Promise<string> {
    await this.closed;
    this.socket.destroy();
    return this.heard;
  }
}
