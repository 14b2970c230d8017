import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { addon } from "../lib/binding.js";
import { Engine, type EngineInfo } from "../lib/index.js";
import { presets, writeCheckpoint } from "../test/support/checkpoint.js";
import { counts, UsageError } from "./support/arguments.js";
import { commit, machine } from "./support/machine.js";
import { summarize } from "./support/statistics.js";
import { randomPrompt, runStreams, type StreamsTimings } from "./support/streams.js";

const help = `Usage: npm run bench -- [MODEL...] [options]

Loading, prefill and decode of one sequence, and many sequences at once, as JSON lines on stdout.

  MODEL              demo, small (random weights, 0.72 GB, written to a temporary folder), or the path of a
                     checkpoint; demo and small by default
  --prefill LIST     prompt lengths                                    [128,512]
  --context LIST     tokens in the KV cache when decoding starts       [128,1024]
  --decode N         tokens decoded per measurement                    [32]
  --streams LIST     concurrent requests, each with a prompt of 64 tokens and 64 tokens of output; "none": no such
                     measurement                                       [demo 1,4,16,64,256; others 1,4]
  --repeats N        measurements of each kind, at least 5             [7]
  --threads N        worker threads                                    [one per core]
  --help             this text

GPT_OSS_ISA=scalar|avx2|avx512|neon chooses the kernels. bench/README.md explains each line.
`;

const roofBuffer = 512e6; // bytes; past the last-level cache of any machine at hand
const streamTokens = 64; // of each prompt, and of each completion

interface Plan {
  models: string[];
  prefill: number[];
  context: number[];
  decode: number;
  /** Undefined: the default of the model. */
  streams: number[] | undefined;
  repeats: number;
  threads: number | "auto";
}

function readPlan(args: string[]): Plan | "help" {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      prefill: { type: "string", default: "128,512" },
      context: { type: "string", default: "128,1024" },
      decode: { type: "string", default: "32" },
      streams: { type: "string" },
      repeats: { type: "string", default: "7" },
      threads: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  return {
    models: positionals.length > 0 ? positionals : ["demo", "small"],
    prefill: counts("prefill", values.prefill),
    context: counts("context", values.context),
    decode: counts("decode", values.decode)[0]!,
    streams:
      values.streams === undefined ? undefined : values.streams === "none" ? [] : counts("streams", values.streams),
    repeats: counts("repeats", values.repeats, 5)[0]!,
    threads: values.threads === undefined ? "auto" : counts("threads", values.threads)[0]!,
  };
}

async function measure(model: string, folder: string, plan: Plan, print: (line: object) => void): Promise<void> {
  const options = { threads: plan.threads, kvCache: { bytes: "1GiB" } };
  const loads: number[] = [];
  for (let i = 0; i < plan.repeats; i++) {
    const started = performance.now();
    const engine = await Engine.load(folder, options);
    loads.push(performance.now() - started);
    await engine.close();
  }

  await using engine = await Engine.load(folder, options);
  const { backend, isa, threads, numerics, denseWeights, expertWeights, memory } = engine.info;
  const { vocab, parameters } = engine.info.model;
  const weights = { weightsBytes: memory.weightsBytes, denseWeights, expertWeights };
  const about = { model, parameters, ...weights, backend, isa, threads, numerics };
  print({ ...about, measure: "load", milliseconds: summarize(loads) });

  const timings = async (promptTokens: number, maxTokens: number) => {
    const run = engine.generate(randomPrompt(promptTokens, vocab), { temperature: 0, maxTokens, ignoreEos: true });
    return (await run.result).timings;
  };
  await timings(Math.max(...plan.prefill), plan.decode); // warm up: pages of the weights, and the threads

  for (const tokens of plan.prefill) {
    const speeds: number[] = [];
    for (let i = 0; i < plan.repeats; i++)
      speeds.push((1000 * tokens) / (await timings(tokens, 1)).prefillMilliseconds);
    print({ ...about, measure: "prefill", tokens, tokensPerSecond: summarize(speeds) });
  }

  for (const context of plan.context) {
    const bytesPerToken = Math.round(engine.bytesPerToken(context + Math.round(plan.decode / 2)));
    const speeds: number[] = [];
    const roofs: number[] = [];
    for (let i = 0; i < plan.repeats; i++) {
      const { decodeMilliseconds } = await timings(context, plan.decode + 1); // the prefill yields the first token
      speeds.push((1000 * plan.decode) / decodeMilliseconds);
      // right after the measurement that it is compared with: other programs and the clock change the memory's speed
      roofs.push(addon().memoryBandwidth(roofBuffer, threads));
    }
    print({
      ...about,
      measure: "decode",
      context,
      tokens: plan.decode,
      tokensPerSecond: summarize(speeds),
      bytesPerToken,
      roofBytesPerSecond: summarize(roofs),
      shareOfRoof: summarize(speeds.map((speed, i) => (bytesPerToken * speed) / roofs[i]!)),
    });
  }

  await engine.close(); // its cache, before another one
  const streams = plan.streams ?? (model === "demo" ? [1, 4, 16, 64, 256] : [1, 4]);
  if (streams.length > 0) {
    const bytes = cacheBytes(engine.info.model, Math.max(...streams));
    await measureStreams(folder, streams, bytes, plan, (line) => print({ ...about, ...line }));
  }
}

