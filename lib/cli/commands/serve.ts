import { readFileSync } from "node:fs";
import path from "node:path";
import { createSecureContext } from "node:tls";
import { Command, Option } from "commander";
import type { FastifyInstance } from "fastify";
import { Engine } from "../../engine.js";
import type { EngineOptions } from "../../options.js";
import { createServer, type ServerOptions } from "../../server/index.js";
import { UsageError } from "../exit.js";
import { addEngineOptions, chosenModel, type EngineFlags, engineOptions, integer, modelArgument } from "../options.js";
import { Output } from "../output.js";
import { isLoopback, listen } from "../serve/listen.js";
import { Shutdown } from "../serve/shutdown.js";

interface ServeFlags extends EngineFlags {
  host: string;
  port: number;
  modelName?: string[];
  apiKeyFile?: string;
  metricsNeedKey?: true;
  cors?: string[];
  tlsCert?: string;
  tlsKey?: string;
  maxSequences?: number;
  maxQueue?: number;
  maxBatchTokens?: number;
  kvDtype?: "f32" | "bf16" | "fp8";
  kvBytes?: string;
  prefixCache: boolean;
  denseWeights?: "bf16" | "q8";
  numerics?: "exact" | "fast";
  repeatable?: true;
  trustProxy?: true;
  maxBodyBytes?: number;
  requestsPerMinute?: number;
  concurrentRequests?: number;
  strictRequests?: true;
  drainSeconds?: number;
  stallSeconds?: number;
  logLevel: NonNullable<ServerOptions["logLevel"]> | "silent";
}

const afterwards = `
While the model loads, /live answers 200, and /ready and the API 503. SIGTERM and SIGINT let running requests finish, for
--drain-seconds at most; a second one quits at once. SIGHUP reads the file of keys again. The log goes to stderr, one JSON
object per line, without anything of prompts and answers.`;

export function serveCommand(): Command {
  const command = new Command("serve")
    .description(
      "Serve a model over HTTP, as OpenAI's API: chat completions, responses, completions, tokenize; health and metrics.",
    )
    .argument("[model]", modelArgument)
    .option("--host <address>", "address to listen on", "127.0.0.1")
    .option("--port <n>", "port to listen on; 0 takes a free one", port, 8080)
    .option("--model-name <name>", "what the model is called; again for another name (default: its folder's)", repeated)
    .option("--api-key-file <file>", "keys that clients must have, one per line (default: everybody may ask)")
    .option("--metrics-need-key", "ask for a key at /metrics, too")
    .option(
      "--cors <origin>",
      "web pages that may ask, such as https://example.com; again for another; * for all",
      repeated,
    )
    .option("--tls-cert <file>", "serve HTTPS with this certificate chain, PEM")
    .option("--tls-key <file>", "the certificate's key, PEM");
  addEngineOptions(command)
    .option("--max-sequences <n>", "sequences running at once (default: 64)", integer)
    .option("--max-queue <n>", "requests that may wait; more get 429 (default: 1024)", integer)
    .option(
      "--max-batch-tokens <n>",
      "tokens of one step (default: 512 on a CPU, 256 with numerics exact, 2048 on a GPU)",
      integer,
    )
    .addOption(
      new Option("--kv-dtype <type>", "element type of the KV cache (default: f32 on a CPU, bf16 on a GPU)").choices([
        "f32",
        "bf16",
        "fp8",
      ]),
    )
    .option("--kv-bytes <size>", 'memory of the KV cache, such as 4GiB, or "auto"')
    .option("--no-prefix-cache", "compute every prompt from its beginning")
    .addOption(new Option("--dense-weights <type>", "q8: faster on CPUs, and lossy").choices(["bf16", "q8"]))
    .addOption(
      new Option("--numerics <kind>", "of activations (default: fast where it can be)").choices(["exact", "fast"]),
    )
    .option("--repeatable", "the same bits in any batch on a GPU, too")
    .option("--trust-proxy", "take addresses from x-forwarded-for; only behind a proxy that sets it")
    .option("--max-body-bytes <n>", "of one request; more get 413 (default: 33554432)", integer)
    .option("--requests-per-minute <n>", "of one key, or one address; more get 429 (default: any)", integer)
    .option("--concurrent-requests <n>", "of one key, or one address; more get 429 (default: any)", integer)
    .option("--strict-requests", "refuse fields of a request that are not known; else the log hears of them once")
    .option("--drain-seconds <n>", "what running requests get to finish at the end (default: 30)", integer)
    .option("--stall-seconds <n>", "without a step after which /health tells 503 (default: 60)", integer)
    .addOption(
      new Option("--log-level <level>", "what to log; debug has probes, too")
        .choices(["trace", "debug", "info", "warn", "error", "fatal", "silent"])
        .default("info"),
    )
    .addHelpText("after", afterwards);
  return command.action(serve);
}

