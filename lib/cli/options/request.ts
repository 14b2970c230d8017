import { type Command, Option } from "commander";
import { type GenerateOptions, nativeRequestOptions } from "../../generation/generate-options.js";
import type { ReasoningEffort } from "../../harmony/index.js";
import { given } from "./engine.js";
import { decimal, integer } from "./values.js";

/** The options of one answer. */

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
  speed?: true;
}

export function addSamplingOptions(command: Command): Command {
  return command
    .option("--max-tokens <n>", "tokens to generate at most", integer)
    .option("--temperature <t>", "0 always takes the likeliest token (default: 1; 0 for the demo model)", decimal)
    .option("--top-p <p>", "choose among the likeliest tokens whose probabilities add up to this", decimal)
    .option("--top-k <k>", "choose among this many of the likeliest tokens; 0: all", integer)
    .option("--min-p <p>", "leave out tokens less likely than this fraction of the likeliest one", decimal)
    .option("--seed <n>", "the same seed and request give the same tokens", integer);
}

export const efforts: readonly ReasoningEffort[] = ["low", "medium", "high"];

export function addAnswerOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--effort <effort>", "amount of reasoning before the answer").choices(efforts).default("medium"),
    )
    .option("--no-reasoning", "do not show the reasoning (if stdout is no terminal, it goes to stderr)")
    .option("--speed", "show on stderr how fast the prompt was read and the answer written");
}

/** @throws GptOssError INVALID_ARGUMENT for a wrong value */
export function samplingOptions(flags: SamplingFlags, isDemo: boolean): GenerateOptions {
  const options: GenerateOptions = {
    ...(isDemo && { temperature: 0 }),
    ...given(flags, ["maxTokens", "temperature", "topP", "topK", "minP", "seed"]),
  };
  checkRequest(options);
  return options;
}

/** Checks options before a model is loaded, so with the widest limits. @throws GptOssError INVALID_ARGUMENT */
export function checkRequest(options: GenerateOptions): void {
  nativeRequestOptions(options, { vocab: 2 ** 31, stopTokens: [], maskReserved: true });
}