async function measureStreams(
  folder: string,
  counts: number[],
  cacheBytes: number,
  plan: Plan,
  print: (line: object) => void,
): Promise<void> {
  const maxSequences = Math.max(256, ...counts);
  await using engine = await Engine.load(folder, {
    threads: plan.threads,
    contextLength: 2 * streamTokens,
    maxSequences,
    prefixCache: false,
    kvCache: { bytes: cacheBytes },
  });
  const bytesPerToken = Math.round(engine.bytesPerToken(1.5 * streamTokens));
  const shape = { promptTokens: streamTokens, maxTokens: streamTokens };
  await runStreams(engine, { ...shape, streams: 1 }); // warm up
  for (const streams of counts) {
    const runs: StreamsTimings[] = [];
    const roofs: number[] = [];
    for (let i = 0; i < plan.repeats; i++) {
      runs.push(await runStreams(engine, { ...shape, streams }));
      if (streams === 1) roofs.push(addon().memoryBandwidth(roofBuffer, engine.info.threads));
    }
    const over = (value: (run: StreamsTimings) => number) => summarize(runs.map(value));
    const percentiles = (key: "firstTokenMilliseconds" | "interTokenMilliseconds") => ({
      p50: over((run) => run[key].p50),
      p99: over((run) => run[key].p99),
    });
    const speeds = runs.map(({ decodeMilliseconds }) => (1000 * (streamTokens - 1)) / decodeMilliseconds);
    print({
      measure: "streams",
      streams,
      promptTokens: streamTokens,
      tokens: streamTokens,
      tokensPerSecond: over((run) => run.tokensPerSecond),
      firstTokenMilliseconds: percentiles("firstTokenMilliseconds"),
      interTokenMilliseconds: percentiles("interTokenMilliseconds"),
      eventLoopDelayMilliseconds: over((run) => run.eventLoopDelayMilliseconds),
      ...(streams === 1 && {
        bytesPerToken,
        roofBytesPerSecond: summarize(roofs),
        shareOfRoof: summarize(speeds.map((speed, i) => (bytesPerToken * speed) / roofs[i]!)),
      }),
    });
  }
}

/** The bytes of a cache with twice the pages that the streams need, so that no stream waits for a page. */
function cacheBytes({ layers, kvHeads, headDim }: EngineInfo["model"], streams: number): number {
  const keysAndValues = 2 * 4 * kvHeads * headDim * layers; // of one token, in float32
  return 2 * streams * 2 * streamTokens * keysAndValues;
}

async function main(args: string[]): Promise<void> {
  const plan = readPlan(args);
  if (plan === "help") {
    process.stdout.write(help);
    return;
  }
  const every = { bench: "engine", commit: commit(), machine: machine() };
  const print = (line: object) => process.stdout.write(`${JSON.stringify({ ...every, ...line })}\n`);
  for (const model of plan.models) {
    if (model !== "small") {
      await measure(model, model, plan, print);
      continue;
    }
    const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-bench-"));
    process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
    writeCheckpoint(folder, presets.small);
    await measure(model, folder, plan, print);
  }
}

// an interrupted run also removes its 0.7 GB
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
try {
  await main(process.argv.slice(2));
} catch (error) {
  const isUsage = error instanceof UsageError || (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS");
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = isUsage ? 2 : 1;
}
