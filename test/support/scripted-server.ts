import type { OutgoingHttpHeaders } from "node:http";
import fastify, { type FastifyBaseLogger, type FastifyError, type FastifyInstance } from "fastify";
import type { Engine } from "../../lib/engine.js";
import { GptOssError } from "../../lib/errors.js";
import { acceptJson } from "../../lib/server/bodies/checked-body.js";
import type { ServerContext } from "../../lib/server/context.js";
import { ApiError } from "../../lib/server/http/errors.js";
import type { ResponseObject } from "../../lib/server/responses/objects.js";
import { responses } from "../../lib/server/responses/responses.js";
import type { StoreLimits } from "../../lib/server/responses/store.js";
import { setTenant } from "../../lib/server/tenants/tenant.js";
import { Tenants } from "../../lib/server/tenants/tenants.js";
import { type ScriptedTurn, TurnPlayer } from "./scripted-turns.js";

export interface ScriptedServerOptions {
  /** What is kept of finished responses. */
  store?: StoreLimits;
  keepAliveMilliseconds?: number;
}

export interface ScriptedServer extends AsyncDisposable {
  app: FastifyInstance;
  player: TurnPlayer;
  /** Lines of the log, of level warn and of level error. */
  warnings: unknown[];
  failures: unknown[];
  clock: { now: Date };
  /** Starts to listen at its first use. */
  baseUrl(): Promise<string>;
  post(body: object): Promise<Answer>;
  get(path: string): Promise<Answer>;
  delete(path: string): Promise<Answer>;
}

/** A response, an error or a list of items: a test knows which it asked for. */
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

/** The endpoints on turns that are written beforehand: no model, no engine. */
export function scriptedServer(turns: readonly ScriptedTurn[], options: ScriptedServerOptions = {}): ScriptedServer {
  const player = new TurnPlayer(turns);
  const clock = { now: new Date("2026-11-22T12:00:00Z") };
  const warnings: unknown[] = [];
  const failures: unknown[] = [];
  const app = fastify({ bodyLimit: 2 ** 25 });
  // A body that is announced and empty is none: OpenAI's Python client announces one with every request.
  const parse = app.getDefaultJsonParser("error", "error");
  app.addContentTypeParser("application/json", { parseAs: "string" }, (request, body, done) => {
    if (body === "") done(null, undefined);
    else parse(request, body as string, done);
  });
  const context: ServerContext = {
    engine: null as unknown as Engine,
    created: 1,
    modelNames: ["gpt-oss-20b", "alias"],
    clock: () => clock.now,
    contextLength: 4096,
    logger: {
      warn: (...line: unknown[]) => warnings.push(line),
      error: (...line: unknown[]) => failures.push(line),
    } as unknown as FastifyBaseLogger,
    startTurn: async (request) => player.start(request),
    ...(options.keepAliveMilliseconds !== undefined && { keepAliveMilliseconds: options.keepAliveMilliseconds }),
  };
  acceptJson(app);
  app.setErrorHandler((error: FastifyError, _request, reply) => {
    const { status, body } = told(error);
    return reply.code(status).send(body);
  });
  const { everybody } = new Tenants({ clock: context.clock, ...(options.store && { store: options.store }) });
  app.addHook("onRequest", async (request) => setTenant(request, everybody));
  responses(app, context);

  let listening: Promise<string> | undefined;
  const inject = async (method: "POST" | "GET" | "DELETE", url: string, body?: object): Promise<Answer> => {
    const { statusCode, body: text, headers } = await app.inject({ method, url, ...(body && { payload: body }) });
    const isJson = String(headers["content-type"]).startsWith("application/json");
    return { status: statusCode, text, headers, json: isJson ? JSON.parse(text) : undefined };
  };
  return {
    app,
    player,
    warnings,
    failures,
    clock,
    baseUrl: async () => {
      listening ??= app.listen({ host: "127.0.0.1", port: 0 });
      return `${await listening}/v1`;
    },
    post: (body) => inject("POST", "/v1/responses", body),
    get: (path) => inject("GET", `/v1/responses/${path}`),
    delete: (path) => inject("DELETE", `/v1/responses/${path}`),
    [Symbol.asyncDispose]: () => app.close(),
  };
}

/** An error in the documented shape. */
function told(error: FastifyError): { status: number; body: { error: object } } {
  const { status, param, code } = described(error);
  const { type } = error instanceof ApiError ? error : new ApiError(status, error.message);
  return { status, body: { error: { message: error.message, type, param, code } } };
}

function described(error: FastifyError): { status: number; param: string | null; code: string | null } {
  if (error instanceof ApiError) return error;
  if (error instanceof GptOssError) {
    if (error.code === "CONTEXT_OVERFLOW") return { status: 400, param: null, code: "context_length_exceeded" };
    if (error.code === "QUEUE_FULL") return { status: 429, param: null, code: "queue_full" };
    const isClients = error.code === "INVALID_ARGUMENT" || error.code === "UNSUPPORTED";
    return { status: isClients ? 400 : 500, param: null, code: null };
  }
  return { status: error.statusCode ?? 500, param: null, code: null };
}
