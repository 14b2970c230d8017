import { GptOssError, invalidArgument } from "../../errors.js";
import { checkInteger } from "../../generation/options.js";
import type { ServerAddress } from "./connection.js";
import type { Arrivals } from "./level.js";
import type { ServiceLevel } from "./metrics.js";

export type Endpoint = "chat" | "completions";

/** What `gpt-oss bench serve` measures. */
export interface ServeBenchOptions {
  server: ServerAddress;
  endpoint: Endpoint;
  /** Default: the first one that the server lists. */
  model?: string | undefined;
  /** One row each. */
  levels: readonly Arrivals[];
  /** Requests of each level; default: 100, or four for each client where that is more. */
  requests?: number | undefined;
  /** Requests before the first level, which do not count. */
  warmup: number;
  /** For prompts and arrivals. */
  seed: number;
  /** Tokens of a random prompt; not used with `promptsFile`. */
  inputTokens: number;
  /** The most tokens of an answer. */
  outputTokens: number;
  /** JSON lines. */
  promptsFile?: string | undefined;
  ignoreEos: boolean;
  /** Further fields of each request. They replace those of the bench. */
  body: Record<string, unknown>;
  serviceLevel: ServiceLevel | null;
  /** For a whole request. */
  timeoutSeconds: number;
}

/** @throws GptOssError INVALID_ARGUMENT */
export function checkServeBenchOptions(options: ServeBenchOptions): void {
  const { levels, requests, warmup, seed, inputTokens, outputTokens, timeoutSeconds } = options;
  for (const level of levels) checkArrivals(level);
  if (requests !== undefined) checkInteger("requests", requests, 1, 1e7);
  checkInteger("warmup", warmup, 0, 1e6);
  checkInteger("seed", seed, 0, 2 ** 32 - 1);
  checkInteger("inputTokens", inputTokens, 1, 1e6);
  checkInteger("outputTokens", outputTokens, 1, 1e6);
  if (!(timeoutSeconds > 0 && timeoutSeconds <= 86_400))
    throw invalidArgument("timeout", "seconds in (0, 86400]", timeoutSeconds);
}

function checkArrivals(arrivals: Arrivals): void {
  if (arrivals.kind === "closed") {
    checkInteger("concurrency", arrivals.concurrency, 1, 65_536);
    return;
  }
  if (!(arrivals.rate >= 0.001 && arrivals.rate <= 1e5))
    throw invalidArgument("rate", "requests per second in [0.001, 100000]", arrivals.rate);
  if (arrivals.maxConcurrency !== null) checkInteger("maxConcurrency", arrivals.maxConcurrency, 1, 65_536);
}

/** `ttft=500,tpot=50,e2e=10000`, in milliseconds. @throws GptOssError INVALID_ARGUMENT */
export function readServiceLevel(text: string): ServiceLevel {
  const bounds: ServiceLevel = {};
  for (const part of text.split(",")) {
    const [, name, value] = /^\s*(ttft|tpot|e2e)\s*=\s*(\d+(?:\.\d+)?)\s*$/.exec(part) ?? [];
    if (name === undefined || Object.hasOwn(bounds, name))
      throw invalidArgument("slo", "milliseconds such as ttft=500,tpot=50,e2e=10000, each name once", text);
    bounds[name as keyof ServiceLevel] = Number(value);
  }
  return bounds;
}

/** @throws GptOssError INVALID_ARGUMENT for what is no JSON object */
export function readBody(text: string): Record<string, unknown> {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw new GptOssError("INVALID_ARGUMENT", `The body is no JSON: ${(error as Error).message}`, {
      field: "body",
      cause: error,
    });
  }
  if (typeof body !== "object" || body === null || Array.isArray(body))
    throw invalidArgument("body", 'a JSON object such as {"temperature":0}', text);
  return body as Record<string, unknown>;
}
