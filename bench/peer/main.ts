import { execFileSync, fork } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, readSync, rmSync } from "node:fs";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { packageRoot } from "../../lib/binding.js";
import type { CheckpointShape } from "../../test/support/checkpoint.js";
import { counts, UsageError } from "../support/arguments.js";
import { commit, machine } from "../support/machine.js";
import { type Summary, summarize } from "../support/statistics.js";
import { agreement } from "./agreement.js";
import type { DenseType } from "./convert.js";
import { compareGolden } from "./golden.js";
import { installPeer } from "./install.js";
import { compareFiles } from "./readback.js";
import { RoofMeter } from "./roofs.js";
import type { SubjectName, SubjectOptions } from "./subject.js";
import {
  type Answer,
  decodePromptTokens,
  type Failure,
  type Measurements,
  randomTokens,
  type Task,
  type Turn,
} from "./turn.js";
import { shapes, Weights } from "./weights.js";

const help = `Usage: npm run bench:peer -- [options]

Compares this engine and node-llama-cpp on the same random weights, in turns. Each turn is a separate process. A table
goes to stderr, JSON lines to stdout. The first run fetches node-llama-cpp into bench/peer/node_modules.

  --shape NAME       small (0.7 GB, one minute or two), 20b (27 GB of disk, 24 GB of memory, most of an hour) or tiny
                                                                       [small]
  --set KEY=N,...    changes numbers of the shape: ${Object.keys(shapes.tiny!).join(", ")}
  --dense LIST       dense weights: bf16, q8_0 (ours denseWeights q8), f32 (ours bf16)  [bf16]
  --prefill LIST     prompt lengths                                    [128,512; 20b 512]
  --sequences LIST   sequences that decode together                    [1,4,8]
  --decode N         tokens that each sequence decodes                 [32]
  --pairs N          pairs of turns, at least 5                        [5]
  --threads N        threads of each engine                            [one per core]
  --scheduler NAME   other, or rr: real-time round robin (Linux, root); stops everything else on the machine  [other]
  --options JSON     options for Engine.load, such as '{"numerics":"exact"}'
  --folder PATH      keeps the weights here for later runs; default: a temporary folder that is removed afterwards
  --check            no speed: reads the files back and compares the logits of the engines
  --golden           no speed: how far each engine is from the float64 oracle on the golden models  [--dense f32,bf16]
  --help             this text

bench/README.md explains the measurements.
`;

interface Plan {
  shapeName: string;
  shape: CheckpointShape;
  dense: DenseType[];
  measurements: Measurements;
  pairs: number;
  threads: number;
  scheduler: "other" | "rr";
  extra: Record<string, unknown>;
  folder: string | undefined;
  check: boolean;
  golden: boolean;
}

const leastPairs = 5;
const quiet = 0.02; // the share of processor time that other programs may use; above it a pair is disturbed

