import { Command, Option } from "commander";
import type { FastifyInstance } from "fastify";
import { Engine } from "../../engine.js";
import type { EngineOptions } from "../../generation/options.js";
import { type ResolvedModel, resolution, servedName } from "../../models/index.js";
import type { ServerOptions } from "../../server/index.js";
import { roundingNote } from "../conversion-text.js";
import { UsageError } from "../exit.js";
import { chosenModel, demoNote, passedOver, resolveChosen } from "../load-model.js";
import { addEngineOptions, type EngineFlags, engineOptions, modelArgument } from "../options/engine.js";
import { integer, repeated } from "../options/values.js";
import { Output } from "../output.js";
import { isLoopback, listen } from "../serve/listen.js";
import { readReasoningKeys } from "../serve/reasoning-key.js";
import { Shutdown } from "../serve/shutdown.js";
import { readTls } from "../serve/tls-files.js";

interface ServeFlags extends EngineFlags {
  host: string;
  port: number;
  modelName?: string[];
  apiKeyFile?: string;
  metricsNeedKey?: true;
  cors?: string[];
  tlsCert?: string;
  tlsKey?: string;
  trustProxy?: true | string;
  sharePrefixes?: true;
  reasoningKeyFile?: string;
  maxBodyBytes?: number;
  requestsPerMinute?: number;
  tokensPerMinute?: number;
  concurrentRequests?: number;
  priorityRange?: readonly [number, number];
  strictRequests?: true;
  drainSeconds?: number;
  readerSeconds?: number;
  stallSeconds?: number;
  logLevel: NonNullable<ServerOptions["logLevel"]> | "silent";
}

const afterwards = `
First, options and model are checked; then the port listens. While the weights
load, /live answers 200; /ready and the API answer 503. SIGTERM and SIGINT let
running requests finish, for --drain-seconds at most; a second signal quits at
once. SIGHUP reads the file of keys again. The log goes to stderr: one JSON
object in each line, without prompts and answers.`;

export function serveCommand(): Command {
  const command = new Command("serve")
    .description(
      "Serve a model over HTTP with OpenAI's API: chat completions, responses, completions. Also tokenize, health, metrics.",
    )
    .argument("[model]", modelArgument)
    .option("--host <address>", "address to listen on", "127.0.0.1")
    .option("--port <n>", "port to listen on; 0 takes a free one", port, 8080)
    .option(
      "--model-name <name>",
      "name of the model; can be repeated (default: the last part of its name, without .gguf)",
      repeated,
    )
    .option("--api-key-file <file>", "file with the keys of clients, one in each line (default: no key is needed)")
    .option("--metrics-need-key", "/metrics needs a key, too")
    .option("--share-prefixes", "all keys share the prefix cache; each can then find out what others asked")
    .option(
      "--reasoning-key-file <file>",
      "file with the secret that encrypts reasoning for clients; more lines hold older secrets, which still decrypt; servers that share it read each other's (default: $GPT_OSS_REASONING_KEY, else random)",
    )
    .option(
      "--cors <origin>",
      "origin of web pages that may ask, such as https://example.com, or *; can be repeated",
      repeated,
    )
    .option("--tls-cert <file>", "serve HTTPS with this certificate chain (PEM)")
    .option("--tls-key <file>", "key of the certificate (PEM)");
  addEngineOptions(command, "64")
    .option(
      "--trust-proxy [proxies]",
      "take addresses of clients from x-forwarded-for: number of proxies in front (1), or their addresses and networks, such as 10.0.0.0/8,192.0.2.7",
    )
    .option("--max-body-bytes <n>", "bytes of one request; larger ones get 413 (default: 33554432)", integer)
    .option("--requests-per-minute <n>", "requests of one key or address; more get 429 (default: no limit)", integer)
    .option(
      "--tokens-per-minute <n>",
      "tokens of prompts and answers of one key or address (default: no limit)",
      integer,
    )
    .option(
      "--concurrent-requests <n>",
      "requests of one key or address at once; more get 429 (default: no limit)",
      integer,
    )
    .option("--priority-range <low,high>", "values of priority that a request may ask for (default: none)", range)
    .option("--strict-requests", "refuse unknown fields of a request (default: log them once)")
    .option("--drain-seconds <n>", "time for running requests at the end (default: 30)", integer)
    .option("--reader-seconds <n>", "disconnect a client that reads nothing for so long (default: 60)", integer)
    .option("--stall-seconds <n>", "/health answers 503 after so long without a step (default: 60)", integer)
    .addOption(
      new Option("--log-level <level>", "what to log; debug includes probes")
        .choices(["trace", "debug", "info", "warn", "error", "fatal", "silent"])
        .default("info"),
    )
    .addHelpText("after", afterwards);
  return command.action(serve);
}

async function serve(modelArgument: string | undefined, flags: ServeFlags): Promise<void> {
  const options = engineOptions(flags);
  const tls = tlsOf(flags);
  const chosen = chosenModel(modelArgument);
  const { model } = chosen;
  const resolved = await resolveChosen(chosen);
  const stopping = new AbortController();
  const engine = deferred<Engine>();
  // Imported here, because no other command needs it and it doubles the time of a start.
  const { createServer } = await import("../../server/index.js");
  const app = await createServer(serverOptions(resolved, flags, engine.promise, tls));
  const shutdown = new Shutdown(app, stopping);
  const loading = load(app, model, options, stopping.signal);
  try {
    // Options, model and the plan of its memory are checked before the port listens.
    await loading.accepted;
    logModel(app, resolved);
    const address = await listen(app, flags.host, flags.port);
    Output.stdout().line(`Listening on ${address}`);
    if (!isLoopback(flags.host) && flags.apiKeyFile === undefined) {
      app.log.warn(
        { host: flags.host },
        "everybody who can reach this host can use the model, because no key is needed; see --api-key-file, or --host 127.0.0.1",
      );
    }
    if (flags.apiKeyFile !== undefined) reloadKeysOnHangup(app);
    engine.resolve(await loading.engine);
    await shutdown.requested;
    await shutdown.drain();
  } catch (error) {
    engine.reject(error);
    // A signal while the model loads is no error.
    if (error !== stopping.signal.reason) throw error;
  } finally {
    stopping.abort();
    await loading.engine.then(
      (loaded) => loaded.close(),
      () => {},
    );
    await shutdown.close();
  }
}

