import { Command, Option } from "commander";
import { GptOssError } from "../../errors.js";
import { type ModelPlan, type PlanOptions, planModel } from "../../plan/index.js";
import { type AdapterFlags, adapterOptions } from "../options/adapters.js";
import { integer, repeated } from "../options/values.js";
import { Output, parametersText } from "../output.js";
import { changeText, kernelLines, misfitText, nearestOf, planLines } from "../plan-text.js";

interface PlanFlags extends AdapterFlags {
  memory?: string;
  backend?: string;
  contextLength?: number;
  maxSequences?: number;
  maxBatchTokens?: number;
  kvDtype?: "f32" | "bf16" | "fp8";
  denseWeights?: "bf16" | "q8";
  expertWeights?: "mxfp4" | "bf16";
  numerics?: "exact" | "fast";
  packedWeights?: string;
  repeatable?: true;
  threads?: number;
  isa?: string;
  kernels?: true;
  json?: true;
}

/** Long names of options leave little room beside them; their descriptions break there, too. */
const help = { minWidthToWrap: 20 };

export function planCommand(): Command {
  return new Command("plan")
    .description("Show what a model takes and how many conversations fit, before anything is loaded.")
    .argument(
      "<model>",
      '"20b", "120b", a folder with a config.json (weights need not be there), a GGUF file, or "demo"',
    )
    .option("--memory <size>", "memory that is free for the model, such as 80GB or 64GiB (default: what is free here)")
    .option(
      "--backend <name>",
      '"cpu", "cuda", "cuda:N", "metal" or "auto" (default: $GPT_OSS_BACKEND, else auto: a CPU and a GPU; without --memory, those that are here)',
    )
    .option(
      "--context, --context-length <tokens>",
      "tokens of each conversation that must fit (default: 4096)",
      integer,
    )
    .option(
      "--sequences, --max-sequences <n>",
      "sequences that run at once (default: 64); with --context, so many conversations must fit",
      integer,
    )
    .option(
      "--batch-tokens, --max-batch-tokens <n>",
      "tokens of one step (default: 512 on a CPU, 256 with numerics exact, 2048 with CUDA, 512 with Metal)",
      integer,
    )
    .addOption(
      new Option("--kv-dtype <type>", "element type of the KV cache (default: f32 on a CPU, bf16 on a GPU)").choices([
        "f32",
        "bf16",
        "fp8",
      ]),
    )
    .addOption(
      new Option("--dense-weights <type>", "type of attention, embedding and head on a CPU or Metal").choices([
        "bf16",
        "q8",
      ]),
    )
    .addOption(
      new Option("--expert-weights <type>", "format of experts that are stored as floats (default: mxfp4)").choices([
        "mxfp4",
        "bf16",
      ]),
    )
    .addOption(new Option("--numerics <kind>", "precision of activations").choices(["exact", "fast"]))
    .option("--packed-weights <where>", "where a CPU with AMX keeps its copy of the experts, as in serve")
    .option("--repeatable", "the same bits in any batch, also on a GPU")
    .option("--threads <n>", "worker threads of the CPU (default: as many as an engine would use here)", integer)
    .option("--isa <name>", "instruction set of the CPU, such as amx or avx2 (default: that of this CPU)")
    .option(
      "--adapter <[name=]path>",
      "LoRA adapter that is loaded, too: a folder or a repository; can be repeated",
      repeated,
    )
    .option("--merge-adapters", "the adapters are added to the weights; this needs the weights' files")
    .option("--kernels", "on Metal, also the kernels of two steps, and the bytes that each must move")
    .option("--json", "print one JSON object instead of text")
    .addHelpText(
      "after",
      `
Exits with 1 if the model does not fit, and says what to change.
GB are 10^9 bytes and GiB are 2^30. A GPU that is sold with 80 GB has 80 GiB,
of which about 84.5 GB are free.`,
    )
    .configureHelp(help)
    .action(plan);
}

async function plan(model: string, flags: PlanFlags): Promise<void> {
  const found = await planModel(model, optionsOf(flags));
  const out = Output.stdout();
  if (flags.json) out.line(JSON.stringify(found));
  else print(out, found, flags.kernels ?? false);
  if (!found.fits) throw new GptOssError("OUT_OF_MEMORY", doesNotFit(found));
}

function optionsOf(flags: PlanFlags): PlanOptions {
  const { memory, backend, kvDtype, adapter, mergeAdapters, json: _, kernels: __, ...others } = flags;
  return {
    ...others,
    ...(adapter !== undefined || mergeAdapters ? { adapters: adapterOptions(flags) ?? {} } : {}),
    ...(memory !== undefined && { memory }),
    ...(backend !== undefined && { backend: backend as NonNullable<PlanOptions["backend"]> }),
    ...(kvDtype !== undefined && { kvCache: { dtype: kvDtype } }),
  };
}

const startsAllTheSame =
  "An engine starts all the same if only the weights do not fit. It then reads them from the disk again and again.";

function print(out: Output, found: ModelPlan, withKernels: boolean): void {
  const { name, note, model, backends, leftOut } = found;
  const parameters = parametersText(model.parameters);
  out.line(`${name}: ${parameters} parameters, ${model.layers} layers, context of up to ${model.maxContext} tokens`);
  if (note !== null) out.line(`${note}.`);
  for (const one of backends) {
    out.line();
    for (const line of planLines(one)) out.line(line);
    if (withKernels) for (const line of kernelLines(one)) out.line(line);
    out.line();
    if (one.fits) out.line("It fits.");
    else {
      out.line(`It does not fit: ${misfitText(one)}. What helps, with the least loss first:`);
      for (const change of one.changes) out.line(`  ${changeText(change, one)}`);
      if (one.backend === "cpu" && one.memory.kvBytes > 0) out.line(startsAllTheSame);
    }
  }
  for (const { backend, reason } of leftOut) {
    out.line();
    out.line(`Not planned for ${backend}: ${reason}.`);
  }
}

/** One sentence about the backend that comes nearest. */
function doesNotFit({ name, backends }: ModelPlan): string {
  const nearest = nearestOf(backends);
  const [first, second] = nearest.changes.map((change) => changeText(change, nearest));
  return `${name} does not fit: ${misfitText(nearest)}; ${first}${second === undefined ? "" : `, or ${second}`}`;
}