async function serve(modelArgument: string | undefined, flags: ServeFlags): Promise<void> {
  const notes = new Output(process.stderr);
  const tls = readTls(flags);
  const { model } = chosenModel(modelArgument, "serve", notes);
  const loading = new AbortController();
  const engine = deferred<Engine>();
  const app = await createServer(serverOptions(model, flags, engine.promise, tls));
  const shutdown = new Shutdown(app, loading);
  try {
    const address = await listen(app, flags.host, flags.port);
    new Output(process.stdout).line(`Listening on ${address}`);
    if (!isLoopback(flags.host) && flags.apiKeyFile === undefined) {
      notes.line(
        `WARNING: whoever can reach ${flags.host} may use this model: it asks for no key. See --api-key-file, or --host 127.0.0.1`,
      );
    }
    if (flags.apiKeyFile !== undefined) reloadKeysOnHangup(app);
    // Only now: a port that is taken is told of before a long load, and probes are answered during it.
    await using loaded = await load(app, model, flags, loading.signal).catch((error: unknown) => {
      engine.reject(error);
      throw error;
    });
    engine.resolve(loaded);
    await shutdown.requested;
    await shutdown.drain();
  } catch (error) {
    // A signal while the model loads ends the program as any other.
    if (error !== loading.signal.reason) throw error;
  } finally {
    await shutdown.close();
  }
}

function load(app: FastifyInstance, model: string, flags: ServeFlags, signal: AbortSignal): Promise<Engine> {
  const started = performance.now();
  let told = -1;
  const onProgress: EngineOptions["onProgress"] = ({ phase, loadedBytes, totalBytes, writes }) => {
    const tenth = totalBytes > 0 ? Math.floor((10 * loadedBytes) / totalBytes) : 0;
    if (tenth === told) return;
    told = tenth;
    app.log.info({ model, phase, percent: 10 * tenth, ...(writes !== undefined && { writes }) }, "loading the model");
  };
  const { kvDtype: dtype, kvBytes: bytes, maxSequences, maxQueue, maxBatchTokens, denseWeights, numerics } = flags;
  const loading = Engine.load(model, {
    ...engineOptions(flags),
    ...(maxSequences !== undefined && { maxSequences }),
    ...(maxQueue !== undefined && { maxQueue }),
    ...(maxBatchTokens !== undefined && { maxBatchTokens }),
    kvCache: { ...(dtype !== undefined && { dtype }), ...(bytes !== undefined && { bytes }) },
    prefixCache: flags.prefixCache,
    ...(denseWeights !== undefined && { denseWeights }),
    ...(numerics !== undefined && { numerics }),
    ...(flags.repeatable && { repeatable: true }),
    onProgress,
    signal,
  });
  return loading.then((engine) => {
    const { backend, device, isa, memory, limits, numerics, denseWeights } = engine.info;
    const seconds = Math.round(performance.now() - started) / 1000;
    app.log.info({ seconds, backend, device, isa, memory, limits, numerics, denseWeights }, "the model is ready");
    return engine;
  });
}

function serverOptions(
  model: string,
  flags: ServeFlags,
  engine: Promise<Engine>,
  tls: ServerOptions["tls"] | null,
): ServerOptions {
  const { maxBodyBytes, requestsPerMinute, concurrentRequests, drainSeconds, stallSeconds, logLevel } = flags;
  return {
    engine,
    modelName: flags.modelName ?? nameOf(model),
    ...(flags.apiKeyFile !== undefined && { apiKeys: { file: flags.apiKeyFile } }),
    ...(flags.metricsNeedKey && { metricsNeedKey: true }),
    ...(flags.cors && { cors: flags.cors }),
    ...(tls && { tls }),
    ...(flags.trustProxy && { trustProxy: true }),
    ...(maxBodyBytes !== undefined && { maxBodyBytes }),
    ...(requestsPerMinute !== undefined && { requestsPerMinute }),
    ...(concurrentRequests !== undefined && { concurrentRequests }),
    ...(flags.strictRequests && { strictRequests: true }),
    ...(drainSeconds !== undefined && { drainMilliseconds: drainSeconds * 1000 }),
    ...(stallSeconds !== undefined && { stallMilliseconds: stallSeconds * 1000 }),
    ...(logLevel === "silent" ? { logger: false } : { logger: true, logLevel }),
  };
}

/** `/models/gpt-oss-20b/` is "gpt-oss-20b", `synthetic:20b?seed=1` is "synthetic:20b". */
function nameOf(model: string): string {
  return model.startsWith("synthetic:") ? model.split("?", 1)[0]! : path.basename(path.resolve(model));
}

function readTls({ tlsCert, tlsKey }: ServeFlags): ServerOptions["tls"] | null {
  if (tlsCert === undefined && tlsKey === undefined) return null;
  if (tlsCert === undefined || tlsKey === undefined) throw new UsageError("--tls-cert and --tls-key need each other");
  try {
    const tls = { cert: readFileSync(tlsCert), key: readFileSync(tlsKey) };
    createSecureContext(tls);
    return tls;
  } catch (cause) {
    const { message, code } = cause as NodeJS.ErrnoException;
    throw Object.assign(new Error(`The certificate ${tlsCert} with the key ${tlsKey} cannot be used: ${message}`), {
      code,
    });
  }
}

function reloadKeysOnHangup(app: FastifyInstance): void {
  process.on("SIGHUP", () => {
    try {
      app.log.info({ keys: app.reloadApiKeys() }, "read the API keys again");
    } catch (error) {
      app.log.error({ err: error }, "the API keys could not be read again; those from before stay");
    }
  });
}

function repeated(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
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