/** Says which model is served, and where it was found. */
function logModel(app: FastifyInstance, resolved: ResolvedModel): void {
  const { name: model, source, path } = resolved;
  for (const outcome of passedOver(resolved)) app.log.warn({ model, outcome }, "passed over an incomplete model");
  app.log.info({ model, source, path, place: resolution(resolved) }, "found the model");
  if (source === "demo") app.log.info(demoNote("serve"));
}

interface Loading {
  engine: Promise<Engine>;
  /** Resolves when all checks have passed and only the weights are left to load; rejects when a check fails. */
  accepted: Promise<void>;
}

function load(app: FastifyInstance, model: string, options: EngineOptions, signal: AbortSignal): Loading {
  const started = performance.now();
  const accepted = deferred<void>();
  let told = -1;
  const onProgress: EngineOptions["onProgress"] = ({ phase, loadedBytes, totalBytes, writes }) => {
    if (phase !== "open") accepted.resolve();
    const tenth = totalBytes > 0 ? Math.floor((10 * loadedBytes) / totalBytes) : 0;
    if (tenth === told) return;
    told = tenth;
    app.log.info({ model, phase, percent: 10 * tenth, ...(writes !== undefined && { writes }) }, "loading the model");
  };
  const engine = Engine.load(model, { ...options, onProgress, signal });
  engine.then(({ info }) => {
    const { backend, device, isa, memory, limits, numerics, denseWeights, expertWeights } = info;
    const seconds = Math.round(performance.now() - started) / 1000;
    const chosen = { backend, device, isa, memory, limits, numerics, denseWeights, expertWeights };
    app.log.info({ seconds, ...chosen }, "the model is ready");
    const rounding = roundingNote(info);
    const { conversion, mergedAdapters } = info;
    if (rounding !== null) app.log.info({ conversion, mergedAdapters }, rounding);
  }, accepted.reject);
  return { engine, accepted: accepted.promise };
}

function serverOptions(
  resolved: ResolvedModel,
  flags: ServeFlags,
  engine: Promise<Engine>,
  tls: ServerOptions["tls"] | null,
): ServerOptions {
  const { maxBodyBytes, requestsPerMinute, tokensPerMinute, concurrentRequests, priorityRange } = flags;
  const { drainSeconds, readerSeconds, stallSeconds, logLevel } = flags;
  const reasoningKey = readReasoningKeys(flags.reasoningKeyFile);
  return {
    engine,
    modelName: flags.modelName ?? servedName(resolved),
    ...(flags.apiKeyFile !== undefined && { apiKeys: { file: flags.apiKeyFile } }),
    ...(flags.metricsNeedKey && { metricsNeedKey: true }),
    ...(flags.cors && { cors: flags.cors }),
    ...(tls && { tls }),
    ...(flags.sharePrefixes && { sharePrefixes: true }),
    ...(reasoningKey !== undefined && { reasoningKey }),
    ...(flags.trustProxy !== undefined && { trustProxy: hopsOrNetworks(flags.trustProxy) }),
    ...(maxBodyBytes !== undefined && { maxBodyBytes }),
    ...(requestsPerMinute !== undefined && { requestsPerMinute }),
    ...(tokensPerMinute !== undefined && { tokensPerMinute }),
    ...(priorityRange !== undefined && { priorityRange }),
    ...(concurrentRequests !== undefined && { concurrentRequests }),
    ...(flags.strictRequests && { strictRequests: true }),
    ...(drainSeconds !== undefined && { drainMilliseconds: drainSeconds * 1000 }),
    ...(readerSeconds !== undefined && { readerMilliseconds: readerSeconds * 1000 }),
    ...(stallSeconds !== undefined && { stallMilliseconds: stallSeconds * 1000 }),
    ...(logLevel === "silent" ? { logger: false } : { logger: true, logLevel }),
  };
}

function hopsOrNetworks(text: true | string): true | number | string {
  return text !== true && /^\d+$/.test(text) ? Number(text) : text;
}

function tlsOf({ tlsCert, tlsKey }: ServeFlags): ServerOptions["tls"] | null {
  if (tlsCert === undefined && tlsKey === undefined) return null;
  if (tlsCert === undefined || tlsKey === undefined) throw new UsageError("--tls-cert and --tls-key need each other");
  return readTls(tlsCert, tlsKey);
}

function reloadKeysOnHangup(app: FastifyInstance): void {
  process.on("SIGHUP", () => {
    try {
      app.log.info({ keys: app.reloadApiKeys() }, "read the API keys again");
    } catch (error) {
      app.log.error({ err: error }, "the API keys could not be read again; the old keys stay valid");
    }
  });
}

function range(text: string): [number, number] {
  const [low, high, ...more] = text.split(",").map(integer);
  if (low === undefined || high === undefined || more.length > 0) {
    throw new UsageError("Expected two integers such as -10,10 for --priority-range");
  }
  return [low, high];
}

function port(text: string): number {
  const number = integer(text);
  if (number < 0 || number > 65535) throw new UsageError("Expected a port from 0 to 65535 for --port");
  return number;
}

function deferred<T>() {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
