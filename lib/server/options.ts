import type { FastifyBaseLogger } from "fastify";
import { refuseUnknown } from "../common/unknown-option.js";
import type { Engine } from "../engine.js";
import { GptOssError, invalidArgument } from "../errors.js";
import { optionalInteger } from "../generation/options.js";
import type { PriorityGrant } from "./limits/priority.js";
import { type IsTrusted, trustedProxies } from "./tenants/trusted-proxies.js";

/** Options of `createServer` and `gptOssPlugin`: defaults, checks and meaning, in that order and nowhere else. */

/** Options of `gptOssPlugin`, and of `createServer`: all that does not concern the socket. */
export interface PluginOptions {
  /** The engine, or the promise of one: until it is there, `/ready` and the API answer 503. */
  engine: Engine | Promise<Engine>;
  /** The names under which the model is asked for; the first is the one told. Default "gpt-oss". */
  modelName?: string | readonly string[];
  /**
   * Who may ask: keys, or a file with one per line, read again by `app.reloadApiKeys()`. What one key's requests leave behind
   * no other sees. Default: everybody, as one.
   */
  apiKeys?: readonly string[] | { file: string };
  /** `/metrics` asks for a key as well. Default false. */
  metricsNeedKey?: boolean;
  /**
   * Keys share the prefix cache: `cached_tokens` and times then tell each what others asked. For keys of one owner.
   * Default false.
   */
  sharePrefixes?: boolean;
  /** Origins of web pages that may ask, or "*". Default: none. */
  cors?: readonly string[];
  /** Of one request. Default 32 MiB. */
  maxBodyBytes?: number;
  /** Of one request; more is 431. Default 100. */
  maxHeaders?: number;
  /**
   * Requests that one key, or without keys one address, may make in a minute; they may come at once. A body that asks for
   * several completions, `n` for each of its prompts, counts as that many. Default: any.
   */
  requestsPerMinute?: number;
  /** Tokens of prompts and answers that it may use in a minute; they may come at once. Default: any. */
  tokensPerMinute?: number;
  /** Requests that it may have under way at once, counted as those per minute. Default: any. */
  concurrentRequests?: number;
  /**
   * The lowest and the highest `priority` that a body may ask for, of everybody or told for each key; others become the
   * nearest, with a warning. Default [0, 0]: none.
   */
  priorityRange?: PriorityGrant;
  /** A field of a request's body that is not known is refused with 400; else the log hears of it once. Default false. */
  strictRequests?: boolean;
  /** What running requests get to finish when the server drains. Default 30,000. */
  drainMilliseconds?: number;
  /**
   * A client that takes none of its answer for so long, streamed or whole, while some of it is there to be read, is cut; it may
   * be a quarter longer. Default 60,000.
   */
  readerMilliseconds?: number;
  /** Without a step for so long while sequences run, the engine counts as stalled. Default 60,000. */
  stallMilliseconds?: number;
  /** What time it is, for what is told and for limits. */
  clock?: () => Date;
}

/** Options of `createServer`. */
export interface ServerOptions extends PluginOptions {
  /** JSON lines on stderr, or a logger of yours. Default false. */
  logger?: boolean | FastifyBaseLogger;
  /** Of `logger: true`. Default "info", a line per request. */
  logLevel?: "trace" | "debug" | "info" | "warn" | "error" | "fatal";
  /** Certificate chain and key, PEM. Default: plain HTTP. */
  tls?: { cert: string | Buffer; key: string | Buffer };
  /**
   * Whose `x-forwarded-for` tells a client's address: so many proxies in a row in front (`true`: one), or those of these
   * addresses and networks (CIDR). Without proxies anybody could write that header. Default false: nobody's.
   */
  trustProxy?: boolean | number | string | readonly string[];
  /** Of all headers of a request together; more is 431. Default 16 KiB. */
  maxHeaderBytes?: number;
  /** In which the headers of a request must have come. Default 10,000. */
  headersMilliseconds?: number;
  /** In which a request must have come as a whole; its answer may take any time. Default 120,000. */
  requestMilliseconds?: number;
  /** An idle connection is kept for so long; a proxy in front should let go of it sooner. Default 75,000. */
  idleMilliseconds?: number;
}

