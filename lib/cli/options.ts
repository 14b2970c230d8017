import { type Command, InvalidArgumentError, Option } from "commander";
import { demoModelLabel } from "../demo-model/index.js";
import { Engine } from "../engine.js";
import { modelOfEnvironment } from "../environment.js";
import type { ReasoningEffort } from "../harmony/index.js";
import type { EngineOptions } from "../options.js";
import type { SamplingOptions } from "../sampling.js";
import { Output } from "./output.js";

/** Options that several commands share, and what they mean to the engine. */

export interface EngineFlags {
  backend?: string;
  threads?: number;
  contextLength?: number;
  packedWeights?: string;
}

export interface SamplingFlags {
  maxTokens?: number;
  temperature?: number;
  topP?: number;
  topK?: number;
  minP?: number;
  seed?: number;
}

export interface AnswerFlags {
  effort: ReasoningEffort;
  reasoning: boolean;
}

export const modelArgument =
  'checkpoint folder or file, or "demo" (default: $GPT_OSS_MODEL, else the embedded demo model)';

export function addEngineOptions(command: Command): Command {
  return command
    .option(
      "--backend <name>",
      'where to compute: "auto", "cpu", "cuda", "cuda:N" or "metal" (default: $GPT_OSS_BACKEND, else auto)',
    )
    .option("--threads <n>", "worker threads of the CPU backend (default: one per core)", integer)
    .option(
      "--context, --context-length <tokens>",
      "tokens that prompt and answer may reach together (default: the model's)",
      integer,
    )
    .option(
      "--packed-weights <where>",
      'on a CPU with AMX, where its copy of the experts is kept: "auto", "memory" or a folder (default: auto, beside the model)',
    );
}

export function addSamplingOptions(command: Command): Command {
  return command
    .option("--max-tokens <n>", "tokens to generate at most", integer)
    .option("--temperature <t>", "0 always takes the likeliest token (default: 1; 0 for the demo model)", decimal)
    .option("--top-p <p>", "choose among the likeliest tokens that have this share together", decimal)
    .option("--top-k <k>", "choose among this many tokens; 0 for all", integer)
    .option("--min-p <p>", "leave out tokens less likely than this share of the likeliest", decimal)
    .option("--seed <n>", "the same seed and request give the same tokens", integer);
}

export function addAnswerOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--effort <effort>", "how much the model thinks before it answers")
        .choices(["low", "medium", "high"])
        .default("medium"),
    )
    .option("--no-reasoning", "do not show what the model thinks");
}

export function samplingOptions(flags: SamplingFlags, isDemo: boolean): SamplingOptions & { maxTokens?: number } {
  const { maxTokens, topP, topK, minP, seed } = flags;
  const temperature = flags.temperature ?? (isDemo ? 0 : undefined);
  return {
    ...(maxTokens !== undefined && { maxTokens }),
    ...(temperature !== undefined && { temperature }),
    ...(topP !== undefined && { topP }),
    ...(topK !== undefined && { topK }),
    ...(minP !== undefined && { minP }),
    ...(seed !== undefined && { seed }),
  };
}

export interface LoadedModel {
  engine: Engine;
  model: string;
  isDemo: boolean;
}

/** The model that was named, or the default one; says when it is the demo model, and how to get a real one. */
export function chosenModel(
  argument: string | undefined,
  command: string,
  notes: Output,
): { model: string; isDemo: boolean } {
  const model = argument ?? modelOfEnvironment() ?? "demo";
  const isDemo = model === "demo";
  if (isDemo) notes.line(`${demoModelLabel}; for a real one: gpt-oss ${command} /path/to/gpt-oss-20b`);
  return { model, isDemo };
}

export function engineOptions({ backend, threads, contextLength, packedWeights }: EngineFlags): EngineOptions {
  return {
    ...(backend !== undefined && { backend: backend as NonNullable<EngineOptions["backend"]> }),
    ...(threads !== undefined && { threads }),
    ...(contextLength !== undefined && { contextLength }),
    ...(packedWeights !== undefined && { packedWeights }),
  };
}

/**
 * Loads the model that was named, or the default one, for one conversation. Says on stderr how far it is, and when the
 * model is the demo model, that it is and how to get a real one.
 */
export async function loadModel(
  argument: string | undefined,
  flags: EngineFlags,
  command: string,
): Promise<LoadedModel> {
  const notes = new Output(process.stderr);
  const { model, isDemo } = chosenModel(argument, command, notes);
  let told = false;
  const options: EngineOptions = {
    maxSequences: 1,
    ...engineOptions(flags),
    onProgress: ({ loadedBytes, totalBytes, writes }) => {
      if (writes !== undefined && !told) {
        notes.line(`Packing the experts for this CPU, once, into ${writes} (--packed-weights memory: without a file)`);
        told = true;
      }
      const percent = totalBytes > 0 ? Math.floor((100 * loadedBytes) / totalBytes) : 0;
      notes.status(`Loading ${model}: ${percent} %`);
    },
  };
  try {
    return { engine: await Engine.load(model, options), model, isDemo };
  } finally {
    notes.status("");
  }
}

/** Commander calls this for an option's value; what it throws is wrong usage. */
export function integer(text: string): number {
  if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new InvalidArgumentError("Expected an integer.");
  return Number(text);
}

export function decimal(text: string): number {
  if (text.trim() === "" || !Number.isFinite(Number(text))) throw new InvalidArgumentError("Expected a number.");
  return Number(text);
}

/** `1,2,3` or the same with spaces. */
export function tokenIds(text: string): number[] {
  const parts = text.split(/[\s,]+/).filter((part) => part !== "");
  if (parts.length === 0) throw new InvalidArgumentError("Expected token ids such as 1,2,3.");
  return parts.map((part) => {
    if (!/^\d+$/.test(part)) throw new InvalidArgumentError(`Expected token ids such as 1,2,3; "${part}" is none.`);
    return Number(part);
  });
}
