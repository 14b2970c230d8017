import { Command } from "commander";
import { benchStartup } from "../../bench/startup/bench-startup.js";
import { type BenchFlags, runBench } from "../bench/session.js";
import { chosenModel, resolveChosen } from "../load-model.js";
import { addEngineOptions, type EngineFlags, engineOptions, modelArgument } from "../options/engine.js";
import { integerFrom } from "../options/values.js";

interface BenchStartupFlags extends BenchFlags, EngineFlags {
  rounds: number;
}

export function benchStartupCommand(): Command {
  const command = new Command("startup")
    .description("Measure the start of a new process: until the model is ready, until its first token, and its memory.")
    .argument("[model]", `${modelArgument}; or "synthetic:20b"`)
    .option("--rounds <n>", "starts that count, after one that does not", integerFrom(1), 5)
    .option("--baseline <file>", "compare with rows of an earlier run with --json")
    .option("--json", "print a JSON line instead of a table");
  return addEngineOptions(command, "64")
    .addHelpText("after", "\nCtrl-C prints what was measured.")
    .configureHelp({ minWidthToWrap: 20 })
    .action(run);
}

async function run(argument: string | undefined, flags: BenchStartupFlags): Promise<void> {
  const { rounds } = flags;
  const options = engineOptions(flags);
  const chosen = chosenModel(argument);
  await resolveChosen(chosen);
  await runBench(flags, (progress, signal) => benchStartup({ model: chosen.model, options, rounds, signal }, progress));
}