export interface CheckedPluginOptions extends Required<Omit<PluginOptions, "modelName" | "apiKeys" | "cors">> {
  modelNames: readonly string[];
  apiKeys: readonly string[] | { file: string } | null;
  cors: readonly string[];
}

export interface CheckedServerOptions extends CheckedPluginOptions {
  logger: boolean | FastifyBaseLogger;
  logLevel: NonNullable<ServerOptions["logLevel"]>;
  tls: NonNullable<ServerOptions["tls"]> | null;
  trustProxy: IsTrusted | false;
  maxHeaderBytes: number;
  headersMilliseconds: number;
  requestMilliseconds: number;
  idleMilliseconds: number;
}

const pluginNames = [
  "engine",
  "modelName",
  "apiKeys",
  "metricsNeedKey",
  "sharePrefixes",
  "cors",
  "maxBodyBytes",
  "maxHeaders",
  "requestsPerMinute",
  "tokensPerMinute",
  "concurrentRequests",
  "priorityRange",
  "strictRequests",
  "drainMilliseconds",
  "readerMilliseconds",
  "stallMilliseconds",
  "clock",
] as const satisfies readonly (keyof PluginOptions)[];

const serverNames = [
  ...pluginNames,
  "logger",
  "logLevel",
  "tls",
  "trustProxy",
  "maxHeaderBytes",
  "headersMilliseconds",
  "requestMilliseconds",
  "idleMilliseconds",
] as const satisfies readonly (keyof ServerOptions)[];

/** What Fastify adds to the options of a plugin. */
const fastifyNames = ["prefix", "logLevel", "logSerializers"];

const any = Number.MAX_SAFE_INTEGER;
const longest = 2 ** 31 - 1; // milliseconds of a timer

/** @throws GptOssError INVALID_ARGUMENT for an unknown name or a value that cannot be meant. */
export function checkPluginOptions(options: PluginOptions): CheckedPluginOptions {
  refuseUnknown("gptOssPlugin", options, new Set<string>([...pluginNames, ...fastifyNames]), {
    type: "PluginOptions",
    at: null,
  });
  return checked(options);
}

/** @throws GptOssError INVALID_ARGUMENT for an unknown name or a value that cannot be meant. */
export function checkServerOptions(options: ServerOptions): CheckedServerOptions {
  refuseUnknown("createServer", options, new Set<string>(serverNames), { type: "ServerOptions", at: null });
  const { logger = false, logLevel = "info", tls, trustProxy = false } = options;
  if (typeof logger !== "boolean" && typeof (logger as FastifyBaseLogger | null)?.info !== "function") {
    throw invalidArgument("logger", "true, false or a logger", logger);
  }
  if (!["trace", "debug", "info", "warn", "error", "fatal"].includes(logLevel)) {
    throw invalidArgument("logLevel", '"trace", "debug", "info", "warn", "error" or "fatal"', logLevel);
  }
  if (tls !== undefined && (tls === null || typeof tls !== "object")) throw invalidArgument("tls", "an object", tls);
  if (tls) refuseUnknown("tls", tls, new Set(["cert", "key"]));
  return {
    ...checked(options),
    logger,
    logLevel,
    tls: tls ?? null,
    trustProxy: trustedProxies(trustProxy),
    maxHeaderBytes: optionalInteger("maxHeaderBytes", options.maxHeaderBytes, 16384, 1024, 2 ** 24),
    headersMilliseconds: optionalInteger("headersMilliseconds", options.headersMilliseconds, 10_000, 1, longest),
    requestMilliseconds: optionalInteger("requestMilliseconds", options.requestMilliseconds, 120_000, 1, longest),
    idleMilliseconds: optionalInteger("idleMilliseconds", options.idleMilliseconds, 75_000, 1, longest),
  };
}