function readPlan(args: string[]): Plan | "help" {
  const { values } = parseArgs({
    args,
    options: {
      shape: { type: "string", default: "small" },
      set: { type: "string", default: "" },
      dense: { type: "string" },
      prefill: { type: "string" },
      sequences: { type: "string", default: "1,4,8" },
      decode: { type: "string", default: "32" },
      pairs: { type: "string", default: String(leastPairs) },
      threads: { type: "string", default: String(availableParallelism()) },
      scheduler: { type: "string", default: "other" },
      options: { type: "string", default: "{}" },
      folder: { type: "string" },
      check: { type: "boolean", default: false },
      golden: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  const oneOf = <T extends string>(name: string, text: string, allowed: readonly T[]): T => {
    if (!allowed.includes(text as T))
      throw new UsageError(`Expected ${allowed.join(" or ")} for --${name} but received "${text}"`);
    return text as T;
  };
  const shapeName = oneOf("shape", values.shape, Object.keys(shapes));
  return {
    shapeName: values.set ? `${shapeName},${values.set}` : shapeName,
    shape: changedShape(shapes[shapeName]!, values.set),
    dense: (values.dense ?? (values.golden ? "f32,bf16" : "bf16"))
      .split(",")
      .map((text) => oneOf("dense", text, ["bf16", "q8_0", "f32"])),
    measurements: {
      prefill: counts("prefill", values.prefill ?? (shapeName === "20b" ? "512" : "128,512"), 4),
      sequences: counts("sequences", values.sequences),
      decodeTokens: counts("decode", values.decode)[0]!,
    },
    pairs: counts("pairs", values.pairs, leastPairs)[0]!,
    threads: counts("threads", values.threads)[0]!,
    scheduler: oneOf("scheduler", values.scheduler, ["other", "rr"]),
    extra: JSON.parse(values.options),
    folder: values.folder,
    check: values.check,
    golden: values.golden,
  };
}

function changedShape(shape: CheckpointShape, changes: string): CheckpointShape {
  const changed = { ...shape };
  for (const change of changes.split(",").filter(Boolean)) {
    const [key, number] = change.split("=") as [keyof CheckpointShape, string];
    if (!(key in shape) || !(Number.isInteger(Number(number)) && Number(number) > 0)) {
      throw new UsageError(`Expected KEY=N with a KEY among ${Object.keys(shape).join(", ")} but received "${change}"`);
    }
    changed[key] = Number(number);
  }
  return changed;
}

// ---- one turn ----

/** The command before node that sets scheduler and processors; the results name it. */
function launcher(plan: Plan): string[] {
  if (process.platform !== "linux") {
    if (plan.scheduler === "rr") throw new UsageError("--scheduler rr is for Linux");
    return [];
  }
  const pin = plan.threads < availableParallelism() ? ["taskset", "-c", `0-${plan.threads - 1}`] : [];
  return [...pin, ...(plan.scheduler === "rr" ? ["chrt", "-r", "1"] : ["chrt", "-o", "0"])];
}

function takeTurn<Result extends object>(plan: Plan, task: Task): Promise<Result> {
  const command = [...launcher(plan), process.execPath, "--import", "tsx"];
  const child = fork(path.join(import.meta.dirname, "turn.ts"), {
    execPath: command[0]!,
    execArgv: command.slice(1),
    serialization: "advanced",
    stdio: ["ignore", 2, 2, "ipc"], // what llama.cpp prints is not a result
  });
  return new Promise((resolve, reject) => {
    child.once("message", (result: Result | Failure) => {
      if ("failure" in result) reject(new Error(result.failure));
      else resolve(result);
    });
    child.once("error", reject);
    child.once("close", (code, signal) =>
      reject(new Error(`The turn of ${task.subject} ended with ${signal ?? code}`)),
    );
    child.send(task);
  });
}

function subjectOptions(plan: Plan, dense: DenseType, model: string): SubjectOptions {
  const { prefill, sequences, decodeTokens } = plan.measurements;
  const { layers, kvHeads, headDim, vocab } = plan.shape;
  const most = Math.max(...sequences);
  const contextLength = Math.max(...prefill, decodePromptTokens) + decodeTokens + 64;
  const page = 64;
  const tokens = Math.max(contextLength, most * (decodePromptTokens + decodeTokens + page));
  const kvBytes = 2 * tokens * 2 * 4 * kvHeads * headDim * layers; // in float32, twice the need: no sequence waits
  return { model, vocab, dense, threads: plan.threads, contextLength, sequences: most, kvBytes, extra: plan.extra };
}

/**
 * Reads the files of the next turn once, so that they are in the page cache if they fit. For this engine it starts the
 * engine once. The first start creates its file of packed experts; later starts read only the rest of the checkpoint.
 */
async function warmPageCache(plan: Plan, subject: SubjectName, options: SubjectOptions): Promise<void> {
  const { model } = options;
  if (subject === "peer") return readFiles([model]);
  await takeTurn<Answer>(plan, { kind: "answer", subject, options, seed: 0, prompt: [0], last: 1, continuations: [] });
  const packed = path.join(model, ".gpt-oss-node");
  const folder = existsSync(packed) ? packed : model;
  const entries = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
  readFiles(entries.map(({ name }) => path.join(folder, name)));
}

function readFiles(files: string[]): void {
  const buffer = Buffer.alloc(1 << 24);
  for (const file of files) {
    const fd = openSync(file, "r");
    while (readSync(fd, buffer) > 0);
    closeSync(fd);
  }
}

// ---- speed ----

interface Pair {
  ours: Turn;
  peer: Turn;
}

/** The compared measures: the value in a turn, and whether more is better. */
interface Measure {
  row: Record<string, string | number>;
  unit: "tokensPerSecond" | "milliseconds" | "bytes";
  value(turn: Turn): number;
}

function measures({ prefill, sequences, decodeTokens }: Measurements): Measure[] {
  return [
    { row: { measure: "load" }, unit: "milliseconds", value: (turn) => turn.loadMilliseconds },
    { row: { measure: "firstToken" }, unit: "milliseconds", value: (turn) => turn.firstTokenMilliseconds },
    { row: { measure: "residentPeak" }, unit: "bytes", value: (turn) => turn.memory.peakBytes },
    ...prefill.map(
      (tokens): Measure => ({
        row: { measure: "prefill", tokens },
        unit: "tokensPerSecond",
        value: (turn) => turn.prefill[tokens]!,
      }),
    ),
    ...sequences.map(
      (count): Measure => ({
        row: { measure: "decode", sequences: count, tokens: decodeTokens },
        unit: "tokensPerSecond",
        value: (turn) => turn.decode[count]!,
      }),
    ),
  ];
}

async function compareSpeed(plan: Plan, weights: Weights, dense: DenseType, print: Print): Promise<void> {
  const models = { ours: weights.checkpoint, peer: weights.gguf(dense) };
  const meter = new RoofMeter(plan.threads);
  const roofs = [meter.measure()];
  const load = [loadavg()[0]!];
  const pairs: Pair[] = [];
  for (let i = 0; i < plan.pairs; i++) {
    const take = async (subject: SubjectName) => {
      const options = subjectOptions(plan, dense, models[subject]);
      await warmPageCache(plan, subject, options);
      const task: Task = { kind: "measure", subject, options, seed: i, measurements: plan.measurements };
      const turn = await takeTurn<Turn>(plan, task);
      const { about: _, ...figures } = turn;
      print({ measure: "turn", pair: i, subject, dense, ...figures }); // an interrupted run keeps these
      return turn;
    };
    pairs.push({ ours: await take("ours"), peer: await take("peer") });
    roofs.push(meter.measure());
    load.push(loadavg()[0]!);
    process.stderr.write(`pair ${i + 1} of ${plan.pairs}: ${describeDisturbance(pairs.at(-1)!)}\n`);
  }

  const { ours, peer } = pairs[0]!;
  const disturbed = pairs.filter(isDisturbed).length;
  const run = {
    dense: { ours: ours.about.denseWeights, peer: dense },
    threads: plan.threads,
    scheduler: launcher(plan).join(" ") || "default",
    pairs: plan.pairs,
    disturbedPairs: disturbed,
    versions: { ours: version(), peer: `node-llama-cpp ${peer.about.version}, llama.cpp ${peer.about.release}` },
  };
  print({
    ...run,
    measure: "roofs",
    about: { ours: ours.about, peer: peer.about },
    bytesPerSecond: roofs.map((roof) => roof.bytesPerSecond),
    int8: roofs.map((roof) => roof.int8),
    loadAverage: load,
    disturbance: pairs.map((pair) => ({ ours: pair.ours.disturbance, peer: pair.peer.disturbance })),
    memory: { ours: ours.memory, peer: peer.memory },
  });
  const oursToo = ours.about.denseWeights === "q8"; // --options can change it
  const lossy = dense !== "q8_0" ? "" : oursToo ? " and q8, both lossy" : ", the peer's lossy, ours not";
  const lines = [
    `${plan.shapeName}, dense weights ${dense}${lossy}; ${plan.threads} threads, ${run.scheduler}; ${plan.pairs} pairs, ${disturbed} of them disturbed`,
    `memory ${spread(summarize(roofs.map((roof) => roof.bytesPerSecond / 1e9)))} GB/s${int8Line(roofs)}`,
    `${"".padEnd(22)}${"ours".padEnd(32)}${"peer".padEnd(32)}times better (median of pairs, min .. max)`,
  ];
  for (const { row, unit, value } of measures(plan.measurements)) {
    const ratio = summarize(
      pairs.map((pair) => {
        const [a, b] = [value(pair.ours), value(pair.peer)];
        return unit === "tokensPerSecond" ? a / b : b / a;
      }),
    );
    const of = (subject: SubjectName) => summarize(pairs.map((pair) => value(pair[subject])));
    const figures = { ours: of("ours"), peer: of("peer") };
    print({ ...run, ...row, unit, ...figures, timesBetter: ratio });
    const [name, ...rest] = Object.values(row);
    const cell = (summary: Summary) => spread(summary, unit).padEnd(32);
    lines.push(`${`${name} ${rest[0] ?? ""}`.padEnd(22)}${cell(figures.ours)}${cell(figures.peer)}${spread(ratio)}`);
  }
  process.stderr.write(`\n${lines.join("\n")}\n\n`);
}

function version(): string {
  return (JSON.parse(readFileSync(path.join(packageRoot, "package.json"), "utf8")) as { version: string }).version;
}

function isDisturbed({ ours, peer }: Pair): boolean {
  return [ours, peer].some(({ disturbance }) => disturbance.others > quiet || disturbance.steal > quiet);
}

function describeDisturbance(pair: Pair): string {
  const of = ({ disturbance }: Turn) =>
    `${(100 * disturbance.others).toFixed(1)} % used by others, ${(100 * disturbance.steal).toFixed(1)} % stolen`;
  return `ours ${of(pair.ours)}; peer ${of(pair.peer)}${isDisturbed(pair) ? " (disturbed)" : ""}`;
}

function int8Line(roofs: ReturnType<RoofMeter["measure"]>[]): string {
  const known = roofs.flatMap((roof) => (roof.int8 ? [roof.int8] : []));
  if (known.length === 0) return "";
  return `, int8 ${spread(summarize(known.map((peak) => peak.operationsPerSecond / 1e9)))} Gop/s (${known[0]!.instruction})`;
}

function spread({ median, min, max }: Summary, unit?: Measure["unit"]): string {
  const scale = unit === "bytes" ? 1e9 : unit === "milliseconds" ? 1e3 : 1;
  const suffix = { bytes: " GB", milliseconds: " s", tokensPerSecond: " tok/s" };
  const digits = (value: number) => String(Number((value / scale).toPrecision(3)));
  return `${digits(median)} [${digits(min)} .. ${digits(max)}]${unit ? suffix[unit] : ""}`;
}

// ---- agreement ----

async function compareAnswers(plan: Plan, weights: Weights, dense: DenseType, print: Print): Promise<void> {
  const file = weights.gguf(dense);
  const readback = compareFiles(weights.checkpoint, file, plan.shape.layers, dense);
  print({ measure: "readback", dense, ...readback });
  process.stderr.write(
    `${plan.shapeName}, ${dense}: ${readback.tensors} tensors, ${readback.values} values read back, ${readback.rounded} rounded, by ${readback.greatestSteps.toFixed(2)} steps at most\n`,
  );

  const last = Math.min(100, Math.ceil(3.3e6 / plan.shape.vocab)); // positions; the peer's rows take 50 bytes a logit
  const random = randomTokens(11, plan.shape.vocab);
  const prompt = random(200); // past the window of 128
  const continuations = [8, 32, 150].map((length) => ({ prompt: random(length), tokens: 32 }));
  const ask = (subject: SubjectName, model: string) => {
    const options = subjectOptions(plan, dense, model);
    return takeTurn<Answer>(plan, { kind: "answer", subject, options, seed: 0, prompt, last, continuations });
  };
  const peer = await ask("peer", file);
  for (const [rope, model] of Object.entries({ reference: weights.checkpoint, rounded: weights.roundedRope() })) {
    const result = agreement(await ask("ours", model), peer);
    print({ measure: "agreement", dense, rope, ...result });
    process.stderr.write(
      `  ours with ${rope === "rounded" ? "YaRN's bounds rounded as the peer does" : "the reference's RoPE"}: ` +
        `same first choice at ${result.sameTop} of ${result.positions} and within ${result.greatestGap.toFixed(2)} elsewhere, KL ${result.kl.toExponential(1)} (median ${result.medianKl.toExponential(1)}), ` +
        `rms of log p ${result.rmsLogProbability.toFixed(3)}, ` +
        `greedy ${result.sameContinuation.join(", ")} of ${result.continuationTokens} tokens the same\n`,
    );
  }
}

// ---- the run ----

type Print = (line: object) => void;

async function main(args: string[]): Promise<void> {
  const plan = readPlan(args);
  if (plan === "help") {
    process.stdout.write(help);
    return;
  }
  if (launcher(plan).length > 0) execFileSync(launcher(plan)[0]!, [...launcher(plan).slice(1), "true"]); // permitted?
  installPeer();
  const shape = plan.golden ? undefined : plan.shapeName;
  const every = { bench: "peer", commit: commit(), machine: machine(), shape, flags: args.join(" ") };
  const print = (line: object) => process.stdout.write(`${JSON.stringify({ ...every, ...line })}\n`);
  if (plan.golden) {
    const { dense, threads, extra } = plan;
    await compareGolden({ dense, threads, extra, print, ask: (task) => takeTurn<Answer>(plan, task) });
    return;
  }
  const folder = plan.folder ?? mkdtempSync(path.join(tmpdir(), "gpt-oss-peer-"));
  if (plan.folder === undefined) process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const weights = new Weights(folder, plan.shape, 1);
  for (const dense of plan.dense) {
    await (plan.check ? compareAnswers : compareSpeed)(plan, weights, dense, print);
  }
}

// an interrupted run also removes its weights
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    process.stderr.write(`Ended by ${signal}\n`);
    process.exit(1);
  });
}
try {
  await main(process.argv.slice(2));
} catch (error) {
  const isUsage = error instanceof UsageError || (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS");
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = isUsage ? 2 : 1;
}
