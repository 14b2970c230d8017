import { Command, Option } from "commander";
import { compareKernels } from "../../bench/kernels/compare.js";
import { benchKernels } from "../../bench/kernels/run.js";
import type { KernelsOptions } from "../../kernels/index.js";
import { kernels, kernelsOf } from "../../kernels/kernels.js";
import type { ModelConfig } from "../../native/checkpoint.js";
import { planModel } from "../../plan/index.js";
import { type BenchFlags, runBench } from "../bench/session.js";
import { UsageError } from "../exit.js";
import { countsTo, names } from "../options/lists.js";
import { decimalIn, integerFrom, integerIn } from "../options/values.js";

interface KernelsFlags extends BenchFlags {
  shape: string;
  backend: string;
  isa?: string;
  numerics?: "auto" | "exact" | "fast";
  denseWeights: "bf16" | "q8";
  repeatable?: true;
  threads?: number;
  tokens: number[];
  context: number[];
  only?: string[];
  rounds?: number;
  seconds?: number;
  coldBytes?: number;
  addon?: string;
  compareAddon?: string;
}

export function benchKernelsCommand(): Command {
  return new Command("kernels")
    .description("Measure each operation alone, beside the roofs of memory and arithmetic.")
    .option("--shape <model>", '"20b", "120b", a folder with a config.json, or a GGUF file', "20b")
    .option("--backend <name>", '"cpu", "cuda", "cuda:N", "metal" or "auto"', "auto")
    .option("--isa <name>", "instruction set of the CPU, such as avx2 (default: the fastest)")
    .addOption(new Option("--numerics <kind>", "precision of activations").choices(["auto", "exact", "fast"]))
    .addOption(
      new Option("--dense-weights <type>", "type of attention, embedding and head")
        .choices(["bf16", "q8"])
        .default("bf16"),
    )
    .option("--repeatable", "the same bits in any batch, also on a GPU")
    .option("--threads <n>", "worker threads of the CPU (default: one for each core)", integerIn(1, 1024))
    .option(
      "--tokens <list>",
      "tokens of a step: up to 32 are decoding sequences, more are a chunk of one prompt",
      countsTo(2 ** 16),
      [1, 4, 8, 32, 128, 512],
    )
    .option("--context <list>", "keys that attention sees", countsTo(2 ** 24), [1024, 8192])
    .option("--only <list>", "operations, such as experts,linear (default: all)", names)
    .option("--rounds <n>", "repeat the whole sweep (default: 1; with --baseline 3)", integerFrom(1))
    .option(
      "--seconds <s>",
      "time of all samples of a row (default: 0.15; with --compare-addon 10)",
      decimalIn(0, 3600),
    )
    .option(
      "--cold-bytes <n>",
      "weights rotate through so many bytes (default: 1 GiB; with --compare-addon 64 MiB)",
      integerIn(0, 2 ** 34),
    )
    .option("--addon <file>", "measure this build of the addon")
    .option("--compare-addon <file>", "compare with this build: alternating samples, bits and time")
    .option("--baseline <file>", "compare with rows of an earlier run with --json")
    .option("--json", "print JSON lines, one for each row")
    .addHelpText(
      "after",
      `
Before an operation is timed, its result is compared with plain loops in
float64. A row of a comparison is "slower" or "faster" when the whole interval
of its ratio lies beyond 1 %. Ctrl-C prints what was measured.`,
    )
    .configureHelp({ minWidthToWrap: 20 })
    .action(run);
}

async function run(flags: KernelsFlags): Promise<void> {
  if (flags.compareAddon !== undefined && flags.baseline !== undefined)
    throw new UsageError("--compare-addon compares with a build, --baseline with a file: give one of them");
  const model = await shapeOf(flags.shape);
  const { backend, isa, numerics, denseWeights, repeatable, threads } = flags;
  const options: KernelsOptions = {
    denseWeights,
    ...(isa !== undefined && { isa }),
    ...(numerics !== undefined && { numerics }),
    ...(repeatable && { repeatable }),
    ...(threads !== undefined && { threads }),
    pinned: true, // one core is not as fast as another, and two threads may get the same one
  };
  await using ours = flags.addon === undefined ? kernels(backend, options) : kernelsOf(flags.addon, backend, options);
  await using other = flags.compareAddon === undefined ? null : kernelsOf(flags.compareAddon, backend, options);
  await runBench(flags, (status, signal) => {
    const progress = (done: number, total: number, what: string) => status(`${done + 1} of ${total}: ${what}`);
    const sweep = {
      shape: flags.shape,
      model,
      only: flags.only ?? [],
      tokens: flags.tokens,
      contexts: flags.context,
      // A comparison prepares its operands 48 times.
      coldBytes: flags.coldBytes ?? (other === null ? 2 ** 30 : 2 ** 26),
      signal,
    };
    if (other !== null)
      return compareKernels({ ...sweep, ours, other, seconds: flags.seconds ?? 10, least: 0.01 }, progress);
    const rounds = flags.rounds ?? (flags.baseline === undefined ? 1 : 3);
    return benchKernels({ ...sweep, kernels: ours, denseWeights, rounds, seconds: flags.seconds ?? 0.15 }, progress);
  });
}

/** The config of a model. Nothing is loaded. */
async function shapeOf(shape: string): Promise<ModelConfig> {
  return (await planModel(shape, { backend: "cpu", memory: "1TB" })).model;
}