function checked(options: PluginOptions): CheckedPluginOptions {
  const { engine, modelName = "gpt-oss", apiKeys, cors = [], clock = () => new Date() } = options;
  const { metricsNeedKey = false, sharePrefixes = false, strictRequests = false } = options;
  if (engine === null || typeof engine !== "object" || !("generate" in engine || "then" in engine)) {
    throw invalidArgument("engine", "an Engine, or the promise of one", engine);
  }
  if (typeof clock !== "function") throw invalidArgument("clock", "a function", clock);
  if (typeof metricsNeedKey !== "boolean") throw invalidArgument("metricsNeedKey", "true or false", metricsNeedKey);
  if (typeof sharePrefixes !== "boolean") throw invalidArgument("sharePrefixes", "true or false", sharePrefixes);
  if (typeof strictRequests !== "boolean") throw invalidArgument("strictRequests", "true or false", strictRequests);
  const modelNames = typeof modelName === "string" ? [modelName] : modelName;
  checkTexts("modelName", modelNames);
  if (modelNames.length === 0) throw invalidArgument("modelName", "at least one name", modelName);
  checkTexts("cors", cors);
  for (const origin of cors) checkOrigin(origin);
  return {
    engine,
    modelNames,
    apiKeys: checkKeys(apiKeys),
    metricsNeedKey,
    sharePrefixes,
    cors,
    maxBodyBytes: optionalInteger("maxBodyBytes", options.maxBodyBytes, 32 * 2 ** 20, 1, 2 ** 31 - 1),
    maxHeaders: optionalInteger("maxHeaders", options.maxHeaders, 100, 1, 2000),
    requestsPerMinute: optionalInteger("requestsPerMinute", options.requestsPerMinute, any, 1, any),
    tokensPerMinute: optionalInteger("tokensPerMinute", options.tokensPerMinute, any, 1, any),
    priorityRange: checkPriorityRange(options.priorityRange ?? [0, 0]),
    concurrentRequests: optionalInteger("concurrentRequests", options.concurrentRequests, any, 1, any),
    strictRequests,
    drainMilliseconds: optionalInteger("drainMilliseconds", options.drainMilliseconds, 30_000, 0, longest),
    readerMilliseconds: optionalInteger("readerMilliseconds", options.readerMilliseconds, 60_000, 1, longest),
    stallMilliseconds: optionalInteger("stallMilliseconds", options.stallMilliseconds, 60_000, 1, any),
    clock,
  };
}

function checkPriorityRange(range: PriorityGrant): PriorityGrant {
  if (typeof range === "function") return range;
  const isRange = Array.isArray(range) && range.length === 2 && range.every((value) => Number.isInteger(value));
  if (!isRange || range[0] < -1000 || range[0] > range[1] || range[1] > 1000) {
    throw invalidArgument("priorityRange", "two integers in [-1000, 1000], the lower one first,", range);
  }
  return range;
}

function checkTexts(name: string, values: unknown): void {
  if (!Array.isArray(values)) throw invalidArgument(name, "a list of texts", values);
  for (const value of values) {
    if (typeof value !== "string" || value === "") throw invalidArgument(name, "texts that are not empty", value);
  }
}

/** A browser sends scheme, host and port and nothing else; another form would never match. */
function checkOrigin(origin: string): void {
  if (origin !== "*" && (!URL.canParse(origin) || new URL(origin).origin !== origin)) {
    throw invalidArgument("cors", 'origins such as "https://example.com", or "*"', origin);
  }
}

/** An empty list would lock everybody out, or be meant as no lock at all: neither is guessed. */
function checkKeys(apiKeys: PluginOptions["apiKeys"]): CheckedPluginOptions["apiKeys"] {
  if (apiKeys === undefined) return null;
  if (!Array.isArray(apiKeys)) {
    const { file } = (apiKeys ?? {}) as { file?: unknown };
    if (typeof file !== "string" || file === "") throw invalidArgument("apiKeys", "keys or { file }", apiKeys);
    return { file };
  }
  checkTexts("apiKeys", apiKeys);
  if (apiKeys.length === 0) {
    const message = "Expected at least one key for apiKeys; leave it out to let everybody in";
    throw new GptOssError("INVALID_ARGUMENT", message, { field: "apiKeys" });
  }
  return apiKeys;
}
