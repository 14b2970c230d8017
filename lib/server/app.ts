import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import {
  type FastifyInstance,
  type FastifyPluginAsync,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from "fastify";
import { GptOssError, isError } from "../errors.js";
import { ApiError, handleError } from "./http/errors.js";
import { logStream } from "./http/log-stream.js";
import { requestId } from "./operations/track-requests.js";
import {
  type CheckedServerOptions,
  checkPluginOptions,
  checkServerOptions,
  type PluginOptions,
  type ServerOptions,
} from "./options.js";
import { buildParts, type ServerParts } from "./parts.js";
import { routes } from "./routes.js";

declare module "fastify" {
  interface FastifyInstance {
    /**
     * Refuses new requests with 503. Resolves when the running requests have ended, or when the time for draining is
     * over.
     */
    drain(): Promise<void>;
    /**
     * Reads the file of API keys again and returns the number of keys. Throws when the file is not usable, and keeps
     * the old keys then. A removed key loses everything that it owned: responses, reasoning and cached prefixes.
     */
    reloadApiKeys(): number;
  }
  interface FastifyContextConfig {
    /** Machines call it every second: it is not worth a line in the log. */
    probe?: boolean;
    /** Handles requests that match no other route. */
    unknown?: boolean;
  }
}

/**
 * The OpenAI-compatible server as a Fastify app that does not listen yet.
 *
 * @throws GptOssError INVALID_ARGUMENT for an unknown option or a value that is not allowed.
 *
 * @example
 * ```ts
 * const app = await createServer({ engine, modelName: "gpt-oss-20b", apiKeys: { file: "keys.txt" }, logger: true });
 * await app.listen({ port: 8080 });
 * ```
 */
export async function createServer(options: ServerOptions): Promise<FastifyInstance> {
  return buildServer(checkServerOptions(options));
}

/** @param partsOf replaces the server's parts in tests */
export async function buildServer(options: CheckedServerOptions, partsOf = buildParts): Promise<FastifyInstance> {
  const app = buildApp(options);
  const parts = partsOf(options, app.log);
  decorate(app, parts);
  const known = await routes(app, parts);
  app.setNotFoundHandler(known.refuse);
  return app;
}

/**
 * The same server inside an existing app: `app.register(gptOssPlugin, { engine })`. That app then controls the socket,
 * request ids and the log.
 *
 * @example
 * ```ts
 * await app.register(gptOssPlugin, { engine, prefix: "/ai" });
 * ```
 */
export const gptOssPlugin: FastifyPluginAsync<PluginOptions & { prefix?: string }> = async (app, options) => {
  const parts = buildParts(checkPluginOptions(options), app.log);
  decorate(app, parts);
  const { prefix } = options;
  await app.register(async (scope) => void (await routes(scope, parts)), prefix === undefined ? {} : { prefix });
};

// Fastify expects these symbols on a plugin whose decorators are for the surrounding app. The plugin's routes have
// their own scope.
Object.assign(gptOssPlugin, { [Symbol.for("skip-override")]: true, [Symbol.for("fastify.display-name")]: "gpt-oss" });

function decorate(app: FastifyInstance, { drain, gate }: ServerParts): void {
  app.decorate("drain", () => drain.start());
  app.decorate("reloadApiKeys", () => gate.reload());
}

function buildApp(options: CheckedServerOptions): FastifyInstance {
  const { logger, logLevel, tls } = options;
  const socket = {
    maxHeaderSize: options.maxHeaderBytes,
    headersTimeout: options.headersMilliseconds,
    // The interval of checks for timeouts. Node checks every 30 seconds, so slow headers could take that long.
    connectionsCheckingInterval: Math.min(1000, options.headersMilliseconds),
    // Detects a peer that disappeared without closing the connection.
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
  };
  const settings = {
    ...(typeof logger === "boolean"
      ? { logger: logger && { level: logLevel, stream: logStream, redact: secrets } }
      : { loggerInstance: logger }),
    // Our own log lines say how a stream ended, and leave out query strings, which may hold secrets.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: options.maxBodyBytes,
    trustProxy: options.trustProxy,
    requestTimeout: options.requestMilliseconds,
    keepAliveTimeout: options.idleMilliseconds,
    genReqId: requestId,
    routerOptions: { maxParamLength: 8192 },
    clientErrorHandler: refuseConnection,
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => {
      reply.header("x-request-id", request.id);
      handleError(error, request, reply);
    },
    // Our own code refuses requests while it drains, in the API's format.
    return503OnClosing: false,
  };
  try {
    // With or without TLS, the code that follows sees the same type of app.
    return (tls
      ? fastify({ ...settings, https: { ...socket, ...tls } })
      : fastify({ ...settings, http: socket })) as unknown as FastifyInstance;
  } catch (cause) {
    if (!tls) throw cause;
    const reason = isError(cause) ? cause.message : String(cause);
    throw new GptOssError("INVALID_ARGUMENT", `The certificate and key of tls cannot be used: ${reason}`, {
      cause,
      field: "tls",
    });
  }
}

/** The places in a log line where a request's secret headers can stand. */
const secrets = ["authorization", "cookie"].flatMap((name) => [`headers.${name}`, `req.headers.${name}`]);

/**
 * Answers a connection that is not HTTP, or whose request is too large or too slow, in the API's format, and closes it.
 */
function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === "ECONNRESET") {
    socket.destroy(error);
    return;
  }
  const refusal =
    error.code === "HPE_HEADER_OVERFLOW"
      ? new ApiError(431, "The headers of the request are larger than this server takes")
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? new ApiError(408, "The request did not come in time")
        : new ApiError(400, "This is not a valid HTTP request");
  const body = JSON.stringify(refusal);
  const head = [
    `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}`,
    "content-type: application/json; charset=utf-8",
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}
