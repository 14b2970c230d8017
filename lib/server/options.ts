import type { FastifyBaseLogger } from "fastify";
import { areReasoningKeys, expectedReasoningKey, mostReasoningKeys } from "../common/reasoning-key.js";
import { refuseUnknown } from "../common/unknown-option.js";
import type { Engine } from "../engine.js";
import { GptOssError, invalidArgument } from "../errors.js";
import { optionalInteger } from "../generation/options.js";
import type { PriorityGrant } from "./limits/priority.js";
import { type IsTrusted, trustedProxies } from "./tenants/trusted-proxies.js";

/** Options of `createServer` and `gptOssPlugin`: their defaults, checks and meaning, in that order. */

/** Options of `gptOssPlugin` and of `createServer`: all except those of the socket. */
export interface PluginOptions {
  /** The engine, or a promise of it. Until it is loaded, `/ready` and the API answer 503. */
  engine: Engine | Promise<Engine>;
  /** The model's name or names in requests. Answers use the first one. Default "gpt-oss". */
  modelName?: string | readonly string[];
  /**
   * The API keys, or a file with one key per line, which `app.reloadApiKeys()` reads again. A key cannot see data that
   * requests with another key left behind. Default: no key is needed, and all clients share their data.
   */
  apiKeys?: readonly string[] | { file: string };
  /** `/metrics` needs a key as well. Default false. */
  metricsNeedKey?: boolean;
  /**
   * Keys share the prefix cache: `cached_tokens` and response times then reveal to each key what others asked. Use it
   * only when all keys have one owner. Default false.
   */
  sharePrefixes?: boolean;
  /**
   * The secret that encrypts the reasoning which clients carry, at least 32 characters. Servers with the same secret and
   * API keys read each other's. A list, to change it: the first one encrypts, all of them decrypt. Default: random, so
   * that nobody can read it after a restart.
   */
  reasoningKey?: string | readonly string[];
  /** Origins of web pages that may send requests, or "*". Default: none. */
  cors?: readonly string[];
  /** Maximum bytes of one request's body. Default 32 MiB. */
  maxBodyBytes?: number;
  /** Maximum headers of one request; more get 431. Default 100. */
  maxHeaders?: number;
  /**
   * Requests per minute of one key, or of one address where there are no keys; they may come at once. A body counts as
   * many requests as it asks for completions: `n` for each of its prompts. Default: no limit.
   */
  requestsPerMinute?: number;
  /** Tokens of prompts and answers per minute of one client; they may come at once. Default: no limit. */
  tokensPerMinute?: number;
  /**
   * Concurrent requests of one client, counted as in `requestsPerMinute`, background responses included. Requests to
   * stored responses and conversations do not count. Default: no limit.
   */
  concurrentRequests?: number;
  /**
   * The lowest and the highest `priority` that a body may ask for: one range, or a function of the key. A priority out
   * of range becomes the nearest one in it, with a warning. Default [0, 0]: only 0.
   */
  priorityRange?: PriorityGrant;
  /** Refuses an unknown field of a request's body with 400. Otherwise it is logged once. Default false. */
  strictRequests?: boolean;
  /** Milliseconds that running requests get to finish when the server drains. Default 30,000. */
  drainMilliseconds?: number;
  /**
   * Milliseconds for which a client may read nothing of its answer, streamed or whole, while data waits for it. The
   * server then closes the connection, up to a quarter of the time later. Default 60,000.
   */
  readerMilliseconds?: number;
  /** Milliseconds without a step, while sequences run, after which the engine counts as stalled. Default 60,000. */
  stallMilliseconds?: number;
  /** Returns the current time, for answers and limits. Default: the system's time. */
  clock?: () => Date;
}

/** Options of `createServer`. */
export interface ServerOptions extends PluginOptions {
  /** `true`: JSON lines on stderr; or your own logger. Default false. */
  logger?: boolean | FastifyBaseLogger;
  /** Level for `logger: true`. Default "info": one line per request. */
  logLevel?: "trace" | "debug" | "info" | "warn" | "error" | "fatal";
  /** Certificate chain and key, in PEM. Default: plain HTTP. */
  tls?: { cert: string | Buffer; key: string | Buffer };
  /**
   * The proxies whose `x-forwarded-for` gives a client's address: the number of proxies in a row (`true`: one), or
   * their addresses and networks (CIDR). Without a proxy, any client could write that header. Default false: no proxy.
   */
  trustProxy?: boolean | number | string | readonly string[];
  /** Maximum bytes of all headers of a request together; more get 431. Default 16 KiB. */
  maxHeaderBytes?: number;
  /** Milliseconds in which the headers of a request must arrive. Default 10,000. */
  headersMilliseconds?: number;
  /** Milliseconds in which a whole request must arrive; its answer may take any time. Default 120,000. */
  requestMilliseconds?: number;
  /** Milliseconds for which an idle connection is kept. A proxy in front should close it sooner. Default 75,000. */
  idleMilliseconds?: number;
}

export interface CheckedPluginOptions
  extends Required<Omit<PluginOptions, "modelName" | "apiKeys" | "reasoningKey" | "cors">> {
  modelNames: readonly string[];
  apiKeys: readonly string[] | { file: string } | null;
  /** The first one seals. Null: a random one. */
  reasoningKeys: readonly string[] | null;
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
  "reasoningKey",
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

/** Options that Fastify adds for every plugin. */
const fastifyNames = ["prefix", "logLevel", "logSerializers"];

const any = Number.MAX_SAFE_INTEGER;
const longest = 2 ** 31 - 1; // maximum milliseconds of a timer

/** @throws GptOssError INVALID_ARGUMENT for an unknown name or a value that is not allowed. */
export function checkPluginOptions(options: PluginOptions): CheckedPluginOptions {
  refuseUnknown("gptOssPlugin", options, new Set<string>([...pluginNames, ...fastifyNames]), {
    type: "PluginOptions",
    at: null,
  });
  return checked(options);
}

/** @throws GptOssError INVALID_ARGUMENT for an unknown name or a value that is not allowed. */
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
    reasoningKeys: checkReasoningKey(options.reasoningKey),
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

/** Checks an origin: a browser sends scheme, host and port only, so another form would never match. */
function checkOrigin(origin: string): void {
  if (origin !== "*" && (!URL.canParse(origin) || new URL(origin).origin !== origin)) {
    throw invalidArgument("cors", 'origins such as "https://example.com", or "*"', origin);
  }
}

/** The refusal does not quote a secret. */
function checkReasoningKey(key: PluginOptions["reasoningKey"]): readonly string[] | null {
  if (key === undefined) return null;
  const keys: readonly unknown[] = Array.isArray(key) ? [...key] : [key];
  if (areReasoningKeys(keys)) return keys;
  const expected = Array.isArray(key) ? `a list of 1 to ${mostReasoningKeys}, each ` : "";
  throw new GptOssError("INVALID_ARGUMENT", `Expected ${expected}${expectedReasoningKey} for reasoningKey`, {
    field: "reasoningKey",
  });
}

/** Refuses an empty list: it could mean that no client may ask, or that no key is needed. */
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
