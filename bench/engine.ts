import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { addon } from "../lib/binding.js";
import { Engine } from "../lib/index.js";
import { presets, writeCheckpoint } from "../test/support/checkpoint.js";
import { commit, machine } from "./support/machine.js";
import { summarize } from "./support/statistics.js";

const help = `Usage: npm run bench -- [MODEL...] [options]

Loading, prefill and decode of one sequence, as JSON lines on stdout.

  MODEL              demo, small (random weights, 0.72 GB, written to a temporary folder), or the path of a
                     checkpoint; demo and small by default
  --prefill LIST     prompt lengths                                    [128,512]
  --context LIST     tokens in the KV cache when decoding starts       [128,1024]
  --decode N         tokens decoded per measurement                    [32]
  --repeats N        measurements of each kind, at least 5             [7]
  --threads N        worker threads                                    [one per core]
  --help             this text

GPT_OSS_ISA=scalar|avx2|avx512|neon chooses the kernels. See bench/README.md for the meaning of each line.
`;

const roofBuffer = 512e6; // bytes; past the last-level cache of any machine at hand

interface Plan {
  models: string[];
  prefill: number[];
  context: number[];
  decode: number;
  repeats: number;
  threads: number | "auto";
}

class UsageError extends Error {}

function readPlan(args: string[]): Plan | "help" {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      prefill: { type: "string", default: "128,512" },
      context: { type: "string", default: "128,1024" },
      decode: { type: "string", default: "32" },
      repeats: { type: "string", default: "7" },
      threads: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  const counts = (name: string, text: string, least = 1) => {
    const numbers = text.split(",").map(Number);
    if (numbers.some((n) => !Number.isInteger(n) || n < least)) {
      throw new UsageError(`Expected integers >= ${least} for --${name} but received "${text}"`);
    }
    return numbers;
  };
  return {
    models: positionals.length > 0 ? positionals : ["demo", "small"],
    prefill: counts("prefill", values.prefill),
    context: counts("context", values.context),
    decode: counts("decode", values.decode)[0]!,
    repeats: counts("repeats", values.repeats, 5)[0]!,
    threads: values.threads === undefined ? "auto" : counts("threads", values.threads)[0]!,
  };
}

/** Random ids, other ones each time, so that no prefix can be reused. */
function prompt(tokens: number, vocab: number): number[] {
  return Array.from({ length: tokens }, () => Math.floor(Math.random() * Math.min(vocab, 199_998)));
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
  const { backend, isa, threads, numerics, memory } = engine.info;
  const { vocab, parameters } = engine.info.model;
  const about = { model, parameters, weightsBytes: memory.weightsBytes, backend, isa, threads, numerics };
  print({ ...about, measure: "load", milliseconds: summarize(loads) });

  const timings = async (promptTokens: number, maxTokens: number) => {
    const run = engine.generate(prompt(promptTokens, vocab), { temperature: 0, maxTokens, ignoreEos: true });
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
      // right after what it is compared with: other programs and the clock change what the memory gives
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

// an interrupted run takes its 0.7 GB with it, too
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
try {
  await main(process.argv.slice(2));
} catch (error) {
  const isUsage = error instanceof UsageError || (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS");
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = isUsage ? 2 : 1;
}
