import { Command } from "commander";
import {
  benchEngine,
  cacheBytes,
  type EngineSweep,
  engineMeasures,
  longestSequence,
} from "../../bench/engine/bench-engine.js";
import type { NewRow } from "../../bench/rows.js";
import type { EngineOptions } from "../../generation/options.js";
import { planModel } from "../../plan/index.js";
import { type BenchFlags, runBench } from "../bench/session.js";
import { UsageError } from "../exit.js";
import { type ChosenModel, chosenModel, loadModel, resolveChosen } from "../load-model.js";
import { addEngineOptions, type EngineFlags, engineOptions, modelArgument } from "../options/engine.js";
import { counts, names } from "../options/lists.js";
import { integerFrom } from "../options/values.js";

interface BenchEngineFlags extends BenchFlags, EngineFlags {
  only: string[];
  prefill: number[];
  decode: number[];
  concurrency: number[];
  inputTokens: number;
  outputTokens: number;
  rounds: number;
}

export function benchEngineCommand(): Command {
  const command = new Command("engine")
    .description("Measure an engine: prefill, decode beside the roof of memory, and many requests at once.")
    .argument("[model]", `${modelArgument}; or "synthetic:20b"`)
    .option("--only <list>", `what is measured: ${engineMeasures.join(",")}`, names, [...engineMeasures])
    .option("--prefill <list>", "lengths of prompts", counts, [128, 512])
    .option("--decode <list>", "tokens in the KV cache when decoding starts", counts, [128, 1024])
    .option("--concurrency <list>", "requests at once, each with a prompt of its own", counts, [1, 4, 16])
    .option("--input-tokens <n>", "tokens of each prompt of --concurrency", integerFrom(1), 64)
    .option("--output-tokens <n>", "tokens of each answer, at least 2", integerFrom(2), 32)
    .option("--rounds <n>", "samples of each row", integerFrom(1), 5)
    .option("--baseline <file>", "compare with rows of an earlier run with --json")
    .option("--json", "print JSON lines, one for each row");
  return addEngineOptions(command, "64, or as many as --concurrency has")
    .addHelpText("after", "\nCtrl-C prints what was measured.")
    .configureHelp({ minWidthToWrap: 20 })
    .action(run);
}

async function run(model: string | undefined, flags: BenchEngineFlags): Promise<void> {
  const sweep = sweepOf(flags);
  const options = engineOptions(flags);
  const chosen = chosenModel(model);
  const longest = longestSequence(sweep);
  if (options.contextLength !== undefined && options.contextLength < longest)
    throw new UsageError(`the longest sequence has ${longest} tokens, and --context-length ${options.contextLength}`);
  await runBench(flags, (progress, signal) => measure(chosen, options, sweep, progress, signal));
}

function sweepOf(flags: BenchEngineFlags): EngineSweep {
  const { prefill, decode, concurrency, inputTokens, outputTokens, rounds } = flags;
  const isMeasure = (name: string) => (engineMeasures as readonly string[]).includes(name);
  const unknown = flags.only.filter((name) => !isMeasure(name));
  if (unknown.length > 0)
    throw new UsageError(`--only has ${engineMeasures.join(", ")}; there is no ${unknown.join(", ")}`);
  const only = engineMeasures.filter((name) => flags.only.includes(name));
  return { only, prefill, decode, concurrency, inputTokens, outputTokens, rounds };
}

async function* measure(
  chosen: ChosenModel,
  options: EngineOptions,
  sweep: EngineSweep,
  progress: (text: string) => void,
  signal: AbortSignal,
): AsyncGenerator<NewRow> {
  const { engine } = await loadModel(chosen, await withRoom(chosen, options, sweep), "bench engine");
  await using _ = engine;
  yield* benchEngine({ ...sweep, model: chosen.model, engine, signal }, progress);
}

/** Room for the sweep: no request waits for a place or for pages of the cache, unless a flag says so. */
async function withRoom(chosen: ChosenModel, options: EngineOptions, sweep: EngineSweep): Promise<EngineOptions> {
  await resolveChosen(chosen);
  const { model } = await planModel(chosen.model, { backend: "cpu", memory: "1TB" }); // for its config alone
  return {
    contextLength: longestSequence(sweep),
    maxSequences: Math.max(64, ...(sweep.only.includes("concurrency") ? sweep.concurrency : [])),
    ...options,
    kvCache: { bytes: cacheBytes(sweep, model), ...options.kvCache },
  };
}
