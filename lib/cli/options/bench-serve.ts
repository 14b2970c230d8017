import { type Command, Option } from "commander";
import type { Arrivals } from "../../bench/serve/level.js";
import { type Endpoint, readBody, readServiceLevel, type ServeBenchOptions } from "../../bench/serve/options.js";
import { UsageError } from "../exit.js";
import { counts, rates } from "./lists.js";
import { decimal, integer, repeated } from "./values.js";

/** The options of `gpt-oss bench serve`. */

export interface BenchServeFlags {
  model?: string;
  endpoint: Endpoint;
  apiKey?: string;
  header?: string[];
  concurrency?: number[];
  rate?: number[];
  maxConcurrency?: number;
  requests?: number;
  warmup: number;
  seed?: number;
  inputTokens?: number;
  outputTokens: number;
  prompts?: string;
  ignoreEos?: true;
  body?: string;
  slo?: string;
  timeout: number;
  json?: true;
}

export function addBenchServeOptions(command: Command): Command {
  return command
    .option("--model <name>", "model that is asked (default: the first one that the server lists)")
    .addOption(new Option("--endpoint <name>", "what is asked").choices(["chat", "completions"]).default("chat"))
    .option("--api-key <key>", "key of the server (default: $OPENAI_API_KEY, if it is set)")
    .option("--header <name=value>", "further header of each request; can be repeated", repeated)
    .option("--concurrency <list>", "closed loop: clients at once, one level each (default: 1)", counts)
    .option("--rate <list>", "open loop: requests per second on average, one level each", rates)
    .option("--max-concurrency <n>", "with --rate, requests at once at most; the others wait", integer)
    .option(
      "--requests <n>",
      "requests of each level (default: 100, or four for each client where that is more)",
      integer,
    )
    .option("--warmup <n>", "requests before the first level, which do not count", integer, 1)
    .option("--seed <n>", "prompts and arrivals are those of this seed (default: new ones each time)", integer)
    .option("--input-tokens <n>", "tokens of each random prompt (default: 256)", integer)
    .option("--output-tokens <n>", "tokens of an answer at most", integer, 128)
    .option("--prompts <file>", 'prompts as JSON lines: {"prompt": TEXT} or {"messages": [...]}, and "max_tokens"')
    .option("--ignore-eos", "send ignore_eos, so that answers do not end before --output-tokens")
    .option("--body <json>", 'further fields of each request, such as {"temperature":0}')
    .option("--slo <bounds>", "also count the requests within ttft=MS,tpot=MS,e2e=MS")
    .option("--timeout <seconds>", "a request that takes longer failed", decimal, 600)
    .option("--json", "print JSON lines instead of a table, one for each level");
}

/** @throws UsageError for options that exclude each other; GptOssError INVALID_ARGUMENT for a wrong value */
export function serveBenchOptions(url: string, flags: BenchServeFlags): ServeBenchOptions {
  const { model, endpoint, requests, warmup, outputTokens, prompts } = flags;
  if (prompts !== undefined && flags.inputTokens !== undefined)
    throw new UsageError("--prompts cannot be used with --input-tokens");
  return {
    server: {
      url,
      apiKey: flags.apiKey ?? (process.env.OPENAI_API_KEY || undefined),
      headers: Object.fromEntries((flags.header ?? []).map(headerOf)),
    },
    endpoint,
    model,
    levels: levelsOf(flags),
    requests,
    warmup,
    seed: flags.seed ?? Date.now() % 2 ** 32,
    inputTokens: flags.inputTokens ?? 256,
    outputTokens,
    promptsFile: prompts,
    ignoreEos: flags.ignoreEos ?? false,
    body: flags.body === undefined ? {} : readBody(flags.body),
    serviceLevel: flags.slo === undefined ? null : readServiceLevel(flags.slo),
    timeoutSeconds: flags.timeout,
  };
}

function levelsOf({ concurrency, rate, maxConcurrency }: BenchServeFlags): Arrivals[] {
  if (rate === undefined) {
    if (maxConcurrency !== undefined) throw new UsageError("--max-concurrency needs --rate");
    return (concurrency ?? [1]).map((clients) => ({ kind: "closed", concurrency: clients }));
  }
  if (concurrency !== undefined) throw new UsageError("--concurrency cannot be used with --rate");
  return rate.map((each) => ({ kind: "open", rate: each, maxConcurrency: maxConcurrency ?? null }));
}

function headerOf(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw new UsageError("Expected --header NAME=VALUE");
  return [text.slice(0, at), text.slice(at + 1)];
}
