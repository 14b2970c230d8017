import { fork, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, rmSync, statfsSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { packageRoot } from "../../lib/binding.js";
import type { Failure, Measurements, Task, Turn } from "../peer/turn.js";
import { shapes, Weights } from "../peer/weights.js";
import { UsageError } from "../support/arguments.js";
import { commit, machine } from "../support/machine.js";
import { type Summary, summarize } from "../support/statistics.js";
import { MemoryLimit } from "./cgroup.js";
import { placeInHub, placeInOllama } from "./stores.js";

const help = `Usage: npm run bench:real-size -- --folder PATH [options]

Writes a checkpoint with the shapes of gpt-oss-20b and random weights: 13.8 GB in the released layout of safetensors,
and 12.1 GB as a GGUF with Q8_0 dense weights. Then it measures what a user meets with files of this size. A table goes
to stderr, JSON lines to stdout.

  --folder PATH      scratch folder; needs 55 GB. The checkpoints stay there for later runs
  --shape NAME       20b, or small: the same with 0.7 GB, as a test of this script               [20b]
  --limit GB         memory of the cgroup that the engine runs in; page cache counts. 0: none    [16]
  --repeats N        later starts of each checkpoint, after the first                            [3]
  --threads N        worker threads                                                              [one per core]
  --help             this text

bench/README.md explains the measurements.
`;

interface Plan {
  folder: string;
  shape: "20b" | "small";
  limitBytes: number;
  repeats: number;
  threads: number;
}

function readPlan(args: string[]): Plan | "help" {
  const { values } = parseArgs({
    args,
    options: {
      folder: { type: "string" },
      shape: { type: "string", default: "20b" },
      limit: { type: "string", default: "16" },
      repeats: { type: "string", default: "3" },
      threads: { type: "string", default: String(availableParallelism()) },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  const number = (name: "limit" | "repeats" | "threads", least: number) => {
    const value = Number(values[name]);
    if (!(value >= least))
      throw new UsageError(`Expected a number >= ${least} for --${name}, received ${values[name]}`);
    return value;
  };
  if (values.folder === undefined) throw new UsageError("Expected --folder with a scratch folder");
  if (values.shape !== "20b" && values.shape !== "small") {
    throw new UsageError(`Expected 20b or small for --shape, received ${values.shape}`);
  }
  return {
    folder: path.resolve(values.folder),
    shape: values.shape,
    limitBytes: number("limit", 0) * 1e9,
    repeats: number("repeats", 1),
    threads: number("threads", 1),
  };
}

const measurements: Measurements = { prefill: [512], sequences: [1], decodeTokens: 32 };
const contextLength = 4096;

function checkRoom({ folder, shape }: Plan): void {
  const need = shape === "20b" ? 55e9 : 3e9;
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize >= need) return;
  throw new Error(`${folder} has ${Math.round((bavail * bsize) / 1e9)} GB free, and ${need / 1e9} GB are needed`);
}

/** One start of the engine in a separate process, inside the limit. */
async function start(plan: Plan, model: string): Promise<Turn & { limited: boolean }> {
  const task: Task = {
    kind: "measure",
    subject: "ours",
    seed: 1,
    measurements,
    options: {
      model,
      vocab: shapes[plan.shape]!.vocab,
      dense: "bf16",
      threads: plan.threads,
      contextLength,
      sequences: 4,
      kvBytes: 1 << 30,
      extra: {},
    },
  };
  using limit = plan.limitBytes > 0 ? MemoryLimit.of(plan.limitBytes) : null;
  const child = fork(path.join(packageRoot, "bench", "peer", "turn.ts"), {
    execArgv: ["--import", "tsx"],
    serialization: "advanced",
    stdio: ["ignore", 2, 2, "ipc"],
  });
  limit?.add(child.pid!);
  let result: Turn | Failure | undefined;
  child.once("message", (message: Turn | Failure) => {
    result = message;
  });
  child.send(task);
  const [code, signal] = await once(child, "close"); // the process has left the limit, and its message is here
  if (result === undefined) {
    const killed = limit !== null && limit.kills() > 0 ? ", out of the memory that the limit gives" : "";
    throw new Error(`The engine ended with ${signal ?? code}${killed}`);
  }
  if ("failure" in result) throw new Error(result.failure);
  return { ...result, limited: limit !== null };
}

/** Seconds that a command of the program takes. */
function secondsOf(args: string[], env: Record<string, string>): number {
  const started = performance.now();
  const { status, stderr } = spawnSync(process.execPath, [path.join(packageRoot, "dist/cli/main.js"), ...args], {
    env: { ...process.env, ...env },
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`gpt-oss ${args.join(" ")} ended with ${status}: ${stderr}`);
  return (performance.now() - started) / 1000;
}

async function main(args: string[]): Promise<void> {
  const plan = readPlan(args);
  if (plan === "help") {
    process.stdout.write(help);
    return;
  }
  mkdirSync(plan.folder, { recursive: true });
  const home = path.join(plan.folder, plan.shape);
  if (!existsSync(home)) checkRoom(plan);
  mkdirSync(home, { recursive: true });
  const weights = new Weights(home, shapes[plan.shape]!, 1);
  const env = { HF_HUB_CACHE: path.join(home, "hub"), OLLAMA_MODELS: path.join(home, "ollama") };
  Object.assign(process.env, env);
  const { folder: _, limitBytes: __, ...options } = plan; // no paths; each line has its own limit
  const every = { bench: "real-size", commit: commit(), machine: machine(), ...options };
  const print = (line: object) => process.stdout.write(`${JSON.stringify({ ...every, ...line })}\n`);
  const stores = {
    safetensors: () => placeInHub(env.HF_HUB_CACHE, weights.checkpoint),
    gguf: () => placeInOllama(env.OLLAMA_MODELS, weights.gguf("q8_0")),
  };
  for (const [format, place] of Object.entries(stores)) {
    const model = place();
    const turns: Turn[] = [];
    for (let i = 0; i <= plan.repeats; i++) {
      const turn = await start(plan, model);
      print({
        measure: i === 0 ? "firstStart" : "laterStart",
        format,
        limitBytes: turn.limited ? plan.limitBytes : null,
        ...turn,
      });
      turns.push(turn);
    }
    const [first, ...later] = turns as [Turn, ...Turn[]];
    const inspect = summarize(Array.from({ length: plan.repeats }, () => secondsOf(["inspect", model, "--json"], env)));
    const verify = summarize(Array.from({ length: plan.repeats }, () => secondsOf(["verify", model, "--json"], env)));
    const row = {
      firstLoadSeconds: first.loadMilliseconds / 1000,
      loadSeconds: summarize(later.map((turn) => turn.loadMilliseconds / 1000)),
      firstTokenSeconds: summarize(later.map((turn) => turn.firstTokenMilliseconds / 1000)),
      prefill512: summarize(later.map((turn) => turn.prefill[512]!)),
      decode: summarize(later.map((turn) => turn.decode[1]!)),
      residentPeakGB: summarize(turns.map((turn) => turn.memory.peakBytes / 1e9)),
      anonymousGB: summarize(turns.map((turn) => turn.memory.anonymousBytes! / 1e9)),
      othersShare: Math.max(...turns.map((turn) => turn.disturbance.others)),
      inspectSeconds: inspect,
      verifySeconds: verify,
    };
    print({ measure: "summary", format, about: first.about, ...row });
    const spread = ({ median, min, max }: Summary) => `${median} [${min} .. ${max}]`;
    process.stderr.write(`\n${plan.shape}, ${format}, ${plan.threads} threads, limit ${plan.limitBytes / 1e9} GB\n`);
    for (const [name, value] of Object.entries(row)) {
      process.stderr.write(
        `  ${name.padEnd(20)}${typeof value === "number" ? Number(value.toPrecision(4)) : spread(value)}\n`,
      );
    }
    // the packed experts of one format are as large as its checkpoint
    for (const folder of [weights.checkpoint, path.join(env.OLLAMA_MODELS, "blobs")]) {
      rmSync(path.join(folder, ".gpt-oss-node"), { recursive: true, force: true });
    }
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const isUsage = error instanceof UsageError || (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS");
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = isUsage ? 2 : 1;
}
