// npm run bench:lib: the TypeScript layer and what it calls. bench/README.md explains each row.
import { setImmediate } from "node:timers/promises";
import { Command } from "commander";
import type { NewRow } from "../../lib/bench/rows.js";
import { type BenchFlags, runBench } from "../../lib/cli/bench/session.js";
import { exitCodeOf, Interrupted, UsageError } from "../../lib/cli/exit.js";
import { names } from "../../lib/cli/options/lists.js";
import { integerFrom } from "../../lib/cli/options/values.js";
import { reportError, watchStdio, writeNote } from "../../lib/cli/stdio.js";
import { throwIfAborted } from "../../lib/common/abort.js";
import type { LibBench } from "./bench.js";
import { engineBenches } from "./engine.bench.js";
import { harmonyBenches } from "./harmony.bench.js";
import { texts } from "./texts.js";
import { tokenizerBenches } from "./tokenizer.bench.js";

interface Flags extends BenchFlags {
  only: string[];
  rounds: number;
  peerTraps: number;
}

const benches = { ...tokenizerBenches, ...harmonyBenches, ...engineBenches };

async function* measure(flags: Flags, progress: (text: string) => void, signal: AbortSignal): AsyncGenerator<NewRow> {
  const { rounds, peerTraps } = flags;
  const note = (text: string) => writeNote(`${text}\n`);
  const bench: LibBench = { corpus: texts(), rounds, peerTraps, note };
  for (const name of flags.only) {
    progress(name);
    for await (const row of benches[name]!(bench)) {
      yield row;
      await setImmediate(); // most of them never wait, and Ctrl-C needs the event loop
      throwIfAborted(signal);
    }
  }
}

const command = new Command("bench:lib")
  .description("Measure the TypeScript layer: tokens, harmony, sampling, and events of the engine.")
  .option("--only <list>", `what is measured: ${Object.keys(benches).join(",")}`, names, Object.keys(benches))
  .option("--rounds <n>", "turns of each measurement", integerFrom(1), 7)
  .option("--peer-traps <n>", "characters of the trap rows of the peers; 100000 take minutes", integerFrom(1), 10_000)
  .option("--baseline <file>", "compare with rows of an earlier run with --json")
  .option("--json", "print JSON lines, one for each row")
  .exitOverride()
  .action(async (flags: Flags) => {
    const unknown = flags.only.filter((name) => !(name in benches));
    if (unknown.length > 0)
      throw new UsageError(`--only has ${Object.keys(benches).join(", ")}; there is no ${unknown.join(", ")}`);
    await runBench(flags, (progress, signal) => measure(flags, progress, signal));
  });

watchStdio();
try {
  await command.parseAsync();
} catch (error) {
  if (error instanceof UsageError || !(error instanceof Interrupted || isOfCommander(error))) reportError(error);
  process.exitCode = exitCodeOf(error);
}

/** Commander has printed its own errors. */
function isOfCommander(error: unknown): boolean {
  return typeof (error as { exitCode?: unknown }).exitCode === "number";
}
