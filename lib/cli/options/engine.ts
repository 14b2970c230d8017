import { type Command, Option } from "commander";
import { type EngineOptions, readEngineOptions } from "../../generation/options.js";
import { type AdapterFlags, adapterOptions } from "./adapters.js";
import { integer, repeated } from "./values.js";

/** The options of the engine, for every command that loads a model. */
export interface EngineFlags extends AdapterFlags {
  backend?: string;
  threads?: number;
  contextLength?: number;
  packedWeights?: string;
  maxSequences?: number;
  maxQueue?: number;
  maxBatchTokens?: number;
  kvDtype?: "f32" | "bf16" | "fp8";
  kvBytes?: string;
  prefixCache: boolean;
  denseWeights?: "bf16" | "q8";
  expertWeights?: "mxfp4" | "bf16";
  numerics?: "exact" | "fast";
  repeatable?: true;
}

/** What names a model. */
export const modelNames =
  'checkpoint folder or file, a name such as openai/gpt-oss-20b, 20b or gpt-oss:20b (see "gpt-oss models"), or "demo"';

export const modelArgument = `${modelNames} (default: $GPT_OSS_MODEL, else the embedded demo model)`;

/** @param sequences the default of --max-sequences, as help shows it */
export function addEngineOptions(command: Command, sequences: string): Command {
  return command
    .option(
      "--backend <name>",
      'where to compute: "auto", "cpu", "cuda", "cuda:N" or "metal" (default: $GPT_OSS_BACKEND, else auto)',
    )
    .option("--threads <n>", "worker threads of the CPU backend (default: one per core)", integer)
    .option(
      "--context, --context-length <tokens>",
      "tokens of prompt and answer together (default: as many as the model allows)",
      integer,
    )
    .option(
      "--packed-weights <where>",
      'where a CPU with AMX keeps its copy of the experts: "auto", "memory" or a folder (default: auto, beside the model)',
    )
    .option("--max-sequences <n>", `sequences that run at once (default: ${sequences})`, integer)
    .option("--max-queue <n>", "requests that may wait; more are refused (default: 1024)", integer)
    .option(
      "--max-batch-tokens <n>",
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
    .option("--kv-bytes <size>", 'memory of the KV cache, such as 4GiB, or "auto"')
    .option("--no-prefix-cache", "compute every prompt from the beginning")
    .addOption(
      new Option(
        "--dense-weights <type>",
        "type of attention, embedding and head; q8 is faster on a CPU and on Metal, and lossy",
      ).choices(["bf16", "q8"]),
    )
    .addOption(
      new Option(
        "--expert-weights <type>",
        "format of experts that are stored as floats; bf16 keeps them on CPUs, in 3.8 times the memory (default: mxfp4)",
      ).choices(["mxfp4", "bf16"]),
    )
    .addOption(
      new Option("--numerics <kind>", "precision of activations (default: fast, if the device has it)").choices([
        "exact",
        "fast",
      ]),
    )
    .option("--repeatable", "the same bits in any batch, also on a GPU")
    .option(
      "--adapter <[name=]path>",
      "LoRA adapter: a folder, or a repository in the Hugging Face cache; can be repeated (default name: that of the folder)",
      repeated,
    )
    .option("--merge-adapters", "add the adapters to the weights while loading; rounds experts again");
}

/**
 * The options of the engine that the flags stand for.
 *
 * @throws GptOssError INVALID_ARGUMENT for a wrong value
 */
export function engineOptions(flags: EngineFlags): EngineOptions {
  const { backend, kvDtype: dtype, kvBytes: bytes, repeatable } = flags;
  const options: EngineOptions = {
    ...(backend !== undefined && { backend: backend as NonNullable<EngineOptions["backend"]> }),
    ...given(flags, ["threads", "contextLength", "packedWeights", "maxSequences", "maxQueue", "maxBatchTokens"]),
    ...given(flags, ["denseWeights", "expertWeights", "numerics"]),
    kvCache: { ...(dtype !== undefined && { dtype }), ...(bytes !== undefined && { bytes: bytesOf(bytes) }) },
    prefixCache: flags.prefixCache,
    ...(repeatable && { repeatable }),
    ...(flags.adapter !== undefined || flags.mergeAdapters ? { adapters: adapterOptions(flags) ?? {} } : {}),
  };
  readEngineOptions(options);
  return options;
}

/** On a command line, a number of bytes is text. */
function bytesOf(text: string): string | number {
  return /^\d+$/.test(text) ? Number(text) : text;
}

/** The flags with these names that were given. */
export function given<T extends object, K extends keyof T>(flags: T, names: readonly K[]): Pick<T, K> {
  return Object.fromEntries(names.flatMap((name) => (flags[name] === undefined ? [] : [[name, flags[name]]]))) as Pick<
    T,
    K
  >;
}
