import type { OutgoingHttpHeaders } from "node:http";
import type { FastifyInstance } from "fastify";
import type { ServerContext } from "../../lib/server/context.js";
import type { ServerOptions } from "../../lib/server/options.js";
import type { ResponseObject } from "../../lib/server/responses/objects.js";
import type { StoreLimits } from "../../lib/server/responses/store.js";
import { reply, ScriptedEngine } from "../../lib/testing/index.js";
import { capturedLog } from "./captured-log.js";
import { productServer } from "./product-server.js";
import { type ScriptedTurn, TurnPlayer } from "./scripted-turns.js";

export interface TurnServerOptions {
  /** Limits of stored responses. */
  store?: StoreLimits;
  keepAliveMilliseconds?: number;
  /** Takes the turns in place of the player. */
  startTurn?: ServerContext["startTurn"];
  /** Further options of the server. */
  server?: Partial<ServerOptions>;
}

export interface TurnServer extends AsyncDisposable {
  app: FastifyInstance;
  player: TurnPlayer;
  /** Log lines of the levels warn and error. */
  warnings: unknown[];
  failures: unknown[];
  clock: { now: Date };
  /** Starts to listen at the first call. */
  baseUrl(): Promise<string>;
  post(body: object): Promise<Answer>;
  get(path: string): Promise<Answer>;
  delete(path: string): Promise<Answer>;
}

/** A response, an error or a list of items: each test knows which one it requested. */
export type AnswerBody = Omit<ResponseObject, "error"> & {
  error: { message: string; type: string; param: string | null; code: string | null };
  data: { id: string }[];
};

export interface Answer {
  status: number;
  text: string;
  json: AnswerBody;
  headers: OutgoingHttpHeaders;
}

/** Supplies only its properties: no turn reaches it. */
const engine = new ScriptedEngine([reply("never written")], { contextLength: 4096 });

/** A server whose turns a test defines, event by event. */
export async function turnServer(
  turns: readonly ScriptedTurn[],
  { store, server = {}, ...context }: TurnServerOptions = {},
): Promise<TurnServer> {
  const player = new TurnPlayer(turns);
  const clock = { now: new Date("2026-11-22T12:00:00Z") };
  const { logger, of } = capturedLog();
  const app = await productServer(
    { engine, modelName: ["gpt-oss-20b", "alias"], clock: () => clock.now, logger, ...server },
    { store, context: { startTurn: async (request) => player.start(request), ...context } },
  );
  let listening: Promise<string> | undefined;
  const inject = async (method: "POST" | "GET" | "DELETE", url: string, body?: object): Promise<Answer> => {
    const { statusCode, body: text, headers } = await app.inject({ method, url, ...(body && { payload: body }) });
    const isJson = String(headers["content-type"]).startsWith("application/json");
    return { status: statusCode, text, headers, json: isJson ? JSON.parse(text) : undefined };
  };
  return {
    app,
    player,
    warnings: of.warn,
    failures: of.error,
    clock,
    baseUrl: async () => {
      listening ??= app.listen({ host: "127.0.0.1", port: 0 });
      return `${await listening}/v1`;
    },
    post: (body) => inject("POST", "/v1/responses", body),
    get: (path) => inject("GET", `/v1/responses/${path}`),
    delete: (path) => inject("DELETE", `/v1/responses/${path}`),
    [Symbol.asyncDispose]: () => {
      // A client that leaves a stream opens a connection for its next request, which would delay the end.
      app.server.closeAllConnections();
      return app.close();
    },
  };
}
