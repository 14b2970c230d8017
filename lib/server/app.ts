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
    /** New requests get 503; resolves when those that run have ended, or their time was over. */
    drain(): Promise<void>;
    /**
     * Reads the file of API keys again; throws and keeps the old ones when it is not usable. Returns how many there are.
     * What a key owned that is gone (responses, reasoning, cached prefixes) is given up.
     */
    reloadApiKeys(): number;
  }
  interface FastifyContextConfig {
    /** Asked every second by machines: not worth a line in the log. */
    probe?: boolean;
    /** Takes what no other route does. */
    unknown?: boolean;
  }
}

/**
 * The OpenAI-compatible server as a Fastify app that does not listen yet.
 *
 * @throws GptOssError INVALID_ARGUMENT for options that cannot be meant.
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

/** @param partsOf others than the server's own, for tests */
export async function buildServer(options: CheckedServerOptions, partsOf = buildParts): Promise<FastifyInstance> {
  const app = buildApp(options);
  const parts = partsOf(options, app.log);
  decorate(app, parts);
  const known = await routes(app, parts);
  app.setNotFoundHandler(known.refuse);
  return app;
}

/**
 * The same within an app of yours: `app.register(gptOssPlugin, { engine })`. What concerns the socket, request ids and
 * the log is then yours.
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

// What Fastify asks of a plugin whose decorators are for the app around it; its routes are in a scope of their own.
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
    // How often timeouts are looked for; Node's own half minute would let slow headers have as long.
    connectionsCheckingInterval: Math.min(1000, options.headersMilliseconds),
    // A peer that is gone without a word is noticed.
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
  };
  const settings = {
    ...(typeof logger === "boolean"
      ? { logger: logger && { level: logLevel, stream: logStream, redact: secrets } }
      : { loggerInstance: logger }),
    // Ours knows how a stream ended, and leaves out what clients write into queries.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: options.maxBodyBytes,
    trustProxy: options.trustProxy,
    requestTimeout: options.requestMilliseconds,
    keepAliveTimeout: options.idleMilliseconds,
    genReqId: requestId,
    routerOptions: { maxParamLength: 512 },
    clientErrorHandler: refuseConnection,
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => {
      reply.header("x-request-id", request.id);
      handleError(error, request, reply);
    },
    // Draining is refused by us, in the API's shape.
    return503OnClosing: false,
  };
  try {
    // Over TLS or not, an app is the same to all that follows.
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

/** Wherever a line of the log has a request's headers. */
const secrets = ["authorization", "cookie"].flatMap((name) => [`headers.${name}`, `req.headers.${name}`]);

/** What is not HTTP, too large or too slow to become a request is answered in the API's shape, and cut. */
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
